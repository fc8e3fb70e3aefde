"""What a run has to tell a tracker, under the names that the tracker shows: read from the run's tables.

train/NAME                 a column of metrics.parquet, at its step
train/status/STATUS        completions of that step with that reward_status
eval/BENCHMARK/pass@8      with .../pass@8/ci_low and .../pass@8/ci_high, at the policy's version
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pyarrow.compute as pc

from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.config.sources import flat
from rsgrpo_cli.run import staleness
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import METRICS, SUMMARY

Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One policy on one benchmark.

    Args:
        policy: Its version; 0 is the base model.
        benchmark: The benchmark's name.
        id: Another one once there are more samples or values of k.
        rows: Of `schemas.SUMMARY`.
    """

    policy: int
    benchmark: str
    id: str
    rows: list[dict[str, Any]]

    @property
    def values(self) -> Values:
        """Its numbers, with the intervals beside them."""
        found: Values = {}
        for row in self.rows:
            name = f"eval/{self.benchmark}/{row['metric']}" + (f"@{row['k']}" if row["k"] else "")
            found |= _numbers({name: row["value"], **{f"{name}/{end}": row[end] for end in ("ci_low", "ci_high")}})
        return found


def new_steps(run: RunDir, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Steps behind `after` with their rows of `schemas.METRICS`, in order."""
    if not run.metrics.is_file():
        return
    table = read_table(run.metrics, METRICS)
    for row in table.filter(pc.greater(table["step"], after)).sort_by("step").to_pylist():
        yield row["step"], row


def new_evaluations(run: RunDir, known: Mapping[str, str]) -> Iterator[tuple[str, Evaluation]]:
    """Finished evaluations of policies, in the policies' order, with a key each.

    Args:
        run: The run.
        known: Key -> id of those to leave out.
    """
    for policy, benchmark in staleness.evaluations(run):
        path, key = run.evaluation(policy, benchmark) / "summary.parquet", f"{policy}/{benchmark}"
        made = read_lineage(path, SUMMARY).id
        if known.get(key) != made:
            yield key, Evaluation(policy, benchmark, made, read_table(path, SUMMARY).to_pylist())


def step_values(row: Mapping[str, Any]) -> Values:
    """The numbers in a row of metrics."""
    counts = {f"train/status/{status}": count for status, count in row["status_counts"] or ()}
    return _numbers({f"train/{name}": value for name, value in row.items() if name != "step"} | counts)


def settings(run: RunDir) -> dict[str, Any]:
    """The run's settings by their dotted names; lists and tables as text, which every tracker can show."""
    found = flat(run.config().model_dump(mode="json"))
    return {name: value if isinstance(value, str | int | float) else str(value) for name, value in found.items()}


def _numbers(values: Mapping[str, Any]) -> Values:
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
