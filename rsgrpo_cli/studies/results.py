"""What a study keeps of a run: the counts of its evaluations, its metrics and its settings, in one small row.

A run directory holds every completion; a result holds what tables and figures are made from, in some kilobytes. Both
are read into `Result`, so that whatever is computed from many runs does not care which of them it has.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rsgrpo_cli.artifacts import Lineage, read_table, write_table
from rsgrpo_cli.config import Overrides, RunConfig, parse
from rsgrpo_cli.errors import MissingError, StaleError
from rsgrpo_cli.report.comparison import sampling_of
from rsgrpo_cli.report.evaluations import load
from rsgrpo_cli.run.run_commands import benchmark_flags, for_each, regrading_flags, sampling_flags, to_measure, trust_of
from rsgrpo_cli.run.run_dir import RUNS, WHOLE, RunDir
from rsgrpo_cli.run.staleness import evaluations, place_flags, require_own
from rsgrpo_cli.schemas import CELL_METRICS, CELLS, METRICS
from rsgrpo_cli.tasks.sources import flags_of_benchmark

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Place = tuple[int, float, str]
"""Policy, place on the line to it, and benchmark of an evaluation."""


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
        sampling: How they were drawn, as of `comparison.SAMPLING`; empty where a kept file does not know.
        verifier: What graded them; empty where that is not known.
        graded: Whether its rewards are grades, of which there is a mean and no pass@k.
        reward_M: The mean reward, NaN for a problem without; None where a verifier judged.
    """

    policy: int
    benchmark: str
    benchmark_id: str
    prompt_ids: tuple[str, ...]
    n_M: IntArray
    correct_M: IntArray
    distinct_M: IntArray
    interpolation: float = WHOLE
    sampling: Mapping[str, Any] = field(default_factory=dict)
    verifier: str = ""
    graded: bool = False
    reward_M: FloatArray | None = None


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
        stale: Evaluations that are there and stale, and what refuses them; none is among `evaluations`.
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
    stale: Mapping[Place, StaleError] = field(default_factory=dict)

    @property
    def is_base(self) -> bool:
        """Whether it is a base model's: nothing was trained."""
        return self.steps == 0

    @property
    def is_on_its_way(self) -> bool:
        """Whether a run was stopped before its end, where it is evaluated."""
        train = self.config.train
        return bool(self.place) and 0 < self.steps < train.steps and train.eval_every > 0

    def is_its_own(self, one: Counts) -> bool:
        """Whether one of its evaluations is of what it is about: of a trained policy, unless it is a base model's."""
        return self.is_base or one.policy > 0

    def counts(self, benchmark: str, policy: int | None = None) -> Counts:
        """An evaluation: of the newest policy unless told, which for what was trained is not the base model.

        Raises:
            MissingError: If there is none.
            StaleError: If it is stale: an older policy's does not stand for it.
        """
        self.require_fresh(benchmark, policy)
        found = [one for one in self.counts_of(policy) if one.benchmark == benchmark]
        fitting = [one for one in found if policy is not None or self.is_its_own(one)]
        if not fitting:
            hint = to_measure(for_each("eval", [(self.run, self.as_measured(policy, benchmark))]))
            raise MissingError(f"{self.name} was not evaluated on {benchmark}", hint)
        return max(fitting, key=lambda one: one.policy)

    def require_fresh(self, benchmark: str, policy: int | None = None) -> None:
        """Refuse an evaluation that is stale; arguments as of `counts`.

        Raises:
            StaleError: Saying why, and how to measure again.
        """
        whole = [one for one in self.evaluations if one.benchmark == benchmark and one.interpolation == WHOLE]
        fresh = [one.policy for one in whole if policy in (None, one.policy)]
        newest = max((of for of, name in self.own_stale(policy) if name == benchmark), default=-1)
        if newest > max(fresh, default=-1):
            raise self.stale[newest, self._at(newest), benchmark]

    def own_stale(self, policy: int | None = None) -> list[tuple[int, str]]:
        """Policy and benchmark of stale evaluations: of a policy, or of all that `counts` takes for its own."""
        own = [(of, name) for of, at, name in self.stale if at == self._at(of)]
        return [one for one in own if one[0] == policy or (policy is None and (self.is_base or one[0] > 0))]

    def _at(self, version: int) -> float:
        """Where on the line to a policy its evaluation is."""
        return self.at if version == self.policy else WHOLE

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

    def as_measured(self, policy: int | None, benchmark: str) -> list[str]:
        """The flags that evaluate a policy as others of the run were, by as many samples."""
        return self.eval_flags(policy, on=self.benchmark_flags(benchmark, many=True))

    def regraded(self, one: Counts, reward: str) -> list[str]:
        """The flags that grade the samples of one of its evaluations by another reward, and draw no others."""
        drawn = self._drawn_flags(one, self.config, many=True) if self._is_there else []
        which = ["--policy", str(one.policy), *place_flags(self._place_of(one))]
        again = [*self.problems_flags(one.benchmark), *regrading_flags(drawn, reward)]
        return [*which, *again, *trust_of(self.config, "eval")]

    def benchmark_flags(self, benchmark: str | None, of: RunConfig | None = None, *, many: bool = False) -> list[str]:
        """The flags that name a benchmark as it was given and say how it was sampled; without the run, by its settings.

        Args:
            benchmark: The name of an evaluation.
            of: The settings of the run that the flags are for, if it is another one.
            many: Whether they say how often, too, and for which k.
        """
        return [*self.problems_flags(benchmark), *self.drawn_flags(benchmark, of or self.config, many=many)]

    def problems_flags(self, benchmark: str | None) -> list[str]:
        """Those of `benchmark_flags` that name the benchmark."""
        run, one = RunDir(Path(self.place)), self._one_on(benchmark)
        if benchmark and one:
            return benchmark_flags(run, one.policy, benchmark, self._place_of(one))
        if benchmark and self._is_there and run.benchmark(benchmark).is_file():  # another policy was evaluated on it
            return benchmark_flags(run, self.steps, benchmark, self.at)
        return flags_of_benchmark(self.config, benchmark)

    def drawn_flags(self, benchmark: str | None, of: RunConfig, *, many: bool) -> list[str]:
        """Those of `benchmark_flags` that say how it was sampled."""
        one = self._one_on(benchmark)
        return self._drawn_flags(one, of, many=many) if one else []

    def _drawn_flags(self, one: Counts, of: RunConfig, *, many: bool) -> list[str]:
        return sampling_flags(RunDir(Path(self.place)), one.policy, one.benchmark, of, self._place_of(one), many=many)

    @property
    def _is_there(self) -> bool:
        return bool(self.place) and RunDir.is_there(Path(self.place))

    def _one_on(self, benchmark: str | None) -> Counts | None:
        """An evaluation on a benchmark, where the run is there to say more of it."""
        found = (one for one in self.evaluations if one.benchmark == benchmark)
        return next(found, None) if self._is_there else None

    def _place_of(self, one: Counts) -> float:
        return self.at if one.policy == self.steps and one.interpolation == WHOLE else one.interpolation


