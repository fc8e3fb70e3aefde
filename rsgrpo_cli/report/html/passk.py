"""pass@k of each arm, the paired differences between arms, and the verdict in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.core.crossed_bootstrap import crossed_difference_interval, crossed_interval
from rsgrpo_cli.core.intervals import Interval, paired_difference
from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.report.comparison import grade_again, require_same_problems, reward_for_all, unlike
from rsgrpo_cli.report.evaluations import Evaluation
from rsgrpo_cli.report.html.places import Arm
from rsgrpo_cli.wording import plural

FloatArray = NDArray[np.float64]
MOST_PAIRED = 5
"""With more arms than this, each is compared with the baseline alone, and the page offers no other."""
REWARD = 0
"""Stands for the mean reward where the others are values of k."""


class Measured:
    """Arms that were evaluated on the same problems.

    Args:
        arms: Arms with an evaluation each, at least one.
    """

    def __init__(self, arms: Sequence[Arm]) -> None:
        self.arms = list(arms)
        every = [one for arm in arms for one in arm.evaluations]
        require_same_problems(every)
        graded = [one for one in every if one.is_graded]
        if graded and len(graded) < len(every):
            judged = [one.verifier for one in every if not one.is_graded]
            again = grade_again(graded, reward_for_all(judged, [one.verifier for one in graded]))
            raise UsageError(
                "some of these were graded, others judged right or wrong",
                f"grade all with the same reward, for example: {again}",
            )
        self.graded = bool(graded)
        self.first = every[0]
        self.samples = min(one.num_samples for one in every)
        self.seeds = min(len(arm.evaluations) for arm in arms)
        self.ids: list[str] = self.first.problems["prompt_id"].to_pylist()
        self._values: dict[tuple[int, int], list[FloatArray]] = {}

    @property
    def ks(self) -> list[int]:
        """The values of k that every arm can be compared at."""
        if self.graded:
            return [REWARD]
        shared = set.intersection(*({row["k"] for row in one.curve()} for arm in self.arms for one in arm.evaluations))
        return sorted(k for k in shared if k <= self.samples)

    def values(self, arm: int, k: int) -> list[FloatArray]:
        """For each seed of an arm, the value of each problem: its pass@k, or its mean reward."""
        if (arm, k) not in self._values:
            self._values[arm, k] = [self._of(one, k) for one in self.arms[arm].evaluations]
        return self._values[arm, k]

    def _of(self, one: Evaluation, k: int) -> FloatArray:
        if k == REWARD:
            means = one.mean_rewards(self.samples) or [None] * len(self.ids)
            return np.array([np.nan if mean is None else mean for mean in means])  # NaN: it got no reward
        return pass_at_k(*one.counts(self.samples), k)

    def right(self, arm: int) -> list[int]:
        """Right answers of each problem, over as many samples and seeds as every arm has."""
        counts = [one.counts(self.samples)[1] for one in self.arms[arm].evaluations[: self.seeds]]
        total: list[int] = np.sum(counts, axis=0).tolist()
        return total

    def curve(self, arm: int) -> list[list[float | None]]:
        """Rows of k, value, and the ends of the interval over problems; a single seed's are those of its summary."""
        own = self.arms[arm].evaluations
        if len(own) == 1:
            rows = own[0].curve() or [row for row in own[0].summary.to_pylist() if row["metric"] == "reward"]
            return [[row["k"] or REWARD, row["value"], row["ci_low"], row["ci_high"]] for row in rows]
        found = []
        for k in self.ks:
            values_SM = np.stack(self.values(arm, k))
            values_SM = values_SM[:, np.isfinite(values_SM).all(axis=0)]
            interval = crossed_interval([values_SM])
            found.append([k, float(values_SM.mean()), _finite(interval.low), _finite(interval.high)])
        return found

    def pairs(self, baseline: int) -> dict[str, Any]:
        """Every comparison that the page offers, by "BASELINE,ARM"."""
        found: dict[str, Any] = {}
        for before, after in combinations(range(len(self.arms)), 2):
            if len(self.arms) > MOST_PAIRED and baseline not in (before, after):
                continue
            rows = [self._row(before, after, k) for k in self.ks]
            found[f"{before},{after}"] = self._pair(before, after, rows)
            found[f"{after},{before}"] = self._pair(after, before, [_turned(row) for row in rows])
        return found

    def _pair(self, before: int, after: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
        labels = [self.arms[arm].label for arm in (before, after)]
        # The base model is one, whatever the seeds of those that were trained.
        trained = [len(self.arms[arm].evaluations) for arm in (before, after) if not self.arms[arm].is_base]
        seeds = min(trained, default=1)
        first = [(label, self.arms[arm].evaluations[0]) for label, arm in zip(labels, (before, after), strict=True)]
        return {
            "rows": rows,
            "sentence": sentence(labels, rows, len(self.ids), self.samples, seeds, self.graded),
            "unlike": unlike(first),
        }

    def _row(self, before: int, after: int, k: int) -> dict[str, Any]:
        both = [np.stack(self.values(arm, k)) for arm in (before, after)]
        known = np.isfinite(both[0]).all(axis=0) & np.isfinite(both[1]).all(axis=0)
        if not known.any():
            raise UsageError("no problem has a reward in both evaluations", "use a reward that grades them")
        base_SM, own_SM = (values_SM[:, known] for values_SM in both)
        paired = paired_difference(base_SM.mean(axis=0), own_SM.mean(axis=0))
        several = max(len(base_SM), len(own_SM)) > 1
        interval = self._over_seeds(before, after, base_SM, own_SM) if several else paired.interval
        each = zip(base_SM, own_SM, strict=True) if self._same_seeds(before, after) else ()
        return {
            "k": k,
            "before": float(base_SM.mean()),
            "after": float(own_SM.mean()),
            "difference": _clean(paired.mean),
            "low": _clean(interval.low),
            "high": _clean(interval.high),
            "p": None if several else paired.p_value,
            "better": paired.improved,
            "worse": paired.worsened,
            "tied": paired.tied,
            "seeds": [float((other - one).mean()) for one, other in each] if several else [],
        }

    def _over_seeds(self, before: int, after: int, base_SM: FloatArray, own_SM: FloatArray) -> Interval:
        """The interval of a difference of several seeds, which are resampled as the problems are."""
        return crossed_difference_interval([own_SM], [base_SM], paired_seeds=self._same_seeds(before, after))

    def _same_seeds(self, before: int, after: int) -> bool:
        return self.arms[before].seeds == self.arms[after].seeds


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    """The same comparison seen from the other side."""
    low, high = row["low"], row["high"]
    return row | {
        "before": row["after"],
        "after": row["before"],
        "difference": -row["difference"],
        "low": None if high is None else -high,
        "high": None if low is None else -low,
        "better": row["worse"],
        "worse": row["better"],
        "seeds": [-value for value in row["seeds"]],
    }


def sentence(
    labels: Sequence[str], rows: Sequence[dict[str, Any]], problems: int, samples: int, seeds: int, graded: bool
) -> str:
    """The verdict on one arm against another: the first and the last k, how sure it is, and of how much data.

    Args:
        labels: Of the baseline, and of the arm.
        rows: The paired differences, by rising k.
        problems: How many problems.
        samples: Completions of each.
        seeds: Training runs that are averaged.
        graded: Whether rewards are grades.
    """
    of = f"{_count(problems, 'problem')}, {_count(samples, 'sample')} each, {_count(seeds, 'seed')}"
    if all(map(_is_equal, rows)):
        return f"{labels[1]} and {labels[0]} are equal on every problem ({of})."
    shown = rows[:1] if len(rows) < 2 else [rows[-1], rows[0]]
    verbs, places = zip(*(_told(row, graded) for row in shown), strict=True)
    told = [
        place if verb in verbs[:at] else f"{verb} {place}"
        for at, (verb, place) in enumerate(zip(verbs, places, strict=True))
    ]
    between, over = "" if graded else _between(rows), " and seeds" if seeds > 1 else ""
    basis = f"Paired 95% intervals over problems{over}; {of}."
    return f"Against {labels[0]}, {labels[1]} {' and '.join(told)}. {between}{basis}"


def _between(rows: Sequence[dict[str, Any]]) -> str:
    """At which k the difference is clear, where that is more than the first and the last say."""
    if len(rows) < 3:
        return ""
    better = [f"{row['k']:,}" for row in rows if row["low"] is not None and row["low"] > 0]
    worse = [f"{row['k']:,}" for row in rows if row["high"] is not None and row["high"] < 0]
    for word, ks in (("higher", better), ("lower", worse)):
        if len(ks) == len(rows):
            return f"pass@k is clearly {word} at every k. "
    told = [f"{word} at k = {', '.join(ks)}" for word, ks in (("higher", better), ("lower", worse)) if ks]
    return f"pass@k is clearly {' and '.join(told)}. " if told else "pass@k differs clearly at no k. "


def _told(row: dict[str, Any], graded: bool) -> tuple[str, str]:
    """What the policy does, and where, with the size of the difference."""
    if _is_equal(row):
        return "is equal on every problem", "in mean reward" if graded else _tries(row["k"])
    size, low, high = (_signed(row[name], graded) for name in ("difference", "low", "high"))
    between = "no interval: a single problem" if row["low"] is None else f"{low} to {high}"
    place = "in mean reward" if graded else _tries(row["k"])
    where = f"{place} ({size}{'' if graded else ' points'} [{between}])"
    if row["low"] is None or row["low"] <= 0 <= row["high"]:
        return "shows no clear difference", where
    more = row["difference"] > 0
    if graded:
        return f"is {'higher' if more else 'lower'}", where
    return f"solves {'more' if more else 'fewer'} problems", where


def _is_equal(row: dict[str, Any]) -> bool:
    """Whether both have the same value on each problem, with each seed."""
    return not (row["better"] or row["worse"] or row["low"] or row["high"])


def _tries(k: int) -> str:
    return "at the first try" if k == 1 else f"in {k:,} tries"


def _signed(value: float | None, graded: bool) -> str:
    """A difference with its sign: of shares in points with one digit, of grades as it is with three."""
    shown, digits = (value or 0.0) * (1 if graded else 100), 3 if graded else 1
    if shown == 0:
        return "0"
    text = f"{shown:+.{digits}f}"
    return (text if float(text) else f"{shown:+.2g}").replace("-", "−")


def _count(number: int, what: str) -> str:
    return f"{number:,} {plural(number, what)}"


def _clean(value: float) -> float | None:
    """A difference without what rounding has left of 0; None where there is none."""
    return _finite(0.0 if abs(value) < 1e-12 else value)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
