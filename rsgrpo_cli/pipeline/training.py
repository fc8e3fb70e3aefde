"""The loop over steps, and how a run is started, resumed and forked."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table, write_table
from rsgrpo_cli.config import Overrides, RunConfig, changed_fields, decides_training, override, override_afresh
from rsgrpo_cli.errors import MissingError, StaleError, UsageError
from rsgrpo_cli.pipeline import evaluation, preparation, steps
from rsgrpo_cli.pipeline import metrics as step_metrics
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.run_dir import RunDir, numbered, stale_inputs
from rsgrpo_cli.schemas import ADVANTAGES, METRICS, REWARDS, SUMMARY, UPDATE_METRICS

WRITE_SECONDS = 2.0
"""How old metrics.parquet may become while steps go by faster than that."""

Report = Callable[[dict[str, Any]], None]
"""Called with each step's row of metrics."""


# -- starting, resuming -----------------------------------------------------------------------------------------------


def resume_config(run: RunDir, overrides: Overrides) -> RunConfig:
    """The configuration to go on with: the run's own, with what may change changed; all of it while nothing was made.

    Raises:
        UsageError: If a flag contradicts what the run was created with.
    """
    stored = run.config()
    if not run.has_results():
        return override_afresh(stored, overrides)
    wanted = override(stored, overrides)
    for name, (old, new) in changed_fields(stored, wanted).items():
        decides_problems = name == "eval.benchmark" and stored.prepare.decontaminate == "drop"
        if decides_training(name) or decides_problems:
            flag = name.removesuffix(".name").split(".")[-1].replace("_", "-")
            raise UsageError(
                f"run {run.name} was created with {flag} {old}, not {new}",
                f"leave the flag out to go on with it, branch off: rsgrpo fork --run {run.path}, or name a new --run",
            )
    return wanted


def train(session: Session, report: Report) -> None:
    """Run the remaining steps; with what is finished skipped, this is also how a run is resumed.

    Raises:
        StaleError: If an earlier step was changed by hand since.
        Interrupted: If asked to stop.
    """
    settle(session)
    preparation.prepare(session, session.config.prepare)
    _check_resources(session)
    if session.config.train.eval_every:
        requests = [evaluation.Request(name) for name in evaluation.benchmarks_of(session)]
        evaluation.prepare_benchmarks(session, requests)
    training = Training(session)
    total = session.config.train.steps
    for step in range(training.start, total):
        report(training.step(step))
        if step + 1 < total:
            session.stop.check(f"step {step + 1} of {total}", steps.again(session))


def settle(session: Session) -> None:
    """Give a run in which nothing was made the settings of this session."""
    run = session.run
    if not run.has_results() and run.config() != session.config:
        run.change_config(session.config)


def _check_resources(session: Session) -> None:
    """Find out what is not there or cannot be loaded before anything is sampled for it."""
    score = session.config.score
    session.require_engine(session.config.rollout.engine)
    session.require_reward(score.reward, workers=score.workers, timeout=score.timeout)


