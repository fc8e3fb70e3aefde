"""What a study keeps of a run: the counts of its evaluations, its metrics and its settings, in one small row.

A run directory holds every completion; a result holds what tables and figures are made from, in some kilobytes. Both
are read into `Result`, so that whatever is computed from many runs does not care which of them it has.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rsgrpo_cli.artifacts import Lineage, read_table, write_table
from rsgrpo_cli.config import Overrides, RunConfig, parse
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.report.evaluations import load
from rsgrpo_cli.run_commands import benchmark_flags, for_each, sampling_flags, to_measure, trust_of
from rsgrpo_cli.run_dir import RUNS, WHOLE, RunDir
from rsgrpo_cli.schemas import CELL_METRICS, CELLS, METRICS
from rsgrpo_cli.staleness import evaluations, place_flags, why_stale
from rsgrpo_cli.tasks.sources import flags_of_benchmark

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Counts:
    """One policy on one benchmark, problem by problem; arrays of shape (M,), M problems in the order of their ids.

    Args:
        policy: Its version; 0 is the base model.
        benchmark: The benchmark's name.
        benchmark_id: Hash of its problems; only equal ones can be compared.
        prompt_ids: The problems.
        n_M: Samples.
        correct_M: Right ones among them.
        distinct_M: Different answers among them.
        interpolation: Where on the line from the base model's weights (0) to the policy's (1) these weights are.
    """

    policy: int
    benchmark: str
    benchmark_id: str
    prompt_ids: tuple[str, ...]
    n_M: IntArray
    correct_M: IntArray
    distinct_M: IntArray
    interpolation: float = WHOLE


@dataclass(frozen=True, slots=True)
class Result:
    """What is kept of a run.

    Args:
        name: The run's, or the cell's.
        sweep: The sweep it belongs to; empty for a single run.
        config: Its settings.
        varied: The settings that its sweep varies.
        metrics: One row per step: `step` and `schemas.CELL_METRICS`.
        evaluations: By rising policy.
        steps: The updates that were done; 0 where only the base model was evaluated.
        canary: What a fixed small run came to with the code that made this; empty where nobody looked.
        place: The run directory, where it was read from one.
        file: The file that it was kept in, where it was read from one.
        policy: The policy that was asked for, from `finding.find`; None is its newest.
        at: Where on the line from the base model to that policy the weights are that it is about.
    """

    name: str
    sweep: str
    config: RunConfig
    varied: Overrides
    metrics: list[dict[str, Any]]
    evaluations: list[Counts]
    steps: int
    canary: tuple[float, ...] = ()
    place: str = ""
    policy: int | None = None
    at: float = WHOLE
    file: str = ""

    @property
    def is_base(self) -> bool:
        """Whether it is a base model's: nothing was trained."""
        return self.steps == 0

    def is_its_own(self, one: Counts) -> bool:
        """Whether one of its evaluations is of what it is about: of a trained policy, unless it is a base model's."""
        return self.is_base or one.policy > 0

    def counts(self, benchmark: str, policy: int | None = None) -> Counts:
        """An evaluation: of the newest policy unless told, which for what was trained is not the base model.

        Raises:
            MissingError: If there is none.
        """
        found = [one for one in self.counts_of(policy) if one.benchmark == benchmark]
        fitting = [one for one in found if policy is not None or self.is_its_own(one)]
        if not fitting:
            hint = to_measure(self.eval_command(policy, benchmark))
            raise MissingError(f"{self.name} was not evaluated on {benchmark}", hint)
        return max(fitting, key=lambda one: one.policy)

    def counts_of(self, policy: int | None = None) -> list[Counts]:
        """The evaluations of a policy on all benchmarks; of all policies unless told.

        Raises:
            MissingError: If there is none.
        """
        whole = [one for one in self.evaluations if one.interpolation == WHOLE]
        fitting = [one for one in whole if policy in (None, one.policy)]
        if not fitting:
            have = ", ".join(str(version) for version in sorted({one.policy for one in whole})) or "none"
            what = "a policy" if policy is None else f"policy {policy}"
            told = f"{self.name} has no evaluation of {what}; evaluated: {have}"
            raise MissingError(told, to_measure(self.eval_command(policy)))
        return fitting

    @property
    def run(self) -> str:
        """What --run takes to mean it: its directory, or where its sweep had it."""
        return self.place or (str(RUNS / self.sweep / self.name) if self.sweep else self.name)

    def command(self, name: str, *flags: str) -> str:
        """A command on its run, where that still is, as of `run_commands.command`."""
        return shlex.join(["rsgrpo", name, "--run", self.run, *flags, *trust_of(self.config, name)])

    def eval_command(self, policy: int | None = None, benchmark: str | None = None, *flags: str) -> str:
        """The command that evaluates it: a policy, its newest unless told."""
        return for_each("eval", [(self.run, self.eval_flags(policy, benchmark, *flags))])

    def eval_flags(
        self, policy: int | None = None, benchmark: str | None = None, *flags: str, on: Sequence[str] | None = None
    ) -> list[str]:
        """The flags of `eval_command`; `on` are those that name the benchmark, where another result knows them."""
        policy = self.policy if policy is None else policy
        at = self.at if policy == self.policy else WHOLE
        which = [] if policy is None else ["--policy", str(policy), *place_flags(at)]
        named = self.benchmark_flags(benchmark) if on is None else on
        return [*which, *named, *flags, *trust_of(self.config, "eval")]

    def benchmark_flags(self, benchmark: str | None, of: RunConfig | None = None) -> list[str]:
        """The flags that name a benchmark as it was given and say how it was sampled; without the run, by its settings.

        Args:
            benchmark: The name of an evaluation.
            of: The settings of the run that the flags are for, if it is another one.
        """
        own = next((one for one in self.evaluations if one.benchmark == benchmark), None)
        run = RunDir(Path(self.place))
        if benchmark is None or not self.place or not RunDir.is_there(run.path):
            return flags_of_benchmark(self.config, benchmark)
        if own is not None:
            at = self.at if own.policy == self.steps else own.interpolation
            how = sampling_flags(run, own.policy, own.benchmark, of or self.config, at, many=False)
            return [*benchmark_flags(run, own.policy, own.benchmark, at), *how]
        if run.benchmark(benchmark).is_file():  # another policy was evaluated on it
            return benchmark_flags(run, self.steps, benchmark, self.at)
        return flags_of_benchmark(self.config, benchmark)


