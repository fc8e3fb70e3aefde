"""Majority voting over k of n sampled answers, exact.

Shape suffixes: N samples of a problem, C numbers of samples that an answer of it may have, F frequencies, Y nodes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from math import lgamma

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsgrpo_cli.core.passk import checked_counts

FloatArray = NDArray[np.float64]
NEGLIGIBLE = 1e-15
"""Levels of the vote that are less likely than this are left out."""
MOST_NODES = 64
"""More than these change nothing: the nodes are closest where the power of a high degree rises."""


def majority_at_k(answers_N: Sequence[Hashable | None], correct_N: ArrayLike, k: int) -> float:
    """Probability that the majority vote over k of the n answers is right.

    k answers are drawn without replacement and the most frequent one wins; of answers that tie, each wins equally
    often. None is no answer and has no vote; if nobody votes the result is wrong. Where equal answers were graded
    differently, their share of right ones counts.

    Exact, up to rounding. Draws without replacement are independent binomial ones that are kept where they add up to k.
    So with X_a ~ Binomial(c_a, k/n) votes for an answer that c_a samples gave, the vote is won at the level v with

        1/P(sum X = k)  [x^k]  int_0^1 sum_a share_a T_a(x) prod_{b != a} (B_b(x) + y T_b(x)) dy
        B_b(x) = sum_{j < v} P(X_b = j) x^j,     T_b(x) = P(X_b = v) x^v

    where the integral over y divides by the number of those that tie. The coefficient is read off a discrete Fourier
    transform, the integral is a Gauss-Legendre sum, and answers that equally many samples gave are taken together.

    Args:
        answers_N: Extracted answers of one problem, None where there is none.
        correct_N: Whether each is right.
        k: Votes, 1 <= k <= n.

    Returns:
        A probability.

    Raises:
        ValueError: If the lengths differ or k does not fit.
    """
    correct = np.asarray(correct_N, dtype=np.float64)
    n = len(answers_N)
    if correct.shape != (n,):
        raise ValueError(f"{n} answers, but grades of shape {correct.shape}")
    checked_counts(n, 0, k)
    right: dict[Hashable, list[float]] = {}
    for answer, grade in zip(answers_N, correct, strict=True):
        if answer is not None:
            right.setdefault(answer, []).append(float(grade))
    # How many samples an answer has -> how many such answers there are, and the sum of their shares of right ones.
    alike: dict[int, list[float]] = {}
    for grades in right.values():
        alike.setdefault(len(grades), []).append(sum(grades) / len(grades))
    samples_C = np.array(sorted(alike), dtype=np.int64)
    answers_C = np.array([len(alike[c]) for c in samples_C.tolist()], dtype=np.int64)
    share_C = np.array([sum(alike[c]) for c in samples_C.tolist()])
    if not share_C.any():
        return 0.0
    if k == 1:
        return float(samples_C @ share_C / n)
    if k == n:
        return float(share_C[-1] / answers_C[-1])
    return _vote(n, k, samples_C, answers_C, share_C)


def _vote(n: int, k: int, samples_C: NDArray[np.int64], answers_C: NDArray[np.int64], share_C: FloatArray) -> float:
    # One point more than the coefficients on either side of k, so that none of them falls onto it.
    points = max(k, n - k) + 1
    x_F = np.exp(-2j * np.pi * np.arange(points // 2 + 1) / points)
    back_F = np.where((np.arange(len(x_F)) == 0) | (2 * np.arange(len(x_F)) == points), 1, 2) / points * x_F**-k
    pmf_CV = np.array([[_binomial(c, v, k / n) for v in range(k + 1)] for c in samples_C.tolist()])
    whole = _binomial(n, k, k / n)
    silent_F = (1 - k / n + k / n * x_F) ** (n - int(samples_C @ answers_C))  # samples without an answer
    reached = (np.cumsum(pmf_CV[:, ::-1], axis=1)[:, ::-1] * answers_C[:, None]).sum(axis=0)
    below_most = np.cumsum(pmf_CV[-1]) ** answers_C[-1]
    below_CF, total = np.zeros((len(samples_C), len(x_F)), dtype=np.complex128), 0.0
    for v in range(k + 1):
        tie_CF = pmf_CV[:, v, None] * x_F**v
        if v and min(reached[v], below_most[v]) > NEGLIGIBLE * whole:
            node_Y, weight_Y = _nodes(min((k // v + 1) // 2, MOST_NODES))
            both_YCF = below_CF + node_Y[:, None, None] * tie_CF
            others_YF = silent_F * np.prod(both_YCF ** (answers_C - 1)[:, None], axis=1)
            for at, won_F in enumerate(tie_CF):
                if share_C[at]:
                    rest_YF = others_YF * np.prod(np.delete(both_YCF, at, axis=1), axis=1)
                    total += share_C[at] * float((weight_Y @ rest_YF * won_F @ back_F).real)
        below_CF += tie_CF
    return min(1.0, max(0.0, total / whole))


@lru_cache(maxsize=65536)
def _binomial(n: int, k: int, p: float) -> float:
    """P(X = k) for X ~ Binomial(n, p), 0 < p < 1."""
    if k > n:
        return 0.0
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return float(np.exp(ways + k * np.log(p) + (n - k) * np.log1p(-p)))


@lru_cache(maxsize=MOST_NODES)
def _nodes(number: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the Gauss-Legendre sum on [0, 1], exact up to a degree of 2 number - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(number)
    return (nodes + 1) / 2, weights / 2