class Training:
    """A run's steps, from where it stands; whatever the next step needs is on disk when one ends.

    Args:
        session: The run, with its problems prepared.

    Raises:
        StaleError: If an earlier step was changed by hand since.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.start = session.run.newest_version()
        _check_history(session.run, self.start)
        self.history = _History(session, upto=self.start)
        if self.start < session.config.train.steps:
            session.policy(self.start, train=True)
        if self.start:
            # The run may have been stopped between its last update and the end of that step.
            _maybe_evaluate(session, self.start, again=False)
            prune(session.run, keep=session.config.train.keep_checkpoints)

    def step(self, step: int) -> dict[str, Any]:
        """Do a step: the four stages, its row of metrics (returned), an evaluation if one is due.

        Raises:
            Interrupted: If asked to stop.
        """
        session, config = self.session, self.session.config
        self._sample(step)
        steps.advantage(session, step, config.advantage)
        save = self._is_due(step + 1)
        steps.update(session, step, config.update, save=save)
        row = self.history.add(step, write=save)
        if save:
            _maybe_evaluate(session, step + 1)
            prune(session.run, keep=config.train.keep_checkpoints)
        return row

    def _sample(self, step: int) -> None:
        """Rollouts and rewards; with `zero_variance = "resample"` in as many rounds as it takes."""
        session, config = self.session, self.session.config
        more = True
        while more:
            steps.rollout(session, step, config.rollout)
            session.stop.check(f"the rollouts of step {step}", steps.again(session))
            scored = steps.score(session, step, config.score)
            session.stop.check(f"the rewards of step {step}", steps.again(session))
            more = "prompts_to_draw" in scored.facts

    def _is_due(self, version: int) -> bool:
        """Whether a policy is to be saved: by its number, as the last, to be evaluated, or because of a Ctrl-C."""
        cfg = self.session.config.train
        by_number = version % cfg.checkpoint_every == 0 or version == cfg.steps
        return by_number or _evaluation_is_due(self.session, version) or self.session.stop.requested


def _evaluation_is_due(session: Session, version: int) -> bool:
    cfg = session.config.train
    return cfg.eval_every > 0 and (version % cfg.eval_every == 0 or version == cfg.steps)


def _maybe_evaluate(session: Session, version: int, *, again: bool = True) -> None:
    if not _evaluation_is_due(session, version):
        return
    for name in evaluation.benchmarks_of(session):
        request = evaluation.Request(name)
        if again or request.name not in session.run.benchmarks_of(version):
            facts = evaluation.evaluate(session, version, session.config.eval, request).facts
            values = "  ".join(f"{name} {value:.3f}" for name, value in facts.items() if name.startswith("pass@"))
            session.out.info(f"policy {version} on {request.name}: {values}")


def _check_history(run: RunDir, upto: int) -> None:
    for step in range(upto):
        problems = stale_inputs(run, step)
        if problems:
            raise StaleError(
                f"{problems[0]}; what follows it is stale",
                f"branch off before it: rsgrpo fork --run {run.path} --step {step}",
            )


# -- metrics ----------------------------------------------------------------------------------------------------------


class _History:
    """The rows of metrics so far, and which problems have been solved."""

    def __init__(self, session: Session, *, upto: int) -> None:
        self.session = session
        self.total = len(session.prompts)
        self.solved: set[str] | None = set()  # None from the first step on whose rewards are grades
        self.rows: dict[int, dict[str, Any]] = {}
        self.written = 0.0
        known = read_table(session.run.metrics, METRICS).to_pylist() if session.run.metrics.is_file() else []
        before = {row["step"]: row for row in known}
        for step in range(upto):
            tables = _read_step(session.run, step)
            self._count_solved(tables)
            self.rows[step] = before.get(step) or self._row(step, tables)
        if self.rows:
            self._write()

    def add(self, step: int, *, write: bool = True) -> dict[str, Any]:
        """Work out a step's row; write them all if told to, or if it is some seconds since they were.

        Nothing is lost by waiting: a row that is missing is worked out again from the step's artifacts.
        """
        tables = _read_step(self.session.run, step)
        self._count_solved(tables)
        self.rows[step] = self._row(step, tables)
        if write or time.monotonic() - self.written > WRITE_SECONDS:
            self._write()
        return self.rows[step]

    def _count_solved(self, tables: step_metrics.StepTables) -> None:
        solved = step_metrics.solved_prompts(tables.rollouts, tables.rewards)
        self.solved = None if solved is None or self.solved is None else self.solved | solved

    def _row(self, step: int, tables: step_metrics.StepTables) -> dict[str, Any]:
        return step_metrics.step_metrics(
            tables,
            step=step,
            solve_rate=None if self.solved is None else len(self.solved) / self.total,
            seconds=self.session.timings.get(step, {}),
            peak_memory_bytes=peak_memory(),
        )

    def _write(self) -> None:
        table = pa.Table.from_pylist([self.rows[step] for step in sorted(self.rows)], schema=METRICS.schema)
        write_table(self.session.run.metrics, table, METRICS, Lineage("train", {}, {}))
        self.written = time.monotonic()


def record_step(session: Session, step: int) -> dict[str, Any]:
    """Bring metrics.parquet up to date after a single `update`; the row of that step."""
    return _History(session, upto=step).add(step)


def peak_memory() -> int:
    """Bytes: of the GPU if this process used one, else of the process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _read_step(run: RunDir, step: int) -> step_metrics.StepTables:
    return step_metrics.StepTables(
        steps.read_rollouts(run.rollouts(step), list(step_metrics.ROLLOUT_COLUMNS)),
        read_table(run.rewards(step), REWARDS, list(step_metrics.REWARD_COLUMNS)),
        read_table(run.advantages(step), ADVANTAGES),
        read_table(run.update_metrics(step), UPDATE_METRICS),
        read_lineage(run.advantages(step), ADVANTAGES),
        steps.counted_limit(run, step),
    )


