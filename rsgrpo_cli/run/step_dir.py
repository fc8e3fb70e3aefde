"""A training step as it is on disk: its parts, how it was sampled, and what its artifacts were made from.

steps/000000/rollouts/      part-*.parquet, and a manifest.json that names the parts of all finished rounds of sampling
steps/000000/rewards/       one part per part of the rollouts, with the same name; older runs have one rewards.parquet
steps/000000/advantages.parquet, update_metrics.parquet
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from rsgrpo_cli.artifacts import Lineage, combined_id, count_rows, read_json, read_lineage, read_table
from rsgrpo_cli.errors import ArtifactError, MissingError, UsageError
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.run_commands import command, eval_command, place_by_fraction
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import ADVANTAGES, HISTORY, KEYS, PROMPTS, REWARDS, ROLLOUTS, UPDATE_METRICS, ArtifactSchema
from rsgrpo_cli.wording import counted

CHAIN = ("rollouts", "rewards", "advantages", "updates")
"""What a step makes, in order: each is made from the one before."""
STAGES = {"rollouts": "rollout", "rewards": "score", "advantages": "advantage", "updates": "update"}
"""The command that makes each of these."""
_PART = re.compile(r"part-[0-9]{5,}(-[0-9]{5,}-[0-9]{5,})?")


def part_files(folder: Path) -> list[Path]:
    """The part files in a directory, in order; what has another name is not ours."""
    return sorted(path for path in folder.glob("part-*.parquet") if _PART.fullmatch(path.stem))


class Parts:
    """An artifact in part files, or in a single file; each footer is read once.

    Args:
        paths: The files that are there, in order.
        kind: What they hold.
        place: The file, or the directory of the parts.
        single: Whether the artifact is one file, with an id of its own.
        hint: Tells what to do where there are none.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        kind: ArtifactSchema,
        place: Path,
        *,
        single: bool = False,
        hint: Callable[[], str] = str,
    ) -> None:
        self.paths, self.kind, self.place, self.single, self.hint = list(paths), kind, place, single, hint
        self._lineages: dict[Path, Lineage] = {}

    def __bool__(self) -> bool:
        return bool(self.paths)

    @property
    def names(self) -> list[str]:
        """The names of the parts."""
        return [path.stem for path in self.paths]

    @property
    def lineages(self) -> list[Lineage]:
        """The lineage of every part."""
        return [self.lineage(path) for path in self.paths]

    @property
    def first(self) -> Lineage:
        """The lineage of the first part: its settings are those of all.

        Raises:
            MissingError: If there is none.
        """
        return self.lineage(self.paths[0] if self.paths else self._nothing())

    @property
    def ids(self) -> dict[str, str]:
        """The id of every part, by its name."""
        return {path.stem: self.lineage(path).id for path in self.paths}

    @property
    def id(self) -> str:
        """The id of the whole.

        Raises:
            MissingError: If there is none.
        """
        return self.first.id if self.single or not self.paths else combined_id(self.ids.values())

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(map(count_rows, self.paths))

    def made_from(self, role: str) -> str | None:
        """The id of the input `role`; where every part has its own, the id of these together."""
        if self.single or self.kind is not REWARDS or role != "rollouts":
            return self.first.inputs.get(role)
        return combined_id(lineage.inputs["rollouts"] for lineage in self.lineages)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in key order; the metadata is left out where every part has its own.

        Raises:
            MissingError: If there are no files.
            ArtifactError: If one is damaged.
        """
        if len(self.paths) < 2:
            path = self.paths[0] if self.paths else self._nothing()
            table = read_table(path, self.kind, columns)
            return table if self.single else table.replace_schema_metadata(None)
        wanted = list(dict.fromkeys([*KEYS, *columns])) if columns else None
        tables = [read_table(path, self.kind, wanted).replace_schema_metadata(None) for path in self.paths]
        table = pa.concat_tables(tables)
        # Most steps are in order as they are, and sorting would copy every token.
        ascending = all(_key(one, -1) < _key(other, 0) for one, other in pairwise(tables))
        table = table if ascending else table.sort_by([(name, "ascending") for name in KEYS])
        return table.select(list(columns)) if columns else table

    def _nothing(self) -> NoReturn:
        raise MissingError(f"there are no {self.kind.name} at {self.place}", self.hint())

    def lineage(self, path: Path) -> Lineage:
        """The lineage of one file, which need not be there: that is an error then."""
        if path not in self._lineages:
            self._lineages[path] = read_lineage(path, self.kind)
        return self._lineages[path]


class Step:
    """A training step. What was read is kept, so use a new object wherever files may have changed since.

    Args:
        run: The run.
        number: From 0.
    """

    def __init__(self, run: RunDir, number: int) -> None:
        self.run, self.number = run, number
        self.folder = run.rollouts(number)

    @cached_property
    def manifest(self) -> dict[str, Any] | None:
        """What the rollouts consist of: `id`, `rows`, and `parts` with their ids; None before the first round ends."""
        path = self.folder / manifests.NAME
        return dict(read_json(path, parts=dict, id=str, rows=int)) if path.is_file() else None

    @cached_property
    def rollouts(self) -> Parts:
        """The parts that the manifest names, as far as they are there; without one, all that were sampled so far."""
        files = part_files(self.folder)
        named = self.manifest["parts"] if self.manifest else {path.stem for path in files}
        paths = [path for path in files if path.stem in named]
        return Parts(paths, ROLLOUTS, self.folder, hint=partial(make_first, self.run, self.number, "rollouts"))

    @cached_property
    def rewards(self) -> Parts:
        """Those of the rollouts; leftovers of parts that are no longer among these do not count."""
        found = rewards_of(self.run, self.number)
        if found.single or not self.manifest:
            return found
        paths = [path for path in found.paths if path.stem in self.manifest["parts"]]
        return Parts(paths, REWARDS, found.place, hint=found.hint)

    @cached_property
    def advantages(self) -> Parts:
        """A single file."""
        return self._single(self.run.advantages(self.number), ADVANTAGES, "advantages")

    @cached_property
    def updates(self) -> Parts:
        """A single file: the update's metrics."""
        return self._single(self.run.update_metrics(self.number), UPDATE_METRICS, "updates")

    @cached_property
    def history(self) -> Parts:
        """A single file: what the steps before came to; only where the estimator looks at them."""
        return self._single(self.run.history(self.number), HISTORY, "advantages")

    def _single(self, path: Path, kind: ArtifactSchema, what: str) -> Parts:
        hint = partial(make_first, self.run, self.number, what)
        return Parts([path] if path.is_file() else [], kind, path, single=True, hint=hint)

    def artifact(self, what: str) -> Parts:
        """One of CHAIN."""
        made: Parts = getattr(self, what)
        return made

    # -- how it was sampled ---------------------------------------------------------------------------------------

    @property
    def sampled(self) -> Lineage:
        """The lineage of the rollouts: `config` says how they were drawn, `inputs` from which prompts and policy.

        Raises:
            MissingError: If there are none.
        """
        return self.rollouts.first

    def complete_rollouts(self) -> str:
        """The id of the rollouts.

        Raises:
            MissingError: If they are not all there.
            ArtifactError: If a part is not the one that the manifest names.
        """
        if self.manifest is None:
            have = len(part_files(self.folder))
            raise MissingError(
                f"no complete rollouts in {self.folder}" + (f" ({counted(have, 'part')} so far)" if have else ""),
                make_first(self.run, self.number, "rollouts"),
            )
        for name, expected in self.manifest["parts"].items():
            path = self.folder / f"{name}.parquet"
            if self.rollouts.lineage(path).id != expected:
                again = stage_command(self.run, self.number, "rollouts", "--force")
                raise ArtifactError(f"{path} does not belong to the other parts", f"sample again: {again}")
        return str(self.manifest["id"])

    @property
    def lost_rollouts(self) -> bool:
        """Whether parts were there and are no longer: removed to save space, for example."""
        return self.manifest is not None and len(self.rollouts.paths) < len(self.manifest["parts"])

    # -- what its artifacts should have been made from ------------------------------------------------------------

    @property
    def prompts_id(self) -> str | None:
        """The id of the run's problems, if they are there."""
        return read_lineage(self.run.prompts, PROMPTS).id if self.run.prompts.is_file() else None

    @property
    def policy_id(self) -> str | None:
        """The id of the policy that the step before made; None where nothing tells."""
        before = Step(self.run, self.number - 1).updates if self.number else None
        return before.first.outputs.get("policy") if before else None

    @property
    def history_id(self) -> str | None:
        """The id of the history, if there is one and the advantages were made with one."""
        used = self.advantages and self.advantages.made_from("history")
        return self.history.id if used and self.history else None

    @property
    def scored(self) -> int:
        """How many parts of the rollouts, from the first on, have rewards."""
        ids = list(self.rollouts.ids.values())
        if not self.rewards.single:
            graded = {*self.rewards.names}
            return next((at for at, name in enumerate(self.rollouts.names) if name not in graded), len(ids))
        made_from = self.rewards.made_from("rollouts")
        return next((count for count in range(1, len(ids) + 1) if combined_id(ids[:count]) == made_from), 0)

    @property
    def scored_id(self) -> str | None:
        """The id of the rollouts that have rewards, as they are now; None where these cannot be told any more."""
        if not self.rollouts or self.lost_rollouts:
            return None
        if self.rewards.single:
            return combined_id([*self.rollouts.ids.values()][: self.scored or None])
        return combined_id(self.rollouts.ids[name] for name in self.rewards.names if name in self.rollouts.ids)

    @property
    def files(self) -> list[Path]:
        """All files that the step's state follows from, and what its update kept of the tokens."""
        listed = [path for what in CHAIN for path in self.artifact(what).paths] + self.history.paths
        listed += [path for path in [self.run.policy_logprobs(self.number)] if path.is_file()]
        return [self.folder / manifests.NAME, *listed] if self.manifest else listed


