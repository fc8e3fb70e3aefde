"""Everything in a run checked: content, keys, joins, what was made from what, and that the newest checkpoint loads.

Commands check what they use. This reads all of it: each table is hashed again, each checkpoint compared with its
hashes, and rows are joined with those that they were made from. Nothing is written.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli import activity
from rsgrpo_cli.disk import about_link, links_out
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.pipeline.base_model import open_base
from rsgrpo_cli.pipeline.verify.evaluations import check_benchmarks, check_evaluations
from rsgrpo_cli.pipeline.verify.findings import FIRST, LAST, Again, Findings, Hint
from rsgrpo_cli.pipeline.verify.kinds import check_kinds
from rsgrpo_cli.pipeline.verify.places import check_places
from rsgrpo_cli.pipeline.verify.presence import check_presence, first_step
from rsgrpo_cli.pipeline.verify.steps import check_step
from rsgrpo_cli.pipeline.verify.tags import check_tagged
from rsgrpo_cli.run.checked_steps import require_own_settings
from rsgrpo_cli.run.checkpoint_checks import check_checkpoint, checking
from rsgrpo_cli.run.identity import read_identity
from rsgrpo_cli.run.step_dir import Step, has_policy, stage_command
from rsgrpo_cli.schemas import CHECKED, METRICS, PROMPTS, SOLVED, ArtifactSchema


class Verification(Findings):
    """The check of a run."""

    def all(self, *, load: bool) -> None:
        """Check everything; with `load`, also that the newest checkpoint does.

        In the order in which it is made again: a policy before what is sampled from it, a step before its policy.
        """
        with activity.doing(f"verifying run {self.run.name}"):
            self._links()
            check_kinds(self)
            readable = self._settings()
            self._problems()
            steps = {*self.run.steps(), *range(first_step(self.run), self.run.newest_version())}
            check_places(self)
            replaced = frozenset[str]()
            for number in sorted(steps | {*self.run.checkpoint_folders()}):
                if number in self.run.checkpoint_folders():
                    self._checkpoint(number, other_record="policy" in replaced)
                self.at = number
                if number in self.misplaced:
                    self.unsure.add(number + 1)
                    replaced = frozenset({"policy", "history"})
                    continue
                if number in steps and self._is_of_no_policy(number):
                    continue
                replaced = check_step(self, number, apart_from=replaced) if number in steps else frozenset()
            check_tagged(self)
            if readable:
                self._evaluations()
            self.at = LAST
            self._statistics()
            self.at = FIRST
            if readable and load and not self.in_order() and self.run.newest_version():
                self._load(self.run.newest_version())

    # -- the run itself -----------------------------------------------------------------------------------------------

    def _links(self) -> None:
        """Nothing is written through a link that leads out of the run, so nothing should lie behind one."""
        for path in links_out(self.run.path):
            self.add(*about_link(path))

    def _settings(self) -> bool:
        before = len(self.findings)
        with self.noting():
            self.run.config()
            self.run.origin()
            require_own_settings(self.run)
        readable = len(self.findings) == before
        with self.noting(Again(self.verify)):
            read_identity(self.run.path)
        return readable

    def _problems(self) -> None:
        if self.run.prompts.is_file():
            self.table(self.run.prompts, PROMPTS, Again(self.command("prepare")))
        elif self.run.steps() and not self.names(self.run.prompts):
            self.add(f"{self.run.prompts} is gone", Again(self.command("prepare"), away=False))

    def _statistics(self) -> None:
        again, metrics = Again(self.command("train")), None
        for path, kind in ((self.run.metrics, METRICS), (self.run.solved, SOLVED), (self.run.checked, CHECKED)):
            table = self.table(path, kind, again) if path.is_file() else None
            if table is not None and kind is not CHECKED:
                self._join_steps(path, table, kind, again)
            if kind is METRICS:
                metrics = table
        check_presence(self, metrics)

    def _join_steps(self, path: Path, table: pa.Table, kind: ArtifactSchema, hint: Hint) -> None:
        """The statistics are of these steps: their mean reward, and what they solved.

        Those of a step that is damaged or stale follow from it.
        """
        unsound = {finding.step for finding in self.findings} | {*self.stale} | self.misplaced
        for row in table.to_pylist():
            step = Step(self.run, row["step"])
            if row["step"] in unsound or not step.rewards or step.lost_rollouts or not step.rollouts:
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
                self.add(f"{path} has different numbers for step {row['step']} than its rewards give", hint)
                return

    def _evaluations(self) -> None:
        self.at = FIRST
        check_benchmarks(self)
        check_evaluations(self)

    # -- policies -----------------------------------------------------------------------------------------------------

    def _checkpoint(self, version: int, *, other_record: bool) -> None:
        """Check a checkpoint; with `other_record`, the record of the update that made it is of another."""
        self.at = version - 1
        folder, before = self.run.checkpoint(version), len(self.findings)
        hint = self._without(version, folder)
        if version in self.run.versions():
            self.checkpoints += 1
            with self.noting(hint):
                check_checkpoint(self.run, version, trainer=True, recorded=not other_record)
        elif any(path.is_file() for path in folder.rglob("*.safetensors")):
            self.add(f"{folder} is not a whole checkpoint: it has no manifest.json", hint)
        if len(self.findings) > before:
            self.unsure.add(version)

    def _is_of_no_policy(self, number: int) -> bool:
        """Whether a step lies beyond all that the run has made; nothing of it can be checked or made again then."""
        if number <= self.run.newest_version() or has_policy(self.run, number):
            return False
        folder = self.run.step(number)
        self.add(f"{folder} is of policy {number}, which the run does not have", Again(self.verify))
        return True

    def _without(self, version: int, folder: Path) -> str:
        """What to do about a damaged checkpoint: all but the newest policy are rebuilt when they are needed."""
        if version < self.run.newest_version():
            return f"remove {folder}, then: {self.verify}"
        with suppress(RsgrpoError):  # which is a finding of its own
            if Step(self.run, version - 1).lost_rollouts:
                return f"remove {folder}, then: {self.command('train', *self._as_far_as(version))}"
        return f"remove {folder}, then: {stage_command(self.run, version - 1, 'updates')}"

    def _as_far_as(self, version: int) -> list[str]:
        """The flags of a `train` that makes a policy beyond what the configuration asks for."""
        try:
            wanted = self.run.config().train.steps
        except RsgrpoError:  # which is a finding of its own
            return []
        return ["--steps", str(version)] if version > wanted else []

    def _load(self, version: int) -> None:
        from rsgrpo_cli.models import quiet
        from rsgrpo_cli.policy.checkpoints import open_policy

        with self.noting():
            config = self.run.config()
            model = config.model.model_copy(update={"device": "cpu", "compile": False})
            base, _ = open_base(self.run, model.name, accept=False, record=False)
            config, plain = config.model_copy(update={"model": model}), config.update.optimizer == "adamw"
            with checking(self.run, version, trainer=True), quiet():
                open_policy(config, base, self.run.checkpoint(version), version=version, train=plain)