def of_run(
    run: RunDir, *, sweep: str = "", varied: Overrides | None = None, since: int = 0, canary: Sequence[float] = ()
) -> Result:
    """What is kept of a run directory. Evaluations that are stale are left out.

    Args:
        run: The run.
        sweep: The sweep it belongs to.
        varied: The settings that its sweep varies.
        since: The first policy whose evaluations are its own, and not another result's.
        canary: What a fixed small run came to with the code that made it.

    Raises:
        MissingError, ArtifactError: If what it needs is not there, or damaged.
    """
    metrics: list[dict[str, Any]] = []
    if run.metrics.is_file():
        # Rounded as in the file of a result, so that a figure is the same from either.
        kept = read_table(run.metrics, METRICS, ["step", *CELL_METRICS])
        metrics = kept.cast(pa.schema([("step", pa.int32()), *((n, pa.float32()) for n in CELL_METRICS)])).to_pylist()
    found = [
        _counts(run, version, name)
        for version, name in evaluations(run)
        if version >= since and why_stale(run, version, name) is None
    ]
    done = run.newest_version()
    found += [
        _counts_at(run, *place) for place in run.interpolated() if why_stale(run, place[0], place[2], place[1]) is None
    ]
    return Result(run.name, sweep, run.config(), varied or {}, metrics, found, done, tuple(canary), str(run.path))


def _counts(run: RunDir, version: int, name: str) -> Counts:
    return _counts_at(run, version, WHOLE, name)


def _counts_at(run: RunDir, version: int, at: float, name: str) -> Counts:
    one = load(run, version, name, at)
    n_M, correct_M, distinct_M = (one.problems[name].to_numpy() for name in ("n", "correct", "distinct_answers"))
    ids = tuple(one.problems["prompt_id"].to_pylist())
    return Counts(version, name, one.benchmark_id, ids, n_M, correct_M, distinct_M, at)


def write(path: Path, result: Result) -> None:
    """Write a result, whole or not at all."""
    table = pa.Table.from_pylist([_as_row(result)], schema=CELLS.schema)
    write_table(path, table, CELLS, Lineage("sweep", {"settings": result.config.model_dump(mode="json")}, {}))


def read(path: Path) -> list[Result]:
    """The results in a file.

    Raises:
        MissingError, ArtifactError: If it is not one.
    """
    return [replace(_as_result(row), file=str(path)) for row in read_table(path, CELLS).to_pylist()]


def _as_row(result: Result) -> dict[str, Any]:
    return {
        "cell": result.name,
        "sweep": result.sweep,
        "seed": result.config.seed,
        "steps": result.steps,
        "settings": json.dumps(result.config.model_dump(mode="json"), sort_keys=True),
        "varied": json.dumps(result.varied, sort_keys=True),
        "metrics": result.metrics,
        "evaluations": [_counts_as_row(one) for one in result.evaluations],
        "canary": list(result.canary),
    }


def _counts_as_row(one: Counts) -> dict[str, Any]:
    lists = {"n": one.n_M, "correct": one.correct_M, "distinct_answers": one.distinct_M}
    return {
        "policy": one.policy,
        "benchmark": one.benchmark,
        "benchmark_id": one.benchmark_id,
        "interpolation": one.interpolation,
        "prompt_id": list(one.prompt_ids),
        **{name: values.tolist() for name, values in lists.items()},
    }


def _as_result(row: dict[str, Any]) -> Result:
    found = [
        Counts(
            one["policy"],
            one["benchmark"],
            one["benchmark_id"],
            tuple(one["prompt_id"]),
            np.array(one["n"]),
            np.array(one["correct"]),
            np.array(one["distinct_answers"]),
            one["interpolation"],
        )
        for one in row["evaluations"]
    ]
    config = parse(json.loads(row["settings"]))
    canary = tuple(row["canary"])
    varied = json.loads(row["varied"])
    return Result(row["cell"], row["sweep"], config, varied, row["metrics"], found, row["steps"], canary)
