"""A run directory: where everything is, what is complete, and who is using it.

RUN/
  config.json                     the resolved configuration, written once
  prompts.parquet                 the training problems
  benchmarks/NAME.parquet         the problems of an evaluation
  steps/000000/rollouts/part-*.parquet, rewards/part-*.parquet, advantages.parquet, update_metrics.parquet
  steps/000000/audit.GRADER.parquet  what a second grader decides otherwise
  steps/000000/history.parquet    what the steps before came to, where the estimator looks at them
  steps/000000/policy_logprobs.parquet   the trainer's numbers for each token before the update
  checkpoints/000001/             the policy after one update; complete when its manifest.json is there
  evals/000001/NAME/              rollouts/, rewards/ (the same parts), problems.parquet, summary.parquet
  evals/000001at0.75/NAME/        the same of weights on the line from the base model (0) to that policy (1)
  metrics.parquet, solved.parquet   one row per step; what each step solved first
  checked.parquet, events.jsonl     which steps need not be checked again; what ran when
  run.log                         what was said on the way
  trackers/                       what trackers were sent, and those that write files here
  NAME.TAG beside NAME              what a single stage made with --tag; nothing of the run itself goes by it
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rsgrpo_cli import disk
from rsgrpo_cli.artifacts import json_text, read_json, read_lineage, write_json
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.run import config_file, events, manifests, run_names
from rsgrpo_cli.run.locks import LOCKS, Holder, Note, hold_benchmarks, hold_run, holder
from rsgrpo_cli.schemas import UPDATE_METRICS

RUNS = Path("runs")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
WHOLE = 1.0
"""The place of a policy on the line from the base model's weights, at 0, to its own."""


def is_on_line(place: float) -> bool:
    """Whether a number is a place on that line, with no more digits than a folder's name has."""
    return 0 <= place <= WHOLE and round(place, 6) == place


