"""Unbiased pass@k, with its sampling error.

Shape suffixes: M problems of a benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import exp, expm1, fsum

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def pass_at_k(n_M: ArrayLike, c_M: ArrayLike, k: int) -> FloatArray:
    """Unbiased estimate of the probability that at least one of k answers is right.

        pass@k = 1 - C(n-c, k) / C(n, k),   1 where n - c < k

    See "Evaluating Large Language Models Trained on Code" by Chen et al. (https://arxiv.org/abs/2107.03374). Evaluated
    as -expm1(sum of log1p(-max(c, k) / i), i = n - min(c, k) + 1 .. n), which is good to 1 ulp or two where the plain
    product loses digits and binomials overflow from n = 1,030.

    Args:
        n_M: Answers sampled for each problem.
        c_M: Right ones among them; n and c broadcast.
        k: Answers allowed, 1 <= k <= every n.

    Returns:
        One value per problem, of the broadcast shape.

    Raises:
        ValueError: If a count is not whole, not 0 <= c <= n, or k does not fit: pass@k cannot be extrapolated to k > n.
    """
    n, c = checked_counts(n_M, c_M, k)
    return _each(n, c, lambda answers, right: 0.0 - expm1(_log_all_wrong(answers, right, k)))  # 0 - 0 is not -0


def pass_at_k_variance(n_M: ArrayLike, c_M: ArrayLike, k: int) -> FloatArray:
    """Sampling variance of `pass_at_k`: how far it would move if the n answers were drawn again.

        V = q_k^2 - q_2k,   q_j = C(n-c, j) / C(n, j)

    Unbiased, never negative, and needs n >= 2k. No estimate from n < 2k answers is unbiased: the variance is a
    polynomial in p of degree 2k, and n answers determine one of degree n at most. Those problems get NaN, "no sampling
    error can be given"; for n = k, pass@k is 0 or 1, a single draw. The spread over problems (`core.intervals`)
    contains the sampling part and is there for every k.

    Args:
        n_M: Answers sampled for each problem.
        c_M: Right ones among them; n and c broadcast.
        k: Answers allowed, 1 <= k <= every n.

    Returns:
        One variance a problem, NaN where n < 2k.

    Raises:
        ValueError: As `pass_at_k`.
    """
    n, c = checked_counts(n_M, c_M, k)

    def variance(answers: int, right: int) -> float:
        if answers < 2 * k:
            return np.nan
        wrong_twice = 2 * _log_all_wrong(answers, right, k)
        if wrong_twice == -np.inf:
            return 0.0
        # q_k^2 (1 - q_2k / q_k^2), which does not cancel where p is small.
        return max(0.0, -exp(wrong_twice) * expm1(_log_all_wrong(answers, right, 2 * k) - wrong_twice))

    return _each(n, c, variance)


def pass_at_k_standard_error(n_M: ArrayLike, c_M: ArrayLike, k: int) -> float:
    """Sampling error of the mean pass@k over problems, sqrt(sum of variances) / M.

    It tells how exactly these problems were measured, not how other problems would turn out.

    Args:
        n_M: Answers sampled for each problem.
        c_M: Right ones among them; n and c broadcast.
        k: Answers allowed.

    Returns:
        The standard error; NaN where a problem has fewer than 2k answers.

    Raises:
        ValueError: As `pass_at_k`.
    """
    variances = pass_at_k_variance(n_M, c_M, k)
    if variances.size == 0:
        raise ValueError("a mean over no problems has no standard error")
    return float(np.sqrt(variances.sum()) / variances.size)


def checked_counts(n_M: ArrayLike, c_M: ArrayLike, k: int) -> tuple[IntArray, IntArray]:
    """Answers and right ones as whole numbers of one shape; k is one that all have the answers for.

    Raises:
        ValueError: As `pass_at_k`.
    """
    raw_n, raw_c = np.broadcast_arrays(n_M, c_M)
    n, c = raw_n.astype(np.int64), raw_c.astype(np.int64)
    if (n != raw_n).any() or (c != raw_c).any() or (c < 0).any() or (c > n).any():
        raise ValueError("counts must be whole numbers with 0 <= right answers <= answers")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k must be a whole number >= 1, not {k!r}")
    if (n < k).any():
        raise ValueError(
            f"k = {k} needs {k} answers or more to each problem; one has {n.min()}: lower k or sample more"
        )
    return n, c


def _each(n: IntArray, c: IntArray, function: Callable[[int, int], float]) -> FloatArray:
    """function(n, c) once for every distinct pair, put back in place."""
    pairs = list(zip(n.ravel().tolist(), c.ravel().tolist(), strict=True))
    values = {pair: function(*pair) for pair in set(pairs)}
    return np.array([values[pair] for pair in pairs]).reshape(n.shape)


@lru_cache(maxsize=65536)
def _log_all_wrong(n: int, c: int, k: int) -> float:
    """log(C(n-c, k) / C(n, k)), -inf where n - c < k. Symmetric in c and k, so the shorter of two products is taken."""
    if n - c < k:
        return -np.inf
    few, many = sorted((c, k))
    return fsum(np.log1p(-many / np.arange(n - few + 1, n + 1)).tolist())
