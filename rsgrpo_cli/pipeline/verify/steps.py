"""The training steps of a run checked: each table, whose completions it holds, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from rsgrpo_cli.artifacts import read_json, read_lineage
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.pipeline.verify.findings import Again, Findings, Hint, made_again
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.departures import own_settings, ways_out
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import stale_links
from rsgrpo_cli.run.step_dir import CHAIN, Parts, Step, part_files, rewards_of, stage_command
from rsgrpo_cli.schemas import (
    ADVANTAGES,
    HISTORY,
    KEYS,
    POLICY_LOGPROBS,
    REWARDS,
    ROLLOUTS,
    UPDATE_METRICS,
    ArtifactSchema,
)


def check_step(found: Findings, number: int, *, apart_from: frozenset[str]) -> frozenset[str]:
    """Check a step.

    Args:
        found: What was found so far.
        number: The step.
        apart_from: What of the step before is known to be of another: "policy", where its update is.

    Returns:
        The same for the step after it.
    """
    check = _Check(found, number)
    check.all(apart_from)
    if not check.foreign_update:
        return frozenset()
    found.unsure.add(number + 1)
    return frozenset({"policy"})


def is_foreign_update(run: RunDir, number: int) -> bool:
    """Whether the record of a step's update is another's: what that update made tells, and what it was made from.

    One of these alone may have been replaced since.
    """
    found, after = Step(run, number), Step(run, number + 1)
    with suppress(RsgrpoError):  # what cannot be read is a finding of its own
        if not found.updates:
            return False
        came = {saved_policy(run, number + 1), after.rollouts.first.inputs.get("policy") if after.rollouts else None}
        both, came = None not in came, came - {None}
        if len(came) != 1 or found.updates.first.outputs.get("policy") in (None, *came):
            return False
        return both or not _fits(found)
    return False


def _fits(step: Step) -> bool:
    """Whether an update was made from what the step has, as far as that is there."""
    now = {
        "rollouts": step.manifest and step.manifest["id"],
        "advantages": step.advantages.id if step.advantages else None,
        "policy": step.policy_id,
    }
    return all(id_now in (None, step.updates.made_from(role)) for role, id_now in now.items())


def saved_policy(run: RunDir, version: int) -> str | None:
    """The id of a policy as its checkpoint has it, if there is one."""
    manifest = run.checkpoint(version) / manifests.NAME
    return str(read_json(manifest, policy_id=str)["policy_id"]) if manifest.is_file() else None


class _Check:
    """The check of a step.

    Args:
        found: What was found so far.
        number: The step.
    """

    def __init__(self, found: Findings, number: int) -> None:
        self.found, self.run, self.number, self.step = found, found.run, number, Step(found.run, number)
        self.unknown: set[str] = set()
        """Artifacts of CHAIN whose lineage says nothing of what the step was made from: gone, or of something else."""
        self.foreign_update = is_foreign_update(self.run, number)
        self.again = {what: Again(stage_command(self.run, number, what)) for what in CHAIN}

    def all(self, apart_from: frozenset[str]) -> None:
        """Check everything in the order in which it is made again."""
        self.rewards = rewards_of(self.run, self.number)
        self._gone()
        drawn = self._rollouts()
        self.keys = _whole(drawn)
        self._require("rewards")
        self._graded(drawn)
        for kind, what in ((HISTORY, "advantages"), (ADVANTAGES, "advantages"), (UPDATE_METRICS, "updates")):
            if kind is not HISTORY:
                self._require(what)
            self._tables(kind, what)
        for path in sorted(self.run.step(self.number).glob("audit.*.parquet")):
            self.found.audit(path, self._rewards_id())
        self._tables(POLICY_LOGPROBS, None)
        self._lineage(apart_from)

    # -- the rows -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _same(self, what: str) -> Iterator[None]:
        """Around comparisons of an artifact with others: with a finding, it is not what the step was made of."""
        before = len(self.found.findings)
        try:
            yield
        except RsgrpoError:
            self.unknown.add(what)
            raise
        if len(self.found.findings) > before:
            self.unknown.add(what)

    def _as_it_was(self, what: str) -> Again:
        """What to do about a damaged file whose footer may still tell its settings."""
        with suppress(RsgrpoError):
            return Again(stage_command(self.run, self.number, what, *own_settings(self.run, self.number, what)))
        return self.again[what]

    def _gone(self) -> None:
        """What a step must have once its update is done, and that the rollouts are those of the manifest."""
        step, again = self.step, self.again
        done = self.number < self.run.newest_version()
        with self.found.noting(again["rollouts"]):
            if step.manifest is None:
                if done or step.updates:
                    self.found.add(f"{step.folder / manifests.NAME} is gone", made_again(again["rollouts"]))
            elif step.manifest.get("removed") is not True:
                with self._same("rollouts"):
                    step.complete_rollouts()

    def _require(self, what: str) -> None:
        """Note that an artifact is gone which the step must have, its update being done."""
        if self.number < self.run.newest_version() and not self._there(what):
            self.unknown.add(what)
            self.found.add(f"the {what} of step {self.number} are gone", made_again(self.again[what]))

    def _there(self, what: str) -> Parts:
        return self.rewards if what == "rewards" else self.step.artifact(what)

    def _rollouts(self) -> Mapping[str, pa.Table | None]:
        """The keys of each part of the rollouts; None for one that is damaged."""
        try:
            paths = self.step.rollouts.paths
        except RsgrpoError:  # of the manifest, which is a finding already
            paths = part_files(self.step.folder)
        drawn: dict[str, pa.Table | None] = {}
        for path in paths:
            rollouts = self.found.table(path, ROLLOUTS, self._as_it_was("rollouts"))
            drawn[path.stem] = rollouts and rollouts.select(list(KEYS))
            again = self.again["rollouts"]
            sound = rollouts is None or self.found.join_problems(path, rollouts, self.number, again)
            if not sound or self._is_foreign_part(path):
                self.unknown.add("rollouts")
                drawn[path.stem] = None
        return drawn

    def _is_foreign_part(self, path: Path) -> bool:
        """Whether a part is another than the one that the manifest names, and that has rewards."""
        graded = self.rewards.place / path.name
        with suppress(RsgrpoError):  # of any of these: a finding of its own
            named = self.step.manifest and self.step.manifest["parts"].get(path.stem)
            if named and graded in self.rewards.paths and named != self.step.rollouts.lineage(path).id:
                return bool(self.rewards.lineage(graded).inputs.get("rollouts") == named)
        return False

    def _graded(self, drawn: Mapping[str, pa.Table | None]) -> None:
        for path in self.rewards.paths:
            rewards = self.found.table(path, REWARDS, self._as_it_was("rewards"))
            rewards = rewards and rewards.select(list(KEYS)).combine_chunks()
            of = self.keys if self.rewards.single else drawn.get(path.stem)
            with self._same("rewards"):
                self.found.same_keys(rewards, of, path, "its rollouts", self.again["rewards"])

    def _tables(self, kind: ArtifactSchema, what: str | None) -> None:
        """The single files of a kind, those with a tag among them; `what` of CHAIN makes them again."""
        for path in sorted(self.run.step(self.number).glob(f"{_NAMES[kind.name]}.*")):
            tag = path.name.removesuffix(".parquet").partition(".")[2] if path.suffix == ".parquet" else ""
            if not path.exists() or (path.name != f"{_NAMES[kind.name]}.parquet" and not tag):
                continue
            damaged = same = Again(self.found.verify)
            if what and tag:
                damaged = same = Again(stage_command(self.run, self.number, what, "--tag", tag), tagged=True)
            elif what:
                damaged, same = self._as_it_was(what), self.again[what]
            table = self.found.table(path, kind, damaged)
            if kind is ADVANTAGES and table is not None:
                with self._same("" if tag else "advantages"):
                    self.found.same_keys(table, self._graded_keys(), path, "the rewards", same)
            if kind is POLICY_LOGPROBS and table is not None:
                self._of_the_rollouts(path, kind, same)

    def _rewards_id(self) -> str | None:
        if "rewards" not in self.unknown:
            with suppress(RsgrpoError):  # of the rewards, which is a finding already
                return self.step.rewards.id if self.step.rewards else None
        return None

    def _graded_keys(self) -> pa.Table | None:
        """The completions that have rewards; where these are damaged, those that there are."""
        if "rewards" not in self.unknown:
            with suppress(RsgrpoError):  # of the rewards, which is a finding already
                return self.step.rewards.table(list(KEYS)) if self.step.rewards else None
        return self.keys

    def _of_the_rollouts(self, path: Path, kind: ArtifactSchema, hint: Hint) -> None:
        """What nothing is made from is of the step's own rollouts, too: `show` and the page put it beside these."""
        with suppress(RsgrpoError):
            known = {self.step.manifest and self.step.manifest["id"]}
            known |= {self.step.updates.made_from("rollouts") if self.step.updates else None}
            if known != {None} and read_lineage(path, kind).inputs.get("rollouts") not in known:
                self.found.add(f"{path} is not of the rollouts that are there", hint)

    # -- what was made from what --------------------------------------------------------------------------------------

    def _lineage(self, apart_from: frozenset[str]) -> None:
        """What of the step was made from something that has been replaced since."""
        if self.foreign_update:
            self.unknown.add("updates")
            path = self.run.update_metrics(self.number)
            again = Again(stage_command(self.run, self.number, "updates", *self._settings_of_update()))
            self.found.add(f"{path} is from a different update than the one that made policy {self.number + 1}", again)
        unknown = {*apart_from, *self.unknown, *(what for what in CHAIN if not _readable(self.step, what))}
        if not _readable(self.step, "history"):
            unknown.add("history")
        if self.number and not _readable(Step(self.run, self.number - 1), "updates"):
            unknown.add("policy")
        with suppress(RsgrpoError):
            for stale in stale_links(self.run, self.number, apart_from=unknown):
                ways = ways_out(self.run, self.number, {stale.role})
                self.found.add_stale(stale.sentence, ways, self.number)

    def _settings_of_update(self) -> list[str]:
        with suppress(RsgrpoError):
            return own_settings(self.run, self.number, "updates")
        return []


_NAMES = {
    kind.name: name
    for kind, name in (
        (ADVANTAGES, "advantages"),
        (HISTORY, "history"),
        (UPDATE_METRICS, "update_metrics"),
        (POLICY_LOGPROBS, "policy_logprobs"),
    )
}
"""The single files of a step, by the first part of their name."""


def _readable(step: Step, what: str) -> bool:
    """Whether the footers of an artifact can be read, if it is there."""
    try:
        made: Parts = step.artifact(what)
        return bool(made.lineages) or True
    except RsgrpoError:
        return False


def _whole(drawn: Mapping[str, pa.Table | None]) -> pa.Table | None:
    """The keys of all parts in order; None unless all can be read."""
    tables = [table for table in drawn.values() if table is not None]
    if not tables or len(tables) < len(drawn):
        return None
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in KEYS]).combine_chunks()
