"""Everything in a run checked: content, keys, joins, what was made from what, and that the newest checkpoint loads.

Commands check what they use. This reads all of it: each table is hashed again, each checkpoint compared with its
hashes, and rows are joined with those that they were made from. Nothing is written.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli import activity
from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.checked_steps import require_own_settings
from rsgrpo_cli.checkpoint_checks import check_checkpoint, checking
from rsgrpo_cli.disk import links_out
from rsgrpo_cli.errors import ArtifactError, MissingError, RsgrpoError
from rsgrpo_cli.identity import read_identity
from rsgrpo_cli.pipeline.base_model import open_base
from rsgrpo_cli.run_commands import eval_command
from rsgrpo_cli.run_dir import RunDir, numbered
from rsgrpo_cli.schemas import (
    ADVANTAGES,
    AUDIT,
    CHECKED,
    HISTORY,
    KEYS,
    METRICS,
    POLICY_LOGPROBS,
    PROBLEMS,
    PROMPTS,
    REWARDS,
    ROLLOUTS,
    SOLVED,
    SUMMARY,
    UPDATE_METRICS,
    ArtifactSchema,
)
from rsgrpo_cli.staleness import GRADED, SAMPLED, evaluation_parts, stale_inputs, why_stale
from rsgrpo_cli.step_dir import CHAIN, Step, rewards_of, stage_command


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a run that is not as it should be.

    Args:
        what: What, naming the file.
        hint: What to do about it.
    """

    what: str
    hint: str


