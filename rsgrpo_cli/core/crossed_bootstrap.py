"""Error bars over problems and seeds together: the pigeonhole bootstrap.

Every seed's policy answers the same problems, so problems and seeds are crossed, not nested. Both are resampled,
independently of each other: a resample's mean is that of the chosen rows and columns. This counts what other seeds and
what other problems would have given. It is somewhat too wide rather than too narrow where the noise of single cells
dominates, and too narrow by sqrt((S-1)/S) in the part of the seeds where these are few.

See "The pigeonhole bootstrap" by Owen (https://arxiv.org/abs/0712.1111).

Shape suffixes: S seeds, M problems of a benchmark, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsgrpo_cli.core.intervals import Interval

FloatArray = NDArray[np.float64]
RESAMPLES = 20_000
_CHUNK_ROWS = 2_000


def crossed_interval(
    values: Sequence[ArrayLike], *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile interval of the mean over benchmarks of the mean over seeds and problems.

    Args:
        values: For each benchmark an array (S, M), finite; the seeds are the same of all benchmarks.
        confidence: Coverage aimed at, in (0, 1).
        resamples: Number of resamples.
        seed: Of the resampling. Equal shapes are resampled alike.

    Returns:
        The interval; NaN to NaN for a single problem.

    Raises:
        ValueError: If there is no benchmark, the seeds differ in number, or a value is not finite.
    """
    return crossed_difference_interval(values, None, confidence=confidence, resamples=resamples, seed=seed)


def crossed_difference_interval(
    after: Sequence[ArrayLike],
    before: Sequence[ArrayLike] | None,
    *,
    paired_seeds: bool = True,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The same of the difference of two groups of runs on the same problems.

    The problems are paired: a resample has the same ones on both sides. So are the seeds, if both groups have the same.

    Args:
        after: For each benchmark an array (S, M), finite.
        before: The other group's, of the same problems; None for no difference.
        paired_seeds: Whether row s of both is of one seed; else each side's seeds are resampled for themselves.
        confidence: Coverage aimed at, in (0, 1).
        resamples: Number of resamples.
        seed: Of the resampling.

    Returns:
        The interval; NaN to NaN for a single problem.

    Raises:
        ValueError: As `crossed_interval`, or if the problems differ, or seeds that are paired differ in number.
    """
    first = [_matrix(values) for values in after]
    second = [_matrix(values) for values in before] if before is not None else []
    _check(first, second, paired_seeds, confidence)
    if min(values.shape[1] for values in first) == 1:
        return Interval(np.nan, np.nan)
    rng = np.random.default_rng(seed)
    blocks = []
    for start in range(0, resamples, _CHUNK_ROWS):
        rows = min(_CHUNK_ROWS, resamples - start)
        weights = draw_weights(rng, rows, len(first[0]))
        other = weights if paired_seeds or not second else draw_weights(rng, rows, len(second[0]))
        means = np.zeros(rows)
        for number, values in enumerate(first):
            problems = draw_weights(rng, rows, values.shape[1])
            means += ((weights @ values) * problems).sum(axis=1)
            if second:
                means -= ((other @ second[number]) * problems).sum(axis=1)
        blocks.append(means / len(first))
    low, high = np.quantile(np.concatenate(blocks), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def crossed_intervals(
    values_LSM: ArrayLike, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[Interval]:
    """`crossed_interval` of many means on one benchmark, resampled all alike: the points of curves.

    Args:
        values_LSM: One array (S, M) per mean, finite.
        confidence: Coverage aimed at, in (0, 1).
        resamples: Number of resamples.
        seed: Of the resampling.

    Returns:
        The interval that `crossed_interval` gives for each; NaN to NaN for a single problem.

    Raises:
        ValueError: As `crossed_interval`.
    """
    first = [_matrix(values) for values in np.asarray(values_LSM, dtype=np.float64)]
    _check(first, [], False, confidence)
    if first[0].shape[1] == 1:
        return [Interval(np.nan, np.nan)] * len(first)
    rng = np.random.default_rng(seed)
    blocks = []
    for start in range(0, resamples, _CHUNK_ROWS):
        rows = min(_CHUNK_ROWS, resamples - start)
        weights, problems = (draw_weights(rng, rows, size) for size in first[0].shape)
        blocks.append([((weights @ values) * problems).sum(axis=1) for values in first])
    lows, highs = np.quantile(np.concatenate(blocks, axis=1), [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    return [Interval(float(low), float(high)) for low, high in zip(lows, highs, strict=True)]


def draw_weights(rng: np.random.Generator, rows: int, size: int) -> FloatArray:
    """How often each of `size` things is drawn in as many draws, as shares, shape (rows, size)."""
    drawn = rng.integers(0, size, size=(rows, size)) + size * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size) / size  # faster than a multinomial


def _matrix(values: ArrayLike) -> FloatArray:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"values must have the shape (seeds, problems), at least one of each, not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("values must be finite: found NaN or inf")
    return matrix


def _check(first: Sequence[FloatArray], second: Sequence[FloatArray], paired: bool, confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if not first:
        raise ValueError("a mean needs at least one benchmark")
    for side in (first, second):
        if len({len(values) for values in side}) > 1:
            raise ValueError("all benchmarks need the same seeds")
    if second and [values.shape[1] for values in first] != [values.shape[1] for values in second]:
        raise ValueError("a paired comparison needs the same problems")
    if second and paired and len(first[0]) != len(second[0]):
        raise ValueError(f"paired seeds must be as many on both sides: {len(first[0])} and {len(second[0])}")