def of_run(
    run: RunDir, *, sweep: str = "", varied: Overrides | None = None, since: int = 0, canary: Sequence[float] = ()
) -> Result:
    """What is kept of a run directory. Of evaluations that are stale it keeps only which they are.

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
    whole = [(version, WHOLE, name) for version, name in evaluations(run) if version >= since]
    there: list[Place] = [*whole, *run.interpolated()]
    stale = {place: error for place in there if (error := _refused(run, *place))}
    found = [_counts(run, *place) for place in there if place not in stale]
    done = run.newest_version()
    return Result(
        run.name, sweep, run.config(), varied or {}, metrics, found, done, tuple(canary), str(run.path), stale=stale
    )


def _refused(run: RunDir, version: int, at: float, name: str) -> StaleError | None:
    try:
        require_own(run, version, name, at)
    except StaleError as error:
        return error
    return None


def _counts(run: RunDir, version: int, at: float, name: str) -> Counts:
    one = load(run, version, name, at)
    n_M, correct_M, distinct_M = (one.problems[name].to_numpy() for name in ("n", "correct", "distinct_answers"))
    ids = tuple(one.problems["prompt_id"].to_pylist())
    reward_M = None
    if one.is_graded:
        reward_M = np.array(one.mean_rewards(one.num_samples), dtype=float)
    elif one.is_scored:
        reward_M = correct_M / n_M
    made = (sampling_of(one), one.verifier, one.is_graded, reward_M)
    return Counts(version, name, one.benchmark_id, ids, n_M, correct_M, distinct_M, at, *made)


def has_grades(metrics: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some step of a training was graded: it has a mean reward and no pass@1."""
    return any(row["pass@1"] is None and row["reward_mean"] is not None for row in metrics)


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
        "measured": [_measured_as_row(one) for one in result.evaluations],
    }


def _measured_as_row(one: Counts) -> dict[str, Any]:
    reward = None if one.reward_M is None else one.reward_M.tolist()
    sampling = json.dumps(one.sampling, sort_keys=True)
    return {"sampling": sampling, "verifier": one.verifier, "graded": one.graded, "reward": reward}


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
            **_measured(how),
        )
        for one, how in zip(row["evaluations"], row["measured"] or repeat(None), strict=False)
    ]
    config = parse(json.loads(row["settings"]))
    canary = tuple(row["canary"])
    varied = json.loads(row["varied"])
    return Result(row["cell"], row["sweep"], config, varied, row["metrics"], found, row["steps"], canary)


def _measured(row: Mapping[str, Any] | None) -> dict[str, Any]:
    """How an evaluation was made; nothing where an older version kept it."""
    if row is None:
        return {}
    reward_M = None if row["reward"] is None else np.array(row["reward"], dtype=float)
    told = {name: row[name] for name in ("verifier", "graded")}
    return told | {"sampling": json.loads(row["sampling"]), "reward_M": reward_M}
