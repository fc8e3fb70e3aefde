"""The table of a study: pass@k of groups of runs per benchmark and on average, and its difference to a baseline.

The intervals are those of `core.crossed_bootstrap`, over problems and seeds. A table has many differences, and one in
twenty 95% intervals misses by chance alone; so what is said to differ from 0 is decided by intervals that are widened
for their number (Bonferroni): each half by the ratio of the normal distribution's quantiles.

Shape suffixes: S seeds, M problems of a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from rsgrpo_cli.core.crossed_bootstrap import crossed_difference_interval, crossed_interval
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.studies.groups import FloatArray, Group
from rsgrpo_cli.wording import counted

Correction = Literal["bonferroni", "none"]
MEAN = "mean"
"""The column of the average over benchmarks."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Entry:
    """A number of the table.

    Args:
        label: The group.
        benchmark: The benchmark, or `MEAN`.
        metric: "pass", or "cover": the share of problems with a solve rate of at least `at`.
        at: k, or the solve rate.
        value: The mean over seeds and problems.
        low, high: Its 95% interval.
        difference: To the baseline; None for the baseline itself.
        difference_low, difference_high: Its 95% interval.
        differs: Whether the interval that is widened for the number of differences excludes 0.
    """

    label: str
    benchmark: str
    metric: str
    at: float
    value: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare_groups` found.

    Args:
        groups: The groups.
        baseline: The group that the differences are to.
        benchmarks: The benchmarks.
        columns: (metric, k or solve rate) of the columns.
        entries: By group, benchmark and column.
        changes: Group -> problems that it solves and the base model does not, and the reverse, per seed on average;
            empty without a base model.
        correction: How the intervals were widened that `differs` goes by.
    """

    groups: tuple[Group, ...]
    baseline: Group
    benchmarks: tuple[str, ...]
    columns: tuple[tuple[str, float], ...]
    entries: tuple[Entry, ...]
    changes: dict[str, tuple[float, float]]
    correction: Correction

    def entry(self, label: str, benchmark: str, column: tuple[str, float]) -> Entry:
        """A number of the table."""
        return next(
            one
            for one in self.entries
            if (one.label, one.benchmark, (one.metric, one.at)) == (label, benchmark, column)
        )

    def shown_benchmarks(self) -> tuple[str, ...]:
        """The benchmarks and, of several, their mean."""
        return (*self.benchmarks, MEAN) if len(self.benchmarks) > 1 else self.benchmarks

    def caption(self) -> str:
        """What the numbers are, in words."""
        group = self.groups[0]
        seeds = sorted({len(one.members) for one in self.groups})
        counts = [f"{name}: {counted(len(group.counts(name)[0].n_M), 'problem')}" for name in self.benchmarks]
        widened = f"marked * where the interval of the difference to {self.baseline.label}"
        widened += ", widened for the number of differences (Bonferroni)," if self.correction != "none" else ""
        told = "1 seed" if seeds == [1] else f"{' or '.join(map(str, seeds))} seeds"
        return (
            f"{'; '.join(counts)}. {told}. 95% intervals over problems and seeds "
            f"(pigeonhole bootstrap), {widened} excludes 0."
        )


def compare_groups(
    groups: Sequence[Group],
    benchmarks: Sequence[str],
    columns: Sequence[tuple[str, float]],
    baseline: Group,
    correction: Correction = "bonferroni",
) -> Comparison:
    """The table of some groups.

    Args:
        groups: The groups.
        benchmarks: On which all of them were evaluated.
        columns: ("pass", k) or ("cover", solve rate).
        baseline: One of the groups.
        correction: How intervals are widened for the number of differences.

    Raises:
        UsageError: If a k is above the number of samples.
    """
    places = [*((name,) for name in benchmarks), *([tuple(benchmarks)] if len(benchmarks) > 1 else [])]
    many = max((len(groups) - 1) * len(places) * len(columns), 1) if correction == "bonferroni" else 1
    values = {(g.label, b, c): _values(g, b, c) for g in groups for b in benchmarks for c in columns}
    entries = []
    for group in groups:
        for place in places:
            for column in columns:
                mine = [values[group.label, name, column] for name in place]
                base = [values[baseline.label, name, column] for name in place]
                against = None if group is baseline else base
                entries.append(_entry(group, baseline, place, column, mine, against, many))
    return Comparison(
        tuple(groups),
        baseline,
        tuple(benchmarks),
        tuple(columns),
        tuple(entries),
        _changes(groups, benchmarks),
        correction,
    )


def _values(group: Group, benchmark: str, column: tuple[str, float]) -> FloatArray:
    """One value per seed and problem, shape (S, M)."""
    metric, at = column
    if metric == "pass":
        return group.passed(benchmark, int(at))
    return np.stack([(one.correct_M / one.n_M >= at).astype(float) for one in group.counts(benchmark)])


def _entry(
    group: Group,
    baseline: Group,
    place: tuple[str, ...],
    column: tuple[str, float],
    mine: list[FloatArray],
    base: list[FloatArray] | None,
    many: int,
) -> Entry:
    own = crossed_interval(mine)
    value = float(np.mean([one.mean() for one in mine]))
    named = (group.label, place[0] if len(place) == 1 else MEAN, *column)
    if base is None:
        return Entry(*named, value, own.low, own.high)
    paired = group.seeds == baseline.seeds
    interval = crossed_difference_interval(mine, base, paired_seeds=paired)
    difference = value - float(np.mean([one.mean() for one in base]))
    wider = _quantile(1 - (1 - CONFIDENCE) / many) / _quantile(CONFIDENCE)
    low, high = (difference + wider * (end - difference) for end in (interval.low, interval.high))
    return Entry(*named, value, own.low, own.high, difference, interval.low, interval.high, not low <= 0 <= high)


def _quantile(confidence: float) -> float:
    """How many standard deviations a normal interval reaches to either side."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _changes(groups: Sequence[Group], benchmarks: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Problems newly solved and lost against the base model, per seed on average, at equal numbers of samples."""
    base = next((group for group in groups if group.is_base), None)
    if base is None:
        return {}
    found = {}
    for group in groups:
        pairs = [pair for name in benchmarks for pair in _matched(group, base, name)]
        if group is base or not pairs:
            continue
        new = sum(int(((mine > 0) & (theirs == 0)).sum()) for mine, theirs in pairs)
        lost = sum(int(((mine == 0) & (theirs > 0)).sum()) for mine, theirs in pairs)
        found[group.label] = (new / len(group.members), lost / len(group.members))
    return found


def _matched(group: Group, base: Group, benchmark: str) -> list[tuple[Any, Any]]:
    """Right answers of a policy and of the base model; the base of the same seed, else the first, where n is equal."""
    theirs = {member.config.seed: member.counts(benchmark) for member in base.members}
    first = next(iter(theirs.values()))
    pairs = [(one, theirs.get(seed, first)) for seed, one in zip(group.seeds, group.counts(benchmark), strict=True)]
    return [(mine.correct_M, other.correct_M) for mine, other in pairs if np.array_equal(mine.n_M, other.n_M)]


def baseline_of(groups: Sequence[Group], label: str | None) -> Group:
    """The group that the differences are to: the one named; else GRPO, if one group is; else the first.

    Raises:
        UsageError: If no group is called so.
    """
    if label is None:
        grpo = [g for g in groups if not g.is_base and g.members[0].config.advantage.estimator == "grpo"]
        return grpo[0] if len(grpo) == 1 else groups[0]
    found = next((group for group in groups if group.label == label), None)
    if found is None:
        raise UsageError(f"no group is called {label}", f"groups: {', '.join(group.label for group in groups)}")
    return found
