"""Everything in a run checked: content, keys, joins, what was made from what, and that the newest checkpoint loads.

Commands check what they use. This reads all of it: each table is hashed again, each checkpoint compared with its
hashes, and rows are joined with those that they were made from. Nothing is written.
"""

from __future__ import annotations

import math
import shlex
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli import activity
from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.checked_steps import require_own_settings
from rsgrpo_cli.checkpoint_checks import check_checkpoint, checking
from rsgrpo_cli.disk import links_out
from rsgrpo_cli.errors import ArtifactError, RsgrpoError
from rsgrpo_cli.identity import read_identity
from rsgrpo_cli.pipeline.base_model import open_base
from rsgrpo_cli.pipeline.findings import Findings, made_again, moved
from rsgrpo_cli.pipeline.verified_evaluations import check_benchmarks, check_evaluations
from rsgrpo_cli.pipeline.verified_tags import check_tagged
from rsgrpo_cli.schemas import (
    ADVANTAGES,
    AUDIT,
    CHECKED,
    HISTORY,
    KEYS,
    METRICS,
    POLICY_LOGPROBS,
    PROMPTS,
    REWARDS,
    ROLLOUTS,
    SOLVED,
    UPDATE_METRICS,
    ArtifactSchema,
)
from rsgrpo_cli.staleness import stale_inputs
from rsgrpo_cli.step_dir import CHAIN, Step, rewards_of, stage_command


class Verification(Findings):
    """The check of a run."""

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
            check_tagged(self)
            if readable:
                check_benchmarks(self)
                check_evaluations(self)
                if load and not self.findings and self.run.newest_version():
                    self._load(self.run.newest_version())

    # -- the run itself -----------------------------------------------------------------------------------------------

    def _links(self) -> None:
        """Nothing is written through a link that leads out of the run, so nothing should lie behind one."""
        for path in links_out(self.run.path):
            self.add(f"{path} is a symbolic link out of the run", "put in its place what it leads to")

    def _settings(self) -> bool:
        before = len(self.findings)
        with self.noting():
            self.run.config()
            self.run.origin()
            require_own_settings(self.run)
        readable = len(self.findings) == before
        with self.noting(f"move it away, then: {self.command('train')}"):
            read_identity(self.run.path)
        return readable

    def _problems(self) -> None:
        if self.run.prompts.is_file():
            self.table(self.run.prompts, PROMPTS, moved(self.command("prepare")))
        elif self.run.steps():
            self.add(f"{self.run.prompts} is gone", made_again(moved(self.command("prepare"))))

    def _statistics(self) -> None:
        for path, kind in ((self.run.metrics, METRICS), (self.run.solved, SOLVED), (self.run.checked, CHECKED)):
            table = self.table(path, kind, moved(self.command("train"))) if path.is_file() else None
            if table is not None and kind is not CHECKED:
                with self.noting(moved(self.command("train"))):
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

    # -- steps --------------------------------------------------------------------------------------------------------

    def _step(self, number: int) -> None:
        found, again = Step(self.run, number), {what: moved(stage_command(self.run, number, what)) for what in CHAIN}
        before = len(self.findings)
        with self.noting(again["rollouts"]):
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
            self.add(f"{step.folder / 'manifest.json'} is gone", made_again(again["rollouts"]))
        elif step.manifest is not None and not removed:
            step.complete_rollouts()
        for what in CHAIN[1:]:
            if done and not step.artifact(what):
                self.add(f"the {what} of step {step.number} are gone", made_again(again[what]))

    def _rollouts_and_rewards(self, step: Step, again: dict[str, str]) -> None:
        rewards = rewards_of(self.run, step.number)
        graded = {path.stem: path for path in rewards.paths}
        sampled: list[pa.Table] = []
        for path in step.rollouts.paths:
            rollouts = self.table(path, ROLLOUTS, again["rollouts"])
            if rollouts is not None:
                self.join_problems(path, rollouts, step.number, again["rollouts"])
                sampled.append(rollouts.select(list(KEYS)))
            if not rewards.single and path.stem in graded:
                of_part = self.table(graded.pop(path.stem), REWARDS, again["rewards"])
                self.same_keys(of_part, rollouts, rewards.place / path.name, "its rollouts", again["rewards"])
        for path in graded.values():
            single = self.table(path, REWARDS, again["rewards"])
            if rewards.single and len(sampled) == len(step.rollouts.paths) and sampled:
                keys = pa.concat_tables(sampled).sort_by([(name, "ascending") for name in KEYS]).combine_chunks()
                self.same_keys(single and single.combine_chunks(), keys, path, "its rollouts", again["rewards"])

    def _later_tables(self, step: Step, again: dict[str, str]) -> None:
        for path in sorted(self.run.step(step.number).glob("*.parquet")):
            kind, what = _BY_NAME.get(path.name.partition(".")[0], (None, None))
            if kind is None:
                continue
            tag = path.name.removesuffix(".parquet").partition(".")[2]
            hint = again[what] if what else moved(self.verify)
            if what and tag:
                hint = moved(stage_command(self.run, step.number, what, "--tag", tag), tagged=True)
            made = self.table(path, kind, hint)
            if kind is ADVANTAGES and step.rewards:
                self.same_keys(made, step.rewards.table(list(KEYS)), path, "the rewards", hint)
            if kind is POLICY_LOGPROBS and made is not None and step.manifest is not None:
                self._of_these(path, kind, step.manifest["id"], hint)

    def _of_these(self, path: Path, kind: ArtifactSchema, rollouts: str, hint: str) -> None:
        """What nothing is made from is of the step's own rollouts, too: `show` and the page put it beside these."""
        if read_lineage(path, kind).inputs.get("rollouts") != rollouts:
            self.add(f"{path} is not of the rollouts that are there", hint)

    def _lineage(self, step: Step) -> None:
        hint = f"branch off before it: {self._fork(step.number)}"
        with self.noting(hint):
            for problem in stale_inputs(self.run, step.number):
                self.add(problem, hint)

    def _fork(self, step: int) -> str:
        return shlex.join(["rsgrpo", "fork", "NEW", "--run", str(self.run.path), "--step", str(step)])

    # -- policies -----------------------------------------------------------------------------------------------------

    def _checkpoints(self) -> None:
        for version in self.run.checkpoint_folders():
            folder = self.run.checkpoint(version)
            hint = self._without(version, folder)
            if version not in self.run.versions():
                if any(path.is_file() for path in folder.rglob("*.safetensors")):
                    self.add(f"{folder} is not a whole checkpoint: it has no manifest.json", hint)
                continue
            self.checkpoints += 1
            with self.noting(hint):
                check_checkpoint(self.run, version, trainer=True)

    def _without(self, version: int, folder: Path) -> str:
        """What to do about a damaged checkpoint. Beside a foreign update it may be sound: it is not to be removed."""
        with suppress(RsgrpoError):  # which is a finding of its own
            if stale_inputs(self.run, version - 1):
                return f"branch off before it: {self._fork(version - 1)}"
        return f"remove {folder}, then: {self.command('train', *self._as_far_as(version))}"

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


_BY_NAME: dict[str, tuple[ArtifactSchema, str | None]] = {
    "audit": (AUDIT, None),
    "advantages": (ADVANTAGES, "advantages"),
    "history": (HISTORY, "advantages"),
    "update_metrics": (UPDATE_METRICS, "updates"),
    "policy_logprobs": (POLICY_LOGPROBS, None),
}
"""The single files of a step, by the first part of their name: what they hold, and which stage makes them again; None
where nothing needs them any more."""