@dataclass
class Verification:
    """The check of a run.

    Args:
        run: The run.
        findings: What was found so far.
        tables: How many tables were read through.
        checkpoints: How many checkpoints were.
    """

    run: RunDir
    findings: list[Finding] = field(default_factory=list)
    tables: int = 0
    checkpoints: int = 0

    def all(self, *, load: bool) -> None:
        """Check everything; with `load`, also that the newest checkpoint does."""
        with activity.doing(f"verifying run {self.run.name}"):
            self._links()
            readable = self._settings()
            self._problems()
            for step in self.run.steps():
                self._step(step)
            self._statistics()
            self._checkpoints()
            if readable:
                self._evaluations()
                if load and not self.findings and self.run.newest_version():
                    self._load(self.run.newest_version())

    def add(self, what: str, hint: str) -> None:
        """Note a finding, once: what is damaged shows again where something was made from it."""
        if what not in {finding.what for finding in self.findings}:
            self.findings.append(Finding(what, hint))

    @contextmanager
    def _noting(self, hint: str = "") -> Iterator[None]:
        """Around a check: what it raises is a finding, with its own hint unless one is given."""
        try:
            yield
        except RsgrpoError as error:
            self.add(error.message, hint or error.hint)

    def _command(self, *words: str) -> str:
        return shlex.join(["rsgrpo", words[0], "--run", str(self.run.path), *words[1:]])

    # -- the run itself -----------------------------------------------------------------------------------------------

    def _links(self) -> None:
        """Nothing is written through a link that leads out of the run, so nothing should lie behind one."""
        for path in links_out(self.run.path):
            self.add(f"{path} is a symbolic link out of the run", "put in its place what it leads to")

    def _settings(self) -> bool:
        before = len(self.findings)
        with self._noting():
            self.run.config()
            self.run.origin()
            require_own_settings(self.run)
        readable = len(self.findings) == before
        with self._noting(f"move it away, then: {self._command('train')}"):
            read_identity(self.run.path)
        return readable

    def _problems(self) -> None:
        if self.run.prompts.is_file():
            self._table(self.run.prompts, PROMPTS, _moved(self._command("prepare")))
        for path in sorted((self.run.path / "benchmarks").glob("*.parquet")):
            self._table(path, PROMPTS, _moved(self._command("eval", "--benchmark", path.stem)))

    def _statistics(self) -> None:
        for path, kind in ((self.run.metrics, METRICS), (self.run.solved, SOLVED), (self.run.checked, CHECKED)):
            table = self._table(path, kind, _moved(self._command("train"))) if path.is_file() else None
            if table is not None and kind is not CHECKED:
                with self._noting(_moved(self._command("train"))):
                    self._join_steps(path, table, kind)

    def _join_steps(self, path: Path, table: pa.Table, kind: ArtifactSchema) -> None:
        """The statistics are of these steps: their mean reward, and what they solved."""
        for row in table.to_pylist():
            step = Step(self.run, row["step"])
            if not step.rewards or step.lost_rollouts or not step.rollouts:
                continue
            rewards = step.rewards.table(["group_id", "reward"])
            if kind is METRICS:
                mean = pc.mean(rewards["reward"]).as_py()
                both = None not in (mean, row["reward_mean"])
                other = both and not math.isclose(mean, row["reward_mean"], abs_tol=1e-9)
            else:
                other = not {*row["prompt_ids"]} <= {
                    group.partition(":")[2] for group in rewards["group_id"].to_pylist()
                }
            if other:
                raise ArtifactError(f"{path} has other numbers of step {row['step']} than its rewards give")

    # -- tables -------------------------------------------------------------------------------------------------------

    def _table(self, path: Path, kind: ArtifactSchema, hint: str) -> pa.Table | None:
        """Read a table through: its pages, its content against its id, its keys."""
        self.tables += 1
        with self._noting(hint):
            table = read_table(path, kind)
            _check_keys(path, table.select(list(kind.keys)), kind)
            return table
        return None

    def _same_keys(self, table: pa.Table | None, made_from: pa.Table | None, path: Path, what: str, hint: str) -> None:
        if table is None or made_from is None:
            return
        if not table.select(list(KEYS)).equals(made_from.select(list(KEYS))):
            self.add(f"{path} is not of the same completions as {what}", hint)

    # -- steps --------------------------------------------------------------------------------------------------------

    def _step(self, number: int) -> None:
        found, again = Step(self.run, number), {what: _moved(stage_command(self.run, number, what)) for what in CHAIN}
        before = len(self.findings)
        with self._noting(again["rollouts"]):
            self._gone(found, again)
            self._rollouts_and_rewards(found, again)
        if len(self.findings) == before:
            self._later_tables(found, again)
        if len(self.findings) == before:
            self._lineage(found)

    def _gone(self, step: Step, again: dict[str, str]) -> None:
        """What a step must have once its update is done."""
        done = step.number < self.run.newest_version()
        removed = step.manifest is not None and step.manifest.get("removed") is True
        if (done or step.updates) and step.manifest is None:
            self.add(f"{step.folder / 'manifest.json'} is gone", again["rollouts"])
        elif step.manifest is not None and not removed:
            step.complete_rollouts()
        for what in CHAIN[1:]:
            if done and not step.artifact(what):
                self.add(f"the {what} of step {step.number} are gone", again[what])

    def _rollouts_and_rewards(self, step: Step, again: dict[str, str]) -> None:
        rewards = rewards_of(self.run, step.number)
        graded = {path.stem: path for path in rewards.paths}
        sampled: list[pa.Table] = []
        for path in step.rollouts.paths:
            rollouts = self._table(path, ROLLOUTS, again["rollouts"])
            if rollouts is not None:
                self._join_problems(path, rollouts, step.number, again["rollouts"])
                sampled.append(rollouts.select(list(KEYS)))
            if not rewards.single and path.stem in graded:
                of_part = self._table(graded.pop(path.stem), REWARDS, again["rewards"])
                self._same_keys(of_part, rollouts, rewards.place / path.name, "its rollouts", again["rewards"])
        for path in graded.values():
            single = self._table(path, REWARDS, again["rewards"])
            if rewards.single and len(sampled) == len(step.rollouts.paths) and sampled:
                keys = pa.concat_tables(sampled).sort_by([(name, "ascending") for name in KEYS]).combine_chunks()
                self._same_keys(single and single.combine_chunks(), keys, path, "its rollouts", again["rewards"])

    def _join_problems(self, path: Path, rollouts: pa.Table, number: int, hint: str) -> None:
        """Every completion is of a problem of the run, and is named after it and the step."""
        with self._noting(hint):
            ids = rollouts["prompt_id"]
            groups = pc.binary_join_element_wise(f"{number:06d}", ids, ":")
            if not pc.all(pc.equal(groups, rollouts["group_id"])).as_py():
                raise ArtifactError(f"{path} has groups of another step or of other problems")
        if self.run.prompts.is_file():
            with self._noting(hint):
                known = read_table(self.run.prompts, PROMPTS, ["prompt_id"])["prompt_id"]
                if not pc.all(pc.is_in(ids, known.combine_chunks())).as_py():
                    raise ArtifactError(f"{path} has completions of problems that the run does not have")

    def _later_tables(self, step: Step, again: dict[str, str]) -> None:
        for path in sorted(self.run.step(step.number).glob("*.parquet")):
            kind, what = _BY_NAME.get(path.name.partition(".")[0], (None, None))
            if kind is None:
                continue
            hint = again[what] if what else _moved(shlex.join(["rsgrpo", "verify", str(self.run.path)]))
            made = self._table(path, kind, hint)
            if path == self.run.advantages(step.number) and step.rewards and made is not None:
                rewards = step.rewards.table(list(KEYS))
                self._same_keys(made, rewards, path, "the rewards", again["advantages"])
            if kind is POLICY_LOGPROBS and made is not None and step.manifest is not None:
                self._of_these(path, kind, step.manifest["id"], hint)

    def _of_these(self, path: Path, kind: ArtifactSchema, rollouts: str, hint: str) -> None:
        """What nothing is made from is of the step's own rollouts, too: `show` and the page put it beside these."""
        if read_lineage(path, kind).inputs.get("rollouts") != rollouts:
            self.add(f"{path} is not of the rollouts that are there", hint)

    def _lineage(self, step: Step) -> None:
        hint = f"branch off before it: {self._fork(step.number)}"
        with self._noting(hint):
            for problem in stale_inputs(self.run, step.number):
                self.add(problem, hint)

    def _fork(self, step: int) -> str:
        return shlex.join(["rsgrpo", "fork", "NEW", "--run", str(self.run.path), "--step", str(step)])

    # -- policies -----------------------------------------------------------------------------------------------------

    def _checkpoints(self) -> None:
        for version in self.run.checkpoint_folders():
            folder = self.run.checkpoint(version)
            hint = f"remove {folder}, then: {self._command('train')}"
            if version not in self.run.versions():
                if any(path.is_file() for path in folder.rglob("*.safetensors")):
                    self.add(f"{folder} is not a whole checkpoint: it has no manifest.json", hint)
                continue
            self.checkpoints += 1
            with self._noting(hint):
                check_checkpoint(self.run, version, trainer=True)

    def _load(self, version: int) -> None:
        from rsgrpo_cli.models import quiet
        from rsgrpo_cli.policy.checkpoints import open_policy

        with self._noting():
            config = self.run.config()
            model = config.model.model_copy(update={"device": "cpu", "compile": False})
            base, _ = open_base(self.run, model.name, accept=False, record=False)
            config, plain = config.model_copy(update={"model": model}), config.update.optimizer == "adamw"
            with checking(self.run, version, trainer=True), quiet():
                open_policy(config, base, self.run.checkpoint(version), version=version, train=plain)

    # -- evaluations --------------------------------------------------------------------------------------------------

    def _evaluations(self) -> None:
        for version in numbered(self.run.path / "evals"):
            for folder in sorted(path for path in self.run.evaluations(version).glob("*") if path.is_dir()):
                self._evaluation(version, folder)

    def _evaluation(self, version: int, folder: Path) -> None:
        command, before = self._eval_again(version, folder.name), len(self.findings)
        graded = {path.stem: path for path in evaluation_parts(folder / GRADED)}
        for path in evaluation_parts(folder / SAMPLED):
            rollouts = self._table(path, ROLLOUTS, _moved(command))
            if path.stem in graded:
                rewards = self._table(graded[path.stem], REWARDS, _moved(command))
                self._same_keys(rewards, rollouts, graded[path.stem], "its rollouts", _moved(command))
        for name, kind in (("problems.parquet", PROBLEMS), ("summary.parquet", SUMMARY)):
            if (folder / name).is_file():
                self._table(folder / name, kind, _moved(command))
        for path in sorted(folder.glob("audit.*.parquet")):
            self._table(path, AUDIT, _moved(shlex.join(["rsgrpo", "verify", str(self.run.path)])))
        if (folder / "problems.parquet").is_file() and not (folder / "summary.parquet").is_file():
            self.add(f"{folder / 'summary.parquet'} is gone", f"sum it up again: {command}")
        if len(self.findings) == before and (folder / "summary.parquet").is_file():
            with self._noting(f"measure again: {command} --force"):
                why = why_stale(self.run, version, folder.name)
                if why:
                    raise ArtifactError(f"{folder}: it {why}")

    def _eval_again(self, version: int, name: str) -> str:
        try:
            return eval_command(self.run, version, name)
        except (ArtifactError, MissingError):  # what tells how it was asked for is what is damaged
            return self._command("eval", "--policy", str(version), "--benchmark", name)


_BY_NAME: dict[str, tuple[ArtifactSchema, str | None]] = {
    "audit": (AUDIT, "rewards"),
    "advantages": (ADVANTAGES, "advantages"),
    "history": (HISTORY, "advantages"),
    "update_metrics": (UPDATE_METRICS, "updates"),
    "policy_logprobs": (POLICY_LOGPROBS, None),
}
"""The single files of a step, by the first part of their name: what they hold, and which stage makes them again; None
where nothing needs them any more."""


def _moved(command: str) -> str:
    return f"move it away, then: {command}"


def _check_keys(path: Path, keys: pa.Table, kind: ArtifactSchema) -> None:
    """Refuse rows that share their keys, and completions that are out of order."""
    names: Sequence[str] = kind.keys
    if len(keys.group_by(list(names)).aggregate([])) != len(keys):
        raise ArtifactError(f"{path} has two rows with the same {' and '.join(names)}")
    ordered = keys.sort_by([(name, "ascending") for name in names])
    if kind.keys == KEYS and not ordered.combine_chunks().equals(keys.combine_chunks()):
        raise ArtifactError(f"{path} has rows that are out of order")