# -- keeping and branching --------------------------------------------------------------------------------------------


def prune(run: RunDir, *, keep: int) -> None:
    """Remove all checkpoints but the newest `keep` and the best evaluated one."""
    versions = run.versions()
    stay = {*versions[-keep:], _best(run)}
    for version in versions:
        if version not in stay:
            # The manifest first: from then on the checkpoint does not count, however far the removal gets.
            (run.checkpoint(version) / "manifest.json").unlink()
            shutil.rmtree(run.checkpoint(version))


def _best(run: RunDir) -> int | None:
    """The checkpoint with the highest pass@1, averaged over its benchmarks."""
    scores = {}
    for version in run.versions():
        values = [_pass_at_1(run.evaluation(version, name)) for name in run.benchmarks_of(version)]
        if values:
            scores[version] = sum(values) / len(values)
    return max(scores, key=lambda version: scores[version]) if scores else None


def _pass_at_1(folder: Path) -> float:
    rows = read_table(folder / "summary.parquet", SUMMARY).to_pylist()
    return next(float(row["value"]) for row in rows if row["metric"] == "pass" and row["k"] == 1)


def fork(source: RunDir, step: int, target: Path, overrides: Overrides) -> RunDir:
    """A new run that shares everything before step `step`, and goes on with other settings.

    That step's rollouts and rewards are shared as well, unless sampling is what changes.

    Files are hard-linked: an artifact is only ever replaced, never written into, so neither run can change the other's.

    Args:
        source: The run to branch off.
        step: The first step that the new run does itself.
        target: Where the new run goes.
        overrides: Its other settings.

    Raises:
        MissingError: If the policy of that step is not there (any more).
        UsageError: If there is something at `target`, or the policy of that step is of another model, or learned
            from other problems, than wanted.
    """
    if step > 0 and step not in source.versions():
        have = ", ".join(map(str, source.versions())) or "none"
        raise MissingError(f"run {source.name} has no checkpoint {step} to fork from", f"checkpoints: {have}, or 0")
    config = override(source.config(), overrides)
    changed = changed_fields(source.config(), config)
    if step > 0:
        _require_same_past(changed, f"policy {step} of run {source.name}")
    run = RunDir.create(target, config, forked_from={"run": source.name, "step": step})
    shared = [source.prompts, *(source.path / "benchmarks").glob("*.parquet")]
    shared += [source.step(earlier) for earlier in range(step)]
    shared += [source.rollouts(step), source.rewards(step)] if _samples_alike(changed) else []
    shared += [source.checkpoint(version) for version in source.versions() if version <= step]
    shared += [source.evaluations(version) for version in numbered(source.path / "evals") if version <= step]
    for path in shared:
        _link(path, run.path / path.relative_to(source.path))
    return run


def _require_same_past(changed: Mapping[str, tuple[Any, Any]], policy: str) -> None:
    """Refuse a fork of a trained policy that would need another past: another model or other problems."""
    for name, (was, wanted) in changed.items():
        problems = name.startswith("prepare.") and decides_training(name)
        if problems or name in ("model.name", "model.lora_rank", "model.lora_alpha"):
            raise UsageError(
                f"{policy} was trained with {name} {was}, not {wanted}",
                "only a fork of the base model can change that: --step 0",
            )


def _samples_alike(changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether a step would sample as it did before some settings were changed.

    Rollouts that were resampled have more groups than any other mode would make of them; the others can be added to.
    """
    deciding = {name for name in changed if decides_training(name)}
    if changed.get("rollout.zero_variance", ("keep",))[0] != "resample":
        deciding.discard("rollout.zero_variance")
    return not any(name.partition(".")[0] in ("seed", "model", "prepare", "rollout", "vllm") for name in deciding)


def _link(source: Path, target: Path) -> None:
    if source.is_dir():
        for path in sorted(source.iterdir()):
            _link(path, target / path.name)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
