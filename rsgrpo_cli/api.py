"""The Python API: a run's artifacts as Arrow tables.

It reads, and never writes, samples or trains; it takes no lock, so a run may be read while it trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.run import staleness
from rsgrpo_cli.run.run_commands import command, to_measure
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import Parts, part_files, rewards_of
from rsgrpo_cli.schemas import (
    ADVANTAGES,
    HISTORY,
    METRICS,
    PROBLEMS,
    PROMPTS,
    REWARDS,
    ROLLOUTS,
    SUMMARY,
    UPDATE_METRICS,
    ArtifactSchema,
)
from rsgrpo_cli.tasks.sources import flags_of_benchmark

Columns = Sequence[str] | None


def open_run(run: str | Path | None = None) -> Run:
    """Open a run for reading.

    Args:
        run: Its directory, or its name under runs/; the newest one there unless given.

    Raises:
        MissingError: If there is no such run.
    """
    return Run(RunDir.open(None if run is None else str(run)))


@dataclass(frozen=True, slots=True)
class Run:
    """A run's artifacts, read from disk at every call.

    Every table has the columns of its schema in `rsgrpo_cli.schemas`. `columns` picks some of them, which is much
    faster for rollouts. The rollouts, rewards and advantages of a step have the same rows in the same order.

    Every method raises MissingError if the artifact is not there, ArtifactError if it is damaged, and UsageError if it
    has no such column.
    """

    directory: RunDir

    @property
    def name(self) -> str:
        """The run's name."""
        return self.directory.name

    @property
    def path(self) -> Path:
        """Its directory."""
        return self.directory.path

    def config(self) -> RunConfig:
        """Its settings: `run.config().advantage.beta`."""
        return self.directory.config()

    def steps(self) -> list[int]:
        """Steps that have begun, in order."""
        return self.directory.steps()

    def stale(self, step: int) -> list[str]:
        """What of a step was made from something that has been replaced since, as sentences; empty if nothing was."""
        return staleness.stale_inputs(self.directory, step)

    def prompts(self, columns: Columns = None) -> pa.Table:
        """The training problems."""
        return self._table(self.directory.prompts, PROMPTS, columns, "")

    def metrics(self, columns: Columns = None) -> pa.Table:
        """One row per finished step."""
        return self._table(self.directory.metrics, METRICS, columns, "")

    def rollouts(self, step: int, columns: Columns = None) -> pa.Table:
        """The completions of a step that have been sampled so far."""
        folder = self.directory.rollouts(step)
        return _parts(Parts(part_files(folder), ROLLOUTS, folder), columns, f"step {step} of run {self.name}")

    def rewards(self, step: int, columns: Columns = None, *, tag: str | None = None) -> pa.Table:
        """What each completion of a step earned.

        Args:
            step: The step.
            columns: Only these.
            tag: Those made with `rsgrpo score --tag`, beside the run's own.
        """
        return _parts(rewards_of(self.directory, step, tag), columns, f"step {step} of run {self.name}")

    def advantages(self, step: int, columns: Columns = None, *, tag: str | None = None) -> pa.Table:
        """The advantage of each completion of a step; arguments as of `rewards`."""
        return self._table(self.directory.advantages(step, tag), ADVANTAGES, columns, f"step {step} of ")

    def history(self, step: int, columns: Columns = None) -> pa.Table:
        """What the steps before this one came to, by prompt; there only where the estimator looks at them."""
        return self._table(self.directory.history(step), HISTORY, columns, f"step {step} of ")

    def update_metrics(self, step: int, columns: Columns = None) -> pa.Table:
        """One row per optimizer step of a step's update."""
        return self._table(self.directory.update_metrics(step), UPDATE_METRICS, columns, f"step {step} of ")

    def evaluations(self) -> list[tuple[int, str]]:
        """Policy version and benchmark of every finished evaluation, in order; policy 0 is the base model."""
        return staleness.evaluations(self.directory)

    def evaluation(self, policy: int, benchmark: str) -> Evaluation:
        """An evaluation.

        Args:
            policy: The policy's version: updates behind it, 0 for the base model.
            benchmark: Its name, as in `evaluations`.
        """
        if (policy, benchmark) not in self.evaluations():
            have = ", ".join(f"policy {version} on {name}" for version, name in self.evaluations())
            on = flags_of_benchmark(self.config())
            hint = f"evaluated: {have}" if have else to_measure(command(self.directory, "eval", *on))
            raise MissingError(f"run {self.name} has no evaluation of policy {policy} on {benchmark}", hint)
        stale = staleness.stale_evaluation(self.directory, policy, benchmark)
        return Evaluation(policy, benchmark, self.directory.evaluation(policy, benchmark), stale)

    def _table(self, path: Path, kind: ArtifactSchema, columns: Columns, where: str) -> pa.Table:
        return _table(path, kind, columns, f"{where}run {self.name}")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One policy on one benchmark.

    Args:
        policy: Version of the policy.
        benchmark: Name of the benchmark.
        path: The directory of the evaluation.
        stale: Why it does not belong to the policy any more, and how to measure again; None where it does.
    """

    policy: int
    benchmark: str
    path: Path
    stale: str | None = None

    def summary(self) -> pa.Table:
        """The metrics with their intervals: pass@k for every k, majority voting, lengths."""
        return _table(self.path / "summary.parquet", SUMMARY, None, str(self.path))

    def problems(self, columns: Columns = None) -> pa.Table:
        """One row per problem: how many samples it has and how many of them are correct."""
        return _table(self.path / "problems.parquet", PROBLEMS, columns, str(self.path))

    def rollouts(self, columns: Columns = None) -> pa.Table:
        """The samples."""
        return self._parts("rollouts", ROLLOUTS, columns)

    def rewards(self, columns: Columns = None) -> pa.Table:
        """The verdict on each sample, in the order of `rollouts`."""
        return self._parts("rewards", REWARDS, columns)

    def _parts(self, name: str, kind: ArtifactSchema, columns: Columns) -> pa.Table:
        folder = self.path / name
        return _parts(Parts(part_files(folder), kind, folder), columns, str(self.path))


def _table(path: Path, kind: ArtifactSchema, columns: Columns, where: str) -> pa.Table:
    _check(kind, columns)
    if not path.is_file():
        raise MissingError(f"{where} has no {_words(kind)}", f"expected at {path}")
    return read_table(path, kind, columns)


def _parts(artifact: Parts, columns: Columns, where: str) -> pa.Table:
    _check(artifact.kind, columns)
    if not artifact:
        raise MissingError(f"{where} has no {_words(artifact.kind)}", f"expected under {artifact.place}")
    return artifact.table(columns)


def _check(kind: ArtifactSchema, columns: Columns) -> None:
    unknown = [name for name in columns or () if name not in kind.schema.names]
    if unknown:
        raise UsageError(f"{_words(kind)} have no column {unknown[0]!r}", f"columns: {', '.join(kind.schema.names)}")


def _words(kind: ArtifactSchema) -> str:
    return kind.name.replace("_", " ")