@dataclass(frozen=True, slots=True)
class Beside:
    """An update that `update --tag` made beside the run's own, and the policy that came of it.

    Args:
        step: The step that was updated from.
        tag: What it is called.
        advantages: The tag of the advantages that it used; None for the step's own.
    """

    step: int
    tag: str
    advantages: str | None = None


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths of a run and the questions one can ask of them.

    Args:
        path: The directory.
        made_since: When this process created the run, as of `disk.mark`; None for a run that was there.
        beside: Look at the run as if its last update had been this one; see `with_update`.
    """

    path: Path
    made_since: int | None = field(default=None, compare=False)
    beside: Beside | None = None

    # -- paths --------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The run's name: the last part of its path, of a link that of the link."""
        return os.path.basename(os.path.abspath(self.path))

    @property
    def prompts(self) -> Path:
        """The training problems."""
        return self.path / "prompts.parquet"

    @property
    def metrics(self) -> Path:
        """One row per step."""
        return self.path / "metrics.parquet"

    @property
    def solved(self) -> Path:
        """The problems that each step was the first to solve."""
        return self.path / "solved.parquet"

    @property
    def checked(self) -> Path:
        """The files of the steps that were found consistent; see `checked_steps`."""
        return self.path / "checked.parquet"

    @property
    def events(self) -> Path:
        """What ran when, a JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """What the commands that worked on the run said, a line with its time each."""
        return self.path / "run.log"

    def benchmark(self, name: str) -> Path:
        """The problems of an evaluation."""
        return self.path / "benchmarks" / f"{name}.parquet"

    def step(self, step: int) -> Path:
        """The directory of a training step."""
        return self.path / "steps" / f"{step:06d}"

    def rollouts(self, step: int, tag: str | None = None) -> Path:
        """The directory of a step's rollout parts."""
        return self.step(step) / (f"rollouts.{tag}" if tag else "rollouts")

    def rewards(self, step: int, tag: str | None = None) -> Path:
        """The directory of a step's rewards; see `step_dir.rewards_of` for the single file of older runs."""
        return self.step(step) / (f"rewards.{tag}" if tag else "rewards")

    def audit(self, step: int, grader: str) -> Path:
        """What a second grader decides otherwise than the rewards of a step."""
        return self.step(step) / _audit_name(grader)

    def advantages(self, step: int, tag: str | None = None) -> Path:
        """A step's advantages."""
        tag = tag or (self.beside.advantages if self.beside and step == self.beside.step else None)
        return self.step(step) / (f"advantages.{tag}.parquet" if tag else "advantages.parquet")

    def history(self, step: int) -> Path:
        """What the steps before this one came to, where its estimator looks at them."""
        return self.step(step) / "history.parquet"

    def policy_logprobs(self, step: int) -> Path:
        """What the policy said of a step's completions before it was updated on them."""
        return self.step(step) / f"policy_logprobs{self._tag(step + 1)}.parquet"

    def update_metrics(self, step: int) -> Path:
        """A step's optimizer steps."""
        return self.step(step) / f"update_metrics{self._tag(step + 1)}.parquet"

    def checkpoint(self, version: int) -> Path:
        """The policy after `version` updates; there is none for 0, the base model."""
        return self.path / "checkpoints" / self.folder_of(version)

    def evaluations(self, version: int, at: float = WHOLE) -> Path:
        """The directory of all evaluations of policy `version`, or of weights on the line to it from the base model."""
        line = "" if at == WHOLE else f"at{at:.6f}".rstrip("0")
        return self.path / "evals" / f"{self.folder_of(version)}{line}"

    def evaluation(self, version: int, benchmark: str, at: float = WHOLE) -> Path:
        """The directory of an evaluation of policy `version`; `at` as of `evaluations`."""
        return self.evaluations(version, at) / benchmark

    def evaluation_audit(self, version: int, benchmark: str, grader: str, at: float = WHOLE) -> Path:
        """What a second grader decides otherwise than the verdicts of an evaluation."""
        return self.evaluation(version, benchmark, at) / _audit_name(grader)

    def interpolated(self) -> list[tuple[int, float, str]]:
        """Policy, place on the line and benchmark of evaluations between the base model and a policy, in order."""
        folders = [path.parent for path in self.path.glob("evals/*at*/*/summary.parquet")]
        names = [(_ON_THE_LINE.fullmatch(folder.parent.name), folder.name) for folder in folders]
        places = [(int(found[1]), float(found[2]), benchmark) for found, benchmark in names if found]
        return sorted(place for place in places if self.evaluation(place[0], place[2], place[1]) in folders)

    def with_update(self, step: int, tag: str, advantages: str | None = None) -> RunDir:
        """The run as if an update with a tag had been its last: what came of it is in place of the run's own."""
        return replace(self, beside=Beside(step, tag, advantages))

    def policy_name(self, version: int) -> str:
        """How a policy is named on the command line: 4, or 4.beta8 where an update with that tag made it."""
        return f"{version}{self._tag(version)}"

    def folder_of(self, version: int) -> str:
        """The name of a policy's directories."""
        return f"{version:06d}{self._tag(version)}"

    def _tag(self, version: int) -> str:
        return f".{self.beside.tag}" if self.beside and version == self.beside.step + 1 else ""

    # -- what is there ------------------------------------------------------------------------------------------

    def config(self) -> RunConfig:
        """The run's configuration."""
        return config_file.read(self.path / "config.json")

    def origin(self) -> dict[str, Any] | None:
        """Which run and step this one was forked from, if it was."""
        return config_file.read_origin(self.path / "config.json")

    def steps(self) -> list[int]:
        """Steps that have a directory, in order."""
        return [step for step in numbered(self.path / "steps") if not self.beside or step <= self.beside.step]

    def steps_begun(self) -> int:
        """How many steps have completions of the run's own; the last may have been left in the middle."""
        return next((step + 1 for step in reversed(self.steps()) if self.rollouts(step).is_dir()), 0)

    def checkpoint_folders(self) -> list[int]:
        """Policy versions that have a checkpoint's directory, complete or not, in order."""
        return self._policies(self.path / "checkpoints")

    def evaluated(self) -> list[int]:
        """Policy versions that have an evaluation with a summary, in order."""
        return [version for version in self._policies(self.path / "evals") if self.benchmarks_of(version)]

    def _policies(self, folder: Path) -> list[int]:
        """The policies that have a directory in `folder`."""
        found = numbered(folder)
        if self.beside is None:
            return found
        last = self.beside.step + 1
        return [version for version in found if version < last] + [last] * (folder / self.folder_of(last)).is_dir()

    def versions(self) -> list[int]:
        """Policy versions whose checkpoint is complete, in order; 0, the base model, is not among them."""
        return [version for version in self.checkpoint_folders() if manifests.is_complete(self.checkpoint(version))]

    def newest_version(self) -> int:
        """The newest policy: 0 is the base model."""
        return max(self.versions(), default=0)

    def policy_id(self, version: int, base_id: str) -> str:
        """The id of policy `version`: of the base model, or as its checkpoint or its update recorded it.

        Raises:
            MissingError: If there is no such policy.
        """
        if version == 0:
            return base_id
        manifest = self.checkpoint(version) / manifests.NAME
        if manifest.is_file():
            return str(read_json(manifest, policy_id=str)["policy_id"])
        if self.update_metrics(version - 1).is_file():
            recorded = read_lineage(self.update_metrics(version - 1), UPDATE_METRICS).outputs.get("policy")
            if recorded:
                return recorded
        have = ", ".join(map(str, self.versions())) or "none"
        what = f"run {self.name} has no policy {self.policy_name(version)}"
        raise MissingError(what, f"checkpoints: {have}; 0 is the base model")

    def benchmarks_of(self, version: int, at: float = WHOLE) -> list[str]:
        """Evaluations of policy `version` that have a summary; `at` as of `evaluations`."""
        return sorted(path.parent.name for path in self.evaluations(version, at).glob("*/summary.parquet"))

    # -- creating and finding -------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path | None, config: RunConfig, *, forked_from: Mapping[str, Any] | None = None) -> RunDir:
        """Start a run: write its configuration. Of two processes that try at once, one gets the name.

        Args:
            path: Where; a name under runs/ that no run has unless given.
            config: Its configuration.
            forked_from: The run and the step that it branches off from.

        Raises:
            UsageError: If there is something else at `path`, or it is called what no run can be called.
        """
        since = disk.mark()
        if path is None:
            path = run_names.claim_fresh_path(RUNS, config)
        cls.require_name(path)
        if path.exists() and not (path.is_dir() and all(_of_a_killed_start(entry) for entry in path.iterdir())):
            if cls.is_there(path):
                raise UsageError(f"{path} is a run already", "choose another name")
            raise UsageError(f"{path} exists and is not a run", "choose another --run")
        text = json_text(config_file.content(config, forked_from))
        try:
            disk.write_exclusively(path / "config.json", lambda file: file.write(text))
        except FileExistsError as error:
            hint = "another process started it: the same command again resumes it; or choose another name"
            raise UsageError(f"{path} is a run already", hint) from error
        return cls(path, since)

    def take_back(self) -> bool:
        """Remove a run that this process created and in which nothing was sampled; only what this process wrote.

        Returns:
            Whether there was something to take back.
        """
        if self.made_since is None or any(self.path.rglob("part-*.parquet")):
            return False
        disk.take_back(self.path, self.made_since)
        return True

    def has_results(self) -> bool:
        """Whether anything was made with the run's settings but its problems."""
        places = [self.path / name for name in ("steps", "checkpoints", "evals")]
        folders = [place / f"{number:06d}" for place in places for number in numbered(place)]
        return any(path.is_file() for folder in folders for path in folder.rglob("*"))

    def change_config(self, config: RunConfig) -> None:
        """Give the run other settings: more steps; others only while `has_results` says that nothing was made."""
        write_json(self.path / "config.json", config_file.content(config, self.origin()))

    require_name = staticmethod(run_names.require_name)

    @classmethod
    def locate(cls, name_or_path: str | None) -> Path:
        """The path that `--run` means; see `run_names.locate`."""
        return run_names.locate(RUNS, name_or_path)

    @classmethod
    def locate_folder(cls, place: str) -> Path:
        """The run, sweep or folder of results that a place means: as `locate`, else a folder of that name here."""
        path = cls.locate(place)
        return Path(place) if not path.exists() and Path(place).is_dir() else path

    @staticmethod
    def is_there(path: Path) -> bool:
        """Whether a directory is a run's, and not a model's, which has a config.json too."""
        return config_file.is_there(path)

    @classmethod
    def open(cls, name_or_path: str | None) -> RunDir:
        """An existing run, the newest under runs/ unless named.

        Raises:
            MissingError: If there is none.
        """
        path = cls.locate(name_or_path)
        if not cls.is_there(path):
            raise run_names.no_run(RUNS, path)
        return cls(path)

    @classmethod
    def newest(cls) -> RunDir:
        """The run created last under runs/; see `run_names.newest`."""
        return cls(run_names.newest(RUNS))

    # -- lock, events -----------------------------------------------------------------------------------------------

    def lock(self, say: Callable[[str], None], *, evaluating: int | None = None) -> AbstractContextManager[Note]:
        """Hold the run for this process, or only the evaluations of a policy; see `locks.hold_run`."""
        policy = None if evaluating is None else (self.policy_name(evaluating), self.folder_of(evaluating))
        return hold_run(self.path, self.name, say, evaluating=policy)

    def lock_benchmarks(self, say: Callable[[str], None]) -> AbstractContextManager[None]:
        """Hold the problems of its evaluations; see `locks.hold_benchmarks`."""
        return hold_benchmarks(self.path, self.name, say)

    def holder(self) -> Holder | None:
        """The living process that holds the run."""
        return holder(self.path / LOCKS[0])

    def evaluator(self) -> Holder | None:
        """A living process that holds the evaluations of a policy."""
        found = (holder(path) for path in sorted((self.path / "evals").glob("*.lock")))
        return next((one for one in found if one is not None), None)

    def last_at_work(self) -> float | None:
        """When a process that held the run last said what it did, in seconds since 1970; None where none ever did."""
        try:
            return (self.path / LOCKS[0]).stat().st_mtime
        except OSError:
            return None

    def record(self, event: Mapping[str, Any]) -> None:
        """Append to the log of what ran when."""
        events.append(self.events, event)

    def recorded(self) -> list[dict[str, Any]]:
        """The log."""
        return events.read(self.events)


def _of_a_killed_start(entry: Path) -> bool:
    return entry.name in LOCKS or disk.is_temporary(entry)


def numbered(folder: Path) -> list[int]:
    """The steps, checkpoints or evaluated policies in a folder; whatever else lies there is none of ours."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(int(entry.name) for entry in entries if _NUMBER.fullmatch(entry.name) and entry.is_dir())


_ON_THE_LINE = re.compile(r"([0-9]{6,9})(?:\..+)?at(0\.[0-9]{1,6})")
_NUMBER = re.compile(r"[0-9]{6}|[1-9][0-9]{6,8}")
"""How a step or a policy version is written; what has another name is not ours."""


def _audit_name(grader: str) -> str:
    return f"audit.{_NOT_IN_NAMES.sub('-', grader)}.parquet"