def rewards_of(run: RunDir, step: int, tag: str | None = None) -> Parts:
    """A step's rewards, or those made with `--tag`: part files, or the single file of an older run."""
    folder = run.rewards(step, tag)
    older = folder.with_name(f"{folder.name}.parquet")
    parts = part_files(folder)
    if not parts and older.is_file():
        return Parts([older], REWARDS, older, single=True)
    return Parts(parts, REWARDS, folder, hint=partial(make_first, run, step, "rewards"))


def newest_step(run: RunDir, has: str) -> int:
    """The newest step that has a stage's input.

    Args:
        run: The run.
        has: "rollouts", "rewards" or "advantages".

    Raises:
        UsageError: If no step has it.
    """
    found = next((step for step in reversed(run.steps()) if Step(run, step).artifact(has)), None)
    if found is None:
        first = next((what for what in CHAIN if not any(Step(run, step).artifact(what) for step in run.steps())), has)
        way = f"{_make(first, has)}: {command(run, STAGES[first])}"
        raise UsageError(f"run {run.name} has no {has} yet", way)
    return found


POLICY = re.compile(r"([0-9]{1,9})(?:\.([A-Za-z0-9_][A-Za-z0-9_.-]*))?")
"""How a policy is named: its version, with the tag of the update that made it beside the run's own."""


