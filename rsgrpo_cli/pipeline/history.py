"""What a run's earlier steps came to: a row of metrics each, and which problems were solved when.

It is a statistic, and nothing of it is needed to resume: a run whose old steps were deleted, damaged or never copied is
continued, with what cannot be known any more left empty.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli import activity, disk
from rsgrpo_cli.artifacts import Lineage, read_table, write_table
from rsgrpo_cli.errors import ArtifactError, MissingError, StaleError
from rsgrpo_cli.pipeline import metrics as step_metrics
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.updating import counted_limit
from rsgrpo_cli.run.checked_steps import CheckedSteps
from rsgrpo_cli.run.departures import ways_out
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import METRICS, SOLVED, ArtifactSchema
from rsgrpo_cli.wording import steps_told

WRITE_SECONDS = 2.0
"""How old metrics.parquet may become while steps go by faster than that."""


def check_history(session: Session, upto: int) -> CheckedSteps:
    """Make sure that no step before `upto` was changed by hand since; what is gone or damaged changes nothing.

    Returns:
        The steps that are as they should be.

    Raises:
        StaleError: If one was changed.
    """
    run, checked = session.run, _read_checked(session)
    untouched = checked.untouched()
    changed = [step for step in range(upto) if step not in untouched]
    with activity.doing("checking earlier steps", len(changed), "steps") as bar:
        for step in changed:
            bar.advance()
            try:
                problems = checked.note(step)
            except (ArtifactError, MissingError) as error:
                session.out.warn(f"{error.message}; that step is done, and it is not needed to resume")
                continue
            if problems:
                first, *_ = problems
                raise StaleError(f"{first.sentence}; what follows it is stale", ways_out(run, step, {first.role}))
    return checked


class History:
    """The rows of metrics so far, and which problems have been solved.

    Args:
        session: The run.
        upto: The first step that is still to be done.
        checked: From `check_history`; read unless given.
    """

    def __init__(self, session: Session, *, upto: int, checked: CheckedSteps | None = None) -> None:
        self.session = session
        self.checked = _read_checked(session) if checked is None else checked
        known = _known(session, session.run.metrics, METRICS)
        self.metrics = known.filter(pc.less(known["step"], upto))
        self.new_rows: dict[int, dict[str, Any]] = {}
        """Rows of steps that are not in `metrics` yet."""
        self.solved: dict[int, list[str]] | None = {}
        """Step -> problems solved in it and in none before; None from the first step on of which that is not known, or
        whose rewards are grades."""
        self.solved_so_far: set[str] = set()
        self.written = 0.0
        lost = self._recall_all(upto)
        if lost:
            session.out.warn(
                f"the artifacts of {steps_told(lost)} are gone or damaged: "
                "cumulative_solve_rate stays empty from there on; nothing else depends on them"
            )
        if len(self.metrics) or self.new_rows:
            self._write()

    def add(self, step: int, *, write: bool = True) -> dict[str, Any]:
        """Work out a step's row; write them all if told to, or if it is some seconds since they were.

        Nothing is lost by waiting: a row that is missing is worked out again from the step's artifacts.
        """
        tables = _read_step(self.session.run, step)
        self._count_solved(step, step_metrics.solved_prompts(tables.rollouts, tables.rewards))
        row = self.new_rows[step] = self._row(step, tables)
        self.checked.note(step)
        if write or time.monotonic() - self.written > WRITE_SECONDS:
            self._write()
        return row

    def _recall_all(self, upto: int) -> list[int]:
        """Take over the earlier steps; those of which neither notes nor artifacts are left."""
        have, solved = set(self.metrics["step"].to_pylist()), _known_solved(self.session)
        lost = []
        for step in range(upto):
            if step in have and step in solved:
                self._count_solved(step, solved[step])
            elif not self._recall(step, solved.get(step), has_row=step in have):
                lost.append(step)
        return lost

    def _recall(self, step: int, solved: Sequence[str] | None, *, has_row: bool) -> bool:
        """Take over an earlier step from its artifacts; False if they are gone."""
        try:
            tables = _read_step(self.session.run, step)
        except (ArtifactError, MissingError):
            known = self.solved is None or solved is not None  # after the first gap there is nothing more to lose
            self._count_solved(step, solved)
            return known
        self._count_solved(step, step_metrics.solved_prompts(tables.rollouts, tables.rewards))
        if not has_row:
            self.new_rows[step] = self._row(step, tables)
        return True

    def _count_solved(self, step: int, prompts: Iterable[str] | None) -> None:
        if prompts is None or self.solved is None:
            self.solved = None
            return
        self.solved[step] = sorted(set(prompts) - self.solved_so_far)
        self.solved_so_far.update(self.solved[step])

    def _row(self, step: int, tables: step_metrics.StepTables) -> dict[str, Any]:
        return step_metrics.step_metrics(
            tables,
            step=step,
            solve_rate=self._solve_rate(),
            seconds=self.session.timings.get(step, {}),
            peak_memory_bytes=peak_memory(),
        )

    def _solve_rate(self) -> float | None:
        if self.solved is None or not self.session.run.prompts.is_file():
            return None
        return len(self.solved_so_far) / len(self.session.prompts)

    def _write(self) -> None:
        run, none = self.session.run, Lineage("train", {}, {})
        fresh = pa.Table.from_pylist(list(self.new_rows.values()), schema=METRICS.schema)
        self.metrics = pa.concat_tables([self.metrics, fresh]).sort_by("step")
        self.new_rows.clear()
        write_table(run.metrics, self.metrics, METRICS, none)
        if self.solved is not None:
            columns = {"step": list(self.solved), "prompt_ids": list(self.solved.values())}
            write_table(run.solved, pa.table(columns, schema=SOLVED.schema), SOLVED, none)
        self.checked.write()
        self.written = time.monotonic()


def _known_solved(session: Session) -> dict[int, list[str]]:
    found = _known(session, session.run.solved, SOLVED).to_pydict()
    return dict(zip(found["step"], found["prompt_ids"], strict=True))


def _known(session: Session, path: Path, kind: ArtifactSchema) -> pa.Table:
    """A table that is made again where it is damaged; the damaged file is kept beside it."""
    empty = kind.schema.empty_table()
    if not path.is_file():
        return empty
    try:
        return read_table(path, kind).replace_schema_metadata(None)
    except ArtifactError as error:
        _set_aside(session, path, error)
        return empty


def _read_checked(session: Session) -> CheckedSteps:
    try:
        return CheckedSteps.read(session.run)
    except ArtifactError as error:
        _set_aside(session, session.run.checked, error)
        return CheckedSteps(session.run)


def _set_aside(session: Session, path: Path, error: ArtifactError) -> None:
    aside = disk.set_aside(path)
    session.out.warn(f"{error.message}; it is now {aside.name}, and a new one is made from the steps")


def record_step(session: Session, step: int) -> dict[str, Any]:
    """Bring metrics.parquet up to date after a single `update`; the row of that step."""
    return History(session, upto=step).add(step)


def peak_memory() -> int:
    """Bytes: of the GPU if this process used one, else of the process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return peak_rss()


def peak_rss() -> int:
    """Bytes of memory that this process has had at most."""
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB, macOS in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _read_step(run: RunDir, number: int) -> step_metrics.StepTables:
    step = Step(run, number)
    step.complete_rollouts()
    return step_metrics.StepTables(
        step.rollouts.table(step_metrics.ROLLOUT_COLUMNS),
        step.rewards.table(step_metrics.REWARD_COLUMNS),
        step.advantages.table(),
        step.updates.table(),
        step.advantages.first,
        counted_limit(step),
    )
