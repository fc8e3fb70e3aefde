"""What a run's earlier steps came to: a row of metrics each, and which problems were solved when.

It is a statistic, and nothing of it is needed to resume: a run whose old steps were deleted, damaged or never copied is
continued, with what cannot be known any more left empty.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import pyarrow as pa

from rsgrpo_cli import disk
from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table, write_table
from rsgrpo_cli.errors import ArtifactError, MissingError, StaleError
from rsgrpo_cli.pipeline import metrics as step_metrics
from rsgrpo_cli.pipeline import steps
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.run_dir import RunDir, stale_inputs
from rsgrpo_cli.schemas import ADVANTAGES, METRICS, REWARDS, SOLVED, UPDATE_METRICS, ArtifactSchema

WRITE_SECONDS = 2.0
"""How old metrics.parquet may become while steps go by faster than that."""


def check_history(session: Session, upto: int) -> None:
    """Make sure that no step before `upto` was changed by hand since; what is gone or damaged changes nothing.

    Raises:
        StaleError: If one was.
    """
    run = session.run
    for step in range(upto):
        try:
            problems = stale_inputs(run, step)
        except (ArtifactError, MissingError) as error:
            session.out.warn(f"{error.message}; that step is done, and it is not needed to resume")
            continue
        if problems:
            raise StaleError(
                f"{problems[0]}; what follows it is stale",
                f"branch off before it: rsgrpo fork NEW --run {run.path} --step {step}",
            )


class History:
    """The rows of metrics so far, and which problems have been solved.

    Args:
        session: The run.
        upto: The first step that is still to be done.
    """

    def __init__(self, session: Session, *, upto: int) -> None:
        self.session = session
        self.rows: dict[int, dict[str, Any]] = {}
        self.solved: dict[int, set[str]] | None = {}
        """Step -> problems solved in it and in none before; None from the first step on of which that is not known, or
        whose rewards are grades."""
        self.written = 0.0
        before = {row["step"]: row for row in self._known(session.run.metrics, METRICS)}
        solved = self._known_solved()
        lost = [step for step in range(upto) if not self._recall(step, before, solved)]
        if lost:
            steps_named = f"step {lost[0]}" if len(lost) == 1 else f"{len(lost)} steps from {lost[0]} on"
            session.out.warn(
                f"the artifacts of {steps_named} are gone or damaged: "
                "cumulative_solve_rate stays empty from there on; nothing else depends on them"
            )
        if self.rows:
            self._write()

    def add(self, step: int, *, write: bool = True) -> dict[str, Any]:
        """Work out a step's row; write them all if told to, or if it is some seconds since they were.

        Nothing is lost by waiting: a row that is missing is worked out again from the step's artifacts.
        """
        tables = _read_step(self.session.run, step)
        self._count_solved(step, step_metrics.solved_prompts(tables.rollouts, tables.rewards))
        self.rows[step] = self._row(step, tables)
        if write or time.monotonic() - self.written > WRITE_SECONDS:
            self._write()
        return self.rows[step]

    def _recall(self, step: int, before: dict[int, dict[str, Any]], solved: dict[int, set[str]]) -> bool:
        """Take over an earlier step, from what was noted of it or from its artifacts; False if neither will do."""
        if step in before and step in solved:
            self._count_solved(step, solved[step])
            self.rows[step] = before[step]
            return True
        try:
            tables = _read_step(self.session.run, step)
        except (ArtifactError, MissingError):
            known = self.solved is None or step in solved  # after the first gap there is nothing more to lose
            self._count_solved(step, solved.get(step))
            self.rows |= {step: before[step]} if step in before else {}
            return known
        self._count_solved(step, step_metrics.solved_prompts(tables.rollouts, tables.rewards))
        self.rows[step] = before.get(step) or self._row(step, tables)
        return True

    def _count_solved(self, step: int, prompts: set[str] | None) -> None:
        if prompts is None or self.solved is None:
            self.solved = None
        else:
            self.solved[step] = prompts - set().union(*self.solved.values())

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
        return sum(map(len, self.solved.values())) / len(self.session.prompts)

    def _write(self) -> None:
        run = self.session.run
        table = pa.Table.from_pylist([self.rows[step] for step in sorted(self.rows)], schema=METRICS.schema)
        write_table(run.metrics, table, METRICS, Lineage("train", {}, {}))
        if self.solved is not None:
            rows = [{"step": step, "prompt_ids": sorted(self.solved[step])} for step in sorted(self.solved)]
            write_table(run.solved, pa.Table.from_pylist(rows, schema=SOLVED.schema), SOLVED, Lineage("train", {}, {}))
        self.written = time.monotonic()

    def _known_solved(self) -> dict[int, set[str]]:
        return {row["step"]: set(row["prompt_ids"]) for row in self._known(self.session.run.solved, SOLVED)}

    def _known(self, path: Any, kind: ArtifactSchema) -> list[dict[str, Any]]:
        """The rows of a table that is made again where it is damaged; the damaged file is kept beside it."""
        if not path.is_file():
            return []
        try:
            rows: list[dict[str, Any]] = read_table(path, kind).to_pylist()
        except ArtifactError as error:
            aside = disk.set_aside(path)
            self.session.out.warn(f"{error.message}; it is now {aside.name}, and a new one is made from the steps")
            return []
        return rows


def record_step(session: Session, step: int) -> dict[str, Any]:
    """Bring metrics.parquet up to date after a single `update`; the row of that step."""
    return History(session, upto=step).add(step)


def peak_memory() -> int:
    """Bytes: of the GPU if this process used one, else of the process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _read_step(run: RunDir, step: int) -> step_metrics.StepTables:
    steps.complete_rollouts(run.rollouts(step))
    return step_metrics.StepTables(
        steps.read_rollouts(run.rollouts(step), list(step_metrics.ROLLOUT_COLUMNS)),
        read_table(run.rewards(step), REWARDS, list(step_metrics.REWARD_COLUMNS)),
        read_table(run.advantages(step), ADVANTAGES),
        read_table(run.update_metrics(step), UPDATE_METRICS),
        read_lineage(run.advantages(step), ADVANTAGES),
        steps.counted_limit(run, step),
    )