def newest(run: RunDir, warn: Callable[[str], None]) -> int:
    """The newest policy that has a checkpoint; said where later ones were made, which could be made again.

    Args:
        run: The run.
        warn: What to say it with.
    """
    version, last = run.newest_version(), run.newest_version()
    while run.update_metrics(last).is_file():
        last += 1
    if last > version:
        warn(f"policy {last} has no checkpoint; taking policy {version}. To have it made again: --policy {last}")
    return version


def with_policy(run: RunDir, name: str) -> tuple[RunDir, int]:
    """The run, and the version, that a policy's name means: "4"; or "4.beta8", of an update with that tag.

    Raises:
        UsageError: If it is no such name.
        MissingError: If there is no update with that tag.
    """
    found = POLICY.fullmatch(name)
    if not found:
        raise UsageError(f"{name!r} is not a policy", "give its number, or with the tag of an update: 4, 4.beta8")
    version, tag = int(found[1]), found[2]
    if tag is None:
        return run, version
    metrics = run.with_update(version - 1, tag).update_metrics(version - 1)
    if version == 0 or not metrics.is_file():
        raise MissingError(f"run {run.name} has no policy {name}", _way_to(run, version, tag))
    used = read_lineage(metrics, UPDATE_METRICS).outputs.get("advantages")
    return run.with_update(version - 1, tag, used), version


def _way_to(run: RunDir, version: int, tag: str) -> str:
    if meant := place_by_fraction(version, tag, run.newest_version()):
        policy, at = meant
        line = eval_command(run, policy, None, "--interpolate", f"{at:g}")
        named = f"weights at {at:g} on the line to policy {policy} are called {run.path}@{policy}at{at:g}"
        return f"{named}; evaluate them: {line}"
    if version == 0 or not has_policy(run, version - 1):
        return f"an update with --tag makes one: {steps_there(run)}"
    return f"make it: {stage_command(run, version - 1, 'updates', '--tag', tag)}"


def stage_command(run: RunDir, step: int, what: str, *flags: str) -> str:
    """The command that makes an artifact of a step, one of CHAIN."""
    return command(run, STAGES[what], "--step", str(step), *flags)


def has_policy(run: RunDir, version: int) -> bool:
    """Whether a run ever had a policy: the base model, one with a checkpoint, or one that an update made."""
    return version == 0 or version in run.versions() or run.update_metrics(version - 1).is_file()


def steps_there(run: RunDir) -> str:
    """The steps of a run, as a next step for whoever asked for another one."""
    steps = run.steps()
    if not steps:
        return "it has no steps yet"
    return "it has only step 0 so far" if steps[-1] == 0 else f"it has steps {steps[0]} to {steps[-1]}"


def make_first(run: RunDir, step: int, what: str) -> str:
    """The command that can be run now, of those that lead to an artifact of a step."""
    if not has_policy(run, step):
        return f"run {run.name} never reached step {step}: {steps_there(run)}"
    made = Step(run, step)
    before = CHAIN[1 : CHAIN.index(what)] if made.manifest else CHAIN[:1]
    first = next((one for one in before if one == "rollouts" or not made.artifact(one)), what)
    return f"{_make(first, what)}: {stage_command(run, step, first)}"


def _make(first: str, wanted: str) -> str:
    return "make them first" if first == wanted else f"make the {first} first"


def _key(table: pa.Table, row: int) -> tuple[str, int]:
    group, sample = (table[name][row].as_py() for name in KEYS)
    return group, sample
