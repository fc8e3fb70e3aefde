"""The table of a study: pass@k of groups of runs per benchmark and on average, and its difference to a baseline.

The intervals are those of `core.crossed_bootstrap`, over problems and seeds. A table has many differences, and one in
twenty 95% intervals misses by chance alone; so what is said to differ from 0 is decided by intervals that are widened
for their number (Bonferroni): each half by the ratio of the normal distribution's quantiles.

Shape suffixes: S seeds, M problems of a benchmark.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.config import RunConfig, changed_fields, decides_training
from rsgrpo_cli.core.crossed_bootstrap import crossed_difference_interval, crossed_interval
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.studies.changes import changes
from rsgrpo_cli.studies.comparable import ending, is_graded, require_comparable, unlike
from rsgrpo_cli.studies.groups import (
    FloatArray,
    Group,
    intervals_over,
    labelled,
    of_one_problem,
    require_samples,
    told_seeds,
    told_together,
)
from rsgrpo_cli.wording import counted

Correction = Literal["bonferroni", "none"]
Column = tuple[str, float | None]
REWARD: Column = ("reward", None)
"""The column of the mean reward, of grades."""
MEAN = "mean"
"""The column of the average over benchmarks."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Entry:
    """A number of the table.

    Args:
        label: The group.
        benchmark: The benchmark, or `MEAN`.
        metric: "pass", or "cover": the share of problems with a solve rate of at least `at`; of grades "reward".
        at: k, or the solve rate; None of a reward.
        value: The mean over seeds and problems.
        low, high: Its 95% interval.
        difference: To the baseline, over the seeds that both have if there are any; None for the baseline itself.
        difference_low, difference_high: Its 95% interval.
        differs: Whether the interval that is widened for the number of differences excludes 0.
        paired_seeds: How many seeds both have, over which the difference is paired; None for the baseline itself.
    """

    label: str
    benchmark: str
    metric: str
    at: float | None
    value: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    differs: bool = False
    paired_seeds: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare_groups` found.

    Args:
        groups: The groups.
        baseline: The group that the differences are to.
        benchmarks: The benchmarks.
        columns: (metric, k or solve rate) of the columns.
        entries: By group, benchmark and column.
        changes: Group -> problems that it solves and the base model does not, and the reverse, per seed on average
            and by as many samples of each; empty without a base model.
        changed_by: Group -> which samples those are, where it and its base model have other numbers.
        changed_over: Group -> which seeds those are over, where some have no base model of their own.
        correction: How the intervals were widened that `differs` goes by.
    """

    groups: tuple[Group, ...]
    baseline: Group
    benchmarks: tuple[str, ...]
    columns: tuple[Column, ...]
    entries: tuple[Entry, ...]
    changes: dict[str, tuple[float, float]]
    changed_by: dict[str, str]
    changed_over: dict[str, str]
    correction: Correction

    def entry(self, label: str, benchmark: str, column: Column) -> Entry:
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
        counts = [f"{name}: {counted(int(_known(self.groups, name).sum()), 'problem')}" for name in self.benchmarks]
        over = told_together({label: which for label, which in self.changed_over.items() if label in self.changes})
        parts = ["; ".join(counts), self.samples(), told_seeds(self.groups)]
        parts += [f"Newly solved and lost: {over}"] if over else []
        parts += [f"Differences to {self.baseline.label}: {told}"] if (told := self.pairing()) else []
        intervals = intervals_over(self.groups, self.benchmarks)
        intervals = intervals[:1].upper() + intervals[1:]
        if len(self.groups) > 1 and not of_one_problem(self.groups, self.benchmarks):
            intervals += f", marked * where the interval of the difference to {self.baseline.label}"
            intervals += ", widened for the number of differences (Bonferroni)," if self.correction != "none" else ""
            intervals += " excludes 0, for better or worse"
        return ". ".join(part for part in [*parts, intervals] if part) + "." + ending(self.groups, self.benchmarks)

    def pairing(self) -> str:
        """Over which seeds differences are, of groups that do not have all of the baseline's and no others."""
        told = {}
        for group in self.groups:
            shared = _shared_seeds(group, self.baseline)
            if not shared:
                told[group.label] = "not paired over seeds, as both have none in common"
            elif len(shared) == 1 < max(len(group.seeds), len(self.baseline.seeds)):
                told[group.label] = f"over seed {shared[0]} alone, which both have, and so over problems only"
            elif group.seeds != self.baseline.seeds:
                told[group.label] = f"over seeds {', '.join(map(str, shared))}, which both have"
        return told_together(told)

    def unlike(self) -> list[str]:
        """What differs between the evaluations beside the settings of the groups, as sentences."""
        return unlike(self.groups, self.benchmarks)

    def samples(self) -> str:
        """How many samples per problem the groups have, where that differs; pass@k and cover@tau use all of them."""
        numbers = {
            group.label: {int(n) for name in self.benchmarks for one in group.counts(name) for n in one.n_M}
            for group in self.groups
        }
        if len(set.union(*numbers.values())) == 1:
            return ""
        told = [f"{label} {' and '.join(map(str, sorted(numbers[label])))}" for label in numbers]
        words = f"Samples per problem differ, and all are used: {', '.join(told)}"
        by = [f"{label} by {which}" for label, which in self.changed_by.items() if label in self.changes]
        return f"{words}. Newly solved and lost, though: {', '.join(by)}" if by else words


def compare_groups(
    groups: Sequence[Group],
    benchmarks: Sequence[str],
    columns: Sequence[Column],
    baseline: Group,
    correction: Correction = "bonferroni",
) -> Comparison:
    """The table of some groups.

    Args:
        groups: The groups.
        benchmarks: On which all of them were evaluated.
        columns: ("pass", k) or ("cover", solve rate); of grades `REWARD` alone.
        baseline: One of the groups.
        correction: How intervals are widened for the number of differences.

    Raises:
        UsageError: If the groups do not belong together, as of `comparable`, or a k is above the number of samples.
    """
    require_comparable(groups, benchmarks, verdicts=any(column != REWARD for column in columns))
    require_samples(groups, benchmarks, int(max((at for metric, at in columns if metric == "pass" and at), default=0)))
    places = [*((name,) for name in benchmarks), *([tuple(benchmarks)] if len(benchmarks) > 1 else [])]
    many = max((len(groups) - 1) * len(places) * len(columns), 1) if correction == "bonferroni" else 1
    known = {name: _known(groups, name) for name in benchmarks}
    values = {(g.label, b, c): _values(g, b, c)[:, known[b]] for g in groups for b in benchmarks for c in columns}
    entries = []
    for group, place, column in product(groups, places, columns):
        mine, base = ([values[one.label, name, column] for name in place] for one in (group, baseline))
        against = None if group is baseline else base
        entries.append(_entry(group, baseline, place, column, mine, against, many))
    changed = {} if REWARD in columns else changes(groups, benchmarks)
    return Comparison(
        tuple(groups),
        baseline,
        tuple(benchmarks),
        tuple(columns),
        tuple(entries),
        {label: (one.new, one.lost) for label, one in changed.items()},
        {label: one.by for label, one in changed.items() if one.by},
        {label: one.seeds for label, one in changed.items() if one.seeds},
        correction,
    )


def _values(group: Group, benchmark: str, column: Column) -> FloatArray:
    """One value per seed and problem, shape (S, M)."""
    metric, at = column
    if at is None:
        return _rewards(group, benchmark)
    if metric == "pass":
        return group.passed(benchmark, int(at))
    return np.stack([(one.correct_M / one.n_M >= at).astype(float) for one in group.counts(benchmark)])


def _rewards(group: Group, benchmark: str) -> FloatArray:
    """The mean reward of each seed and problem, NaN for one without, shape (S, M)."""
    return np.stack(
        [one.correct_M / one.n_M if one.reward_M is None else one.reward_M for one in group.counts(benchmark)]
    )


def _known(groups: Sequence[Group], benchmark: str) -> NDArray[np.bool_]:
    """Whether a problem has a number in all runs, shape (M,): one of which no completion was graded has none.

    Raises:
        UsageError: If no problem has.
    """
    known_M = ~np.isnan(np.concatenate([_rewards(group, benchmark) for group in groups])).any(axis=0)
    if not known_M.any():
        raise UsageError(f"no problem of {benchmark} has a reward in all runs", "use a reward that grades them")
    return np.asarray(known_M)


def _entry(
    group: Group,
    baseline: Group,
    place: tuple[str, ...],
    column: Column,
    mine: list[FloatArray],
    base: list[FloatArray] | None,
    many: int,
) -> Entry:
    own = crossed_interval(mine)
    value = float(np.mean([one.mean() for one in mine]))
    named = (group.label, place[0] if len(place) == 1 else MEAN, *column)
    if base is None:
        return Entry(*named, value, own.low, own.high)
    shared = _shared_seeds(group, baseline)
    mine, base = _of_seeds(mine, group, shared), _of_seeds(base, baseline, shared)
    interval = crossed_difference_interval(mine, base, paired_seeds=bool(shared))
    difference = float(np.mean([one.mean() for one in mine])) - float(np.mean([one.mean() for one in base]))
    wider = _quantile(1 - (1 - CONFIDENCE) / many) / _quantile(CONFIDENCE)
    low, high = (difference + wider * (end - difference) for end in (interval.low, interval.high))
    differs = low > 0 or high < 0  # a single problem has no interval
    return Entry(*named, value, own.low, own.high, difference, interval.low, interval.high, differs, len(shared))


def _shared_seeds(group: Group, other: Group) -> list[int]:
    """The seeds that both groups have."""
    return [seed for seed in group.seeds if seed in other.seeds]


def _of_seeds(values: list[FloatArray], group: Group, seeds: Sequence[int]) -> list[FloatArray]:
    """The rows of some of a group's seeds in arrays of shape (S, M); all rows, if there are none of these seeds."""
    if len(seeds) in (0, len(group.seeds)):
        return values
    rows = [group.seeds.index(seed) for seed in seeds]
    return [one[rows] for one in values]


def _quantile(confidence: float) -> float:
    """How many standard deviations a normal interval reaches to either side."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def usual_columns(groups: Sequence[Group], benchmarks: Sequence[str], ks: Sequence[int] | None) -> list[Column]:
    """The columns of a table: pass@k, or of grades the mean reward.

    Args:
        groups: The groups.
        benchmarks: The benchmarks.
        ks: Values of k; those that the last group was evaluated at unless given, as far as all have the samples.

    Raises:
        UsageError: If some are of grades and others of verdicts.
    """
    if is_graded(groups, benchmarks):
        return [REWARD]
    if ks is None:
        fewest = min(_fewest(groups, name) for name in benchmarks)
        ks = [k for k in _asked(groups) if k <= fewest] or [1, fewest]
    return [("pass", float(k)) for k in ks]


def left_out(groups: Sequence[Group], benchmarks: Sequence[str]) -> str:
    """What `usual_columns` leaves out though some benchmarks have the samples, as a sentence; "" if that is nothing."""
    samples = {name: _fewest(groups, name) for name in benchmarks}
    few = min(samples, key=lambda name: samples[name])
    missing = [k for k in _asked(groups) if samples[few] < k <= max(samples.values())]
    if not missing:
        return ""
    told = ", ".join(f"pass@{k}" for k in missing)
    having = [f"--benchmark {shlex.quote(name)}" for name in benchmarks if samples[name] >= missing[0]]
    return f"{told} left out: {few} has {counted(samples[few], 'sample')} per problem; with it: {' or '.join(having)}"


def _fewest(groups: Sequence[Group], benchmark: str) -> int:
    """The smallest number of samples per problem."""
    return min(int(one.n_M.min()) for group in groups for one in group.counts(benchmark))


def _asked(groups: Sequence[Group]) -> Sequence[int]:
    """The values of k that the last group was evaluated at."""
    return groups[-1].members[0].config.eval.k


def baseline_of(groups: Sequence[Group], label: str | None) -> Group:
    """The group that the differences are to: the one named; else plain GRPO; else the first.

    Of several groups with GRPO's estimator, plain is the one called grpo, or that with the fewest settings of its own:
    others have a penalty or a bonus beside it.

    Raises:
        UsageError: If no group is called so.
    """
    if label is not None:
        return labelled(groups, label)
    grpo = [g for g in groups if not g.is_base and g.members[0].config.advantage.estimator == "grpo"]
    called_so = [group for group in grpo if group.label.rpartition(" ")[2].partition("@")[0] == "grpo"]
    return min(called_so or grpo or groups[:1], key=lambda group: len(_own_settings(group)))


def _own_settings(group: Group) -> list[str]:
    """The settings of a group's training that are not the defaults."""
    return [name for name in changed_fields(RunConfig(), group.members[0].config) if decides_training(name)]
