"""Error bars over problems: bootstrap, and the paired comparison of two runs.

The problems of a benchmark are the sample. The answers inside a problem are never resampled: near k = n that is wrong
(with c = 1 and n = k = 1,024 it puts pass@k at 0.63 where it is 1). What varies with the answers varies the problem's
value, so these intervals contain the sampling error too.

Shape suffixes: M problems of a benchmark, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RESAMPLES = 10_000
# Up to this many problems that differ, all 2^m sign flips are taken.
EXACT_FLIPS = 16
# Numbers held at once while resampling: 2^21 of 8 bytes.
_CHUNK = 1 << 21


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Args:
        low: Lower end; NaN where none can be given.
        high: Upper end; NaN where none can be given.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """What `paired_difference` found.

    Args:
        mean: Mean over problems of after - before.
        interval: Its bootstrap interval.
        p_value: Of the sign-flip permutation test, two-sided.
        improved: Problems with a higher value.
        worsened: Problems with a lower value.
        tied: Problems with an equal value.
    """

    mean: float
    interval: Interval
    p_value: float
    improved: int
    worsened: int
    tied: int


def bootstrap_interval(
    values_M: ArrayLike, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean over problems.

    Problems are drawn with replacement, M of M, and the interval is spanned by the quantiles of the resampled means.
    Somewhat narrow for few problems (94% coverage instead of 95% at M = 30). The same seed draws the same problems for
    every metric of a benchmark.

    Args:
        values_M: One value per problem, finite.
        confidence: Coverage aimed at, in (0, 1).
        resamples: Number of resamples.
        seed: Of the resampling.

    Returns:
        The interval; NaN to NaN for a single problem.

    Raises:
        ValueError: If there is no problem, a value is not finite, or confidence or resamples make no sense.
    """
    return bootstrap_macro_interval([values_M], confidence=confidence, resamples=resamples, seed=seed)


def bootstrap_macro_interval(
    values_by_benchmark: Sequence[ArrayLike], *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Bootstrap interval of the macro mean: the mean over benchmarks of their means over problems.

    Stratified: each benchmark's problems are resampled among themselves, so that benchmarks weigh the same however many
    problems they have.

    Args:
        values_by_benchmark: For each benchmark one value per problem, finite.
        confidence: Coverage aimed at, in (0, 1).
        resamples: Number of resamples.
        seed: Of the resampling.

    Returns:
        The interval; NaN to NaN if a benchmark has a single problem.

    Raises:
        ValueError: As `bootstrap_interval`, or if there is no benchmark.
    """
    _check(confidence, resamples)
    if not values_by_benchmark:
        raise ValueError("a macro mean needs at least one benchmark")
    strata = [_problems(values) for values in values_by_benchmark]
    if min(values.size for values in strata) == 1:
        return Interval(np.nan, np.nan)
    rng = np.random.default_rng(seed)
    means_R = sum((_resampled_means(values, resamples, rng) for values in strata), np.zeros(resamples)) / len(strata)
    low, high = np.quantile(means_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def paired_difference(
    before_M: ArrayLike,
    after_M: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Compare two runs on the same problems, problem by problem.

    The interval is the bootstrap's over problems, the p-value that of `sign_flip_p_value`. Pairing takes out the spread
    between easy and hard problems, which is most of the width of either run's own interval.

    Args:
        before_M: One value per problem, finite.
        after_M: The other run's, of the same problems in the same order.
        confidence: Coverage aimed at, in (0, 1).
        resamples: Number of resamples, and of sign flips where they are not enumerated.
        seed: Of both.

    Returns:
        Mean difference after - before with interval, p-value and counts.

    Raises:
        ValueError: If the problems differ in number, or as `bootstrap_interval`.
    """
    before, after = _problems(before_M), _problems(after_M)
    if before.shape != after.shape:
        raise ValueError(f"a paired comparison needs the same problems: {before.size} against {after.size}")
    difference = after - before
    return PairedDifference(
        mean=float(difference.mean()),
        interval=bootstrap_interval(difference, confidence=confidence, resamples=resamples, seed=seed),
        p_value=sign_flip_p_value(difference, flips=resamples, seed=seed),
        improved=int((difference > 0).sum()),
        worsened=int((difference < 0).sum()),
        tied=int((difference == 0).sum()),
    )


def sign_flip_p_value(differences_M: ArrayLike, *, flips: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value of a mean difference: how often random signs would give one as large.

    Under the null hypothesis each problem's difference is as likely with either sign. Problems without a difference do
    not matter. Up to 16 others all 2^m sign patterns are counted; beyond that a sample of them, the pattern seen
    included: (1 + hits) / (1 + flips), which is never 0.

    Args:
        differences_M: One difference a problem, finite.
        flips: Number of random sign patterns.
        seed: Of the patterns.

    Returns:
        The p-value; 1 where no problem differs.

    Raises:
        ValueError: If there is no problem, a difference is not finite, or flips < 1.
    """
    _check(0.5, flips)
    differences = _problems(differences_M)
    differences = differences[differences != 0]
    size = differences.size
    # Sums that are equal in exact arithmetic must count as ties whatever order they were added in.
    seen = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    if size <= EXACT_FLIPS:
        patterns = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
        return float((np.abs((1 - 2 * patterns) @ differences) >= seen).mean())
    rng = np.random.default_rng(seed)
    hits = 0
    for rows in _chunks(flips, size):
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(rows, size), dtype=np.int8)
        hits += int((np.abs(signs @ differences) >= seen).sum())
    return (1 + hits) / (1 + flips)


def solved_changes(before_M: ArrayLike, after_M: ArrayLike) -> tuple[IntArray, IntArray]:
    """Problems that only one of two runs solves: what the runs' coverage differs in.

    A problem counts as solved where its value is above 0: its number of right answers, or its pass@k, which is above 0
    exactly when one answer is right. With more samples more is solved, so give both runs the same number.

    Args:
        before_M: One value per problem, finite.
        after_M: The other run's, of the same problems in the same order.

    Returns:
        Positions newly solved (after, not before) and newly lost (before, not after).

    Raises:
        ValueError: If the problems differ in number, there is none, or a value is not finite.
    """
    before, after = _problems(before_M) > 0, _problems(after_M) > 0
    if before.shape != after.shape:
        raise ValueError(f"a paired comparison needs the same problems: {before.size} against {after.size}")
    return np.flatnonzero(after & ~before), np.flatnonzero(before & ~after)


def _check(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if resamples < 1:
        raise ValueError(f"at least one resample is needed, not {resamples}")


def _problems(values_M: ArrayLike) -> FloatArray:
    values = np.asarray(values_M, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"values must be a list of one number per problem, at least one, not of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite: found NaN or inf")
    return values


def _chunks(total: int, width: int) -> Iterator[int]:
    """Row counts of blocks that together have `total` rows of `width` numbers each."""
    rows = max(_CHUNK // width, 1)
    for start in range(0, total, rows):
        yield min(rows, total - start)


def _resampled_means(values_M: FloatArray, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Means of M problems drawn with replacement, shape (R,)."""
    size = values_M.size
    blocks = []
    for rows in _chunks(resamples, size):
        blocks.append(values_M[rng.integers(0, size, size=(rows, size))].mean(axis=-1))
    return np.concatenate(blocks)
