"""Entropic advantages of TTT-Discover: exponential weights against the rest of the group, without the factor 1/beta.

`rs_grpo(denominator="leave_one_out")` is `entropic_loo` divided by beta: same direction, but on the scale of `rs_grpo`.
See "Learning to Discover at Test Time" (https://arxiv.org/abs/2601.16175).

Shape suffixes: G group (samples of one prompt), P groups of equal size; `...G` stands for both forms.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsgrpo_cli.core.group_rewards import (
    centred,
    check_eps,
    check_group_size,
    exponential_tilt,
    finite_rewards,
    mean_of_others,
)

FloatArray = NDArray[np.float64]


def entropic_loo(rewards_G: ArrayLike, *, beta: float, eps: float = 1e-12) -> FloatArray:
    """Exponential weights against the mean of the others.

        A_i = e_i / (mean_{j != i} e_j + eps) - 1,    e_i = exp(beta (r_i - max_j r_j))

    With eps = 0 it is beta times `rs_grpo(denominator="leave_one_out")`: its expectation is exactly proportional to the
    gradient of (1/beta) log E exp(beta r), and it vanishes at beta = 0. TTT-Discover's `entropic` estimator
    (https://arxiv.org/abs/2601.16175). Lies in [-1, 1/eps - 1]: a single best reward gets exp(beta gap) until eps caps
    it, which is far beyond what a training step survives at the default. Scale it, or use `rs_grpo`. Does not sum to
    zero. A constant group gets zeros (the reference code: -eps); a single element is refused.

    Args:
        rewards_G: Rewards, shape (..., G), finite, G >= 2.
        beta: Risk sensitivity, any finite number, in units of 1/reward; for beta < 0 the shift is by the minimum.
        eps: Cap: added to the mean weight of the others, >= 0.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If beta or a reward is not finite, eps < 0, G = 1, or the ratio overflows (eps = 0 only).
    """
    check_eps(eps)
    rewards = finite_rewards(rewards_G)
    check_group_size("entropic_loo", rewards.shape[-1], 2)
    growth, weights = exponential_tilt(rewards, beta)
    return _against_others(beta * centred(growth), weights, eps)


def entropic_adaptive(rewards_G: ArrayLike, *, kl: float = log(2)) -> FloatArray:
    """Entropic advantages whose beta is solved for in each group.

        A_i = e_i / mean_{j != i} e_j - 1,    e_i = exp(beta r_i),    KL(softmax(beta r) || uniform) = kl

    TTT-Discover's `entropic_adaptive_beta` (https://arxiv.org/abs/2601.16175). Neither offset nor scale of the rewards
    matters. The divergence can reach log(G / m), m being the number of best rewards; where that is at most kl (for
    log 2: half of the group is best) beta runs to infinity and the limit is returned: (G - 1) / (m - 1) - 1 for the
    best, -1 for the rest. Does not sum to zero. A constant group gets zeros; a group of exp(kl) rewards or fewer (for
    log 2: a pair) is refused, as its limit is infinite.

    Args:
        rewards_G: Rewards, shape (..., G), finite, G > exp(kl).
        kl: Divergence of the weights from equal weights, in nats, > 0.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite, kl <= 0 or G <= exp(kl).
    """
    if not 0 < kl < np.inf:
        raise ValueError(f"kl must be finite and > 0, not {kl}")
    rewards = finite_rewards(rewards_G)
    size: int = rewards.shape[-1]
    check_group_size(f"entropic_adaptive with kl = {kl:.3g}", size, int(np.exp(kl) * (1 + 1e-12)) + 1)
    gap = rewards - rewards.max(axis=-1, keepdims=True)
    spread = -gap.min(axis=-1, keepdims=True)
    # In units of the spread every group's beta is of order one, unless its best rewards nearly tie.
    gap_PG = (gap / np.where(spread > 0, spread, 1.0)).reshape(-1, size)
    best = (gap_PG == 0).sum(axis=-1)
    solvable = np.log(size / best) > kl * (1 + 1e-12)
    beta_P = np.where(best == size, 0.0, np.inf)
    beta_P[solvable] = _solve_by_shape(gap_PG[solvable], best[solvable], kl)
    exponent_PG = np.where(gap_PG == 0, 0.0, beta_P[:, None] * np.where(gap_PG == 0, -1.0, gap_PG))
    return _against_others(centred(np.expm1(exponent_PG)), np.exp(exponent_PG), 0.0).reshape(rewards.shape)


def _against_others(deviations_G: FloatArray, weights_G: FloatArray, eps: float) -> FloatArray:
    """w_i / (mean_{j != i} w_j + eps) - 1 from the weights and their (more accurate) deviations from the mean."""
    size: int = weights_G.shape[-1]
    others = mean_of_others(weights_G) + eps
    if others.size and others.min() < np.finfo(np.float64).tiny:
        raise ValueError("entropic advantages overflow: one reward is too far from all others; use eps > 0 or rs_grpo")
    flat = (deviations_G == 0).all(axis=-1, keepdims=True)
    advantages: FloatArray = np.where(flat, 0.0, (deviations_G * (size / (size - 1)) - eps) / others)
    return advantages


def _solve_by_shape(gap_PG: FloatArray, best_P: NDArray[np.int64], kl: float) -> FloatArray:
    """`_solve_divergence`, once for all groups of two values with the same number of best rewards: 0/1 rewards."""
    two_valued = ((gap_PG == 0) | (gap_PG == -1)).all(axis=-1)
    beta = np.empty(len(gap_PG))
    beta[~two_valued] = _solve_divergence(gap_PG[~two_valued], kl)
    _, example, shape = np.unique(best_P[two_valued], return_index=True, return_inverse=True)
    beta[two_valued] = _solve_divergence(gap_PG[two_valued][example], kl)[shape]
    return beta


def _solve_divergence(gap_PG: FloatArray, kl: float) -> FloatArray:
    """Solve KL(softmax(beta gap) || uniform) = kl for beta, row by row; gap <= 0 with minimum -1. Shape (P,).

    Newton's method on sqrt(KL), which is nearly linear in beta, kept between the largest beta known to be too small and
    the smallest known to be too large. Rows drop out as they converge.
    """
    beta: FloatArray = np.sqrt(2 * kl) / gap_PG.std(axis=-1)
    low, high = np.zeros_like(beta), np.full_like(beta, np.inf)
    active = np.arange(beta.size)
    for _ in range(200):
        if active.size == 0:
            break
        now = beta[active]
        divergence, slope = _divergence(gap_PG if active.size == beta.size else gap_PG[active], now)
        below = divergence < kl
        low[active[below]] = now[below]
        high[active[~below]] = now[~below]
        lower, upper = low[active], high[active]
        # Where a near-tie is only broken at a far larger beta, the slope before it is 0 and Newton's step without end.
        root = np.sqrt(divergence)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            proposal = now + (np.sqrt(kl) - root) * 2 * root / slope
        inside = (proposal > lower) & (proposal < np.minimum(upper, 16 * now))
        fallback = np.where(np.isinf(upper), 4 * now, (lower + upper) / 2)
        # Newton's step squares the error: after one of 1e-9 nothing is left to correct.
        converged = (np.abs(proposal - now) <= 1e-9 * now) | (upper - lower <= 1e-15 * now)
        beta[active] = np.where(inside, proposal, np.where(converged, now, fallback))
        active = active[~converged]
    return beta


def _divergence(gap_PG: FloatArray, beta_P: FloatArray) -> tuple[FloatArray, FloatArray]:
    """KL(softmax(beta gap) || uniform) and its derivative beta Var(gap), both (P,)."""
    weights = np.exp(beta_P[:, None] * gap_PG)
    total = weights.sum(axis=-1)
    mean = np.einsum("pg,pg->p", weights, gap_PG) / total
    square = np.einsum("pg,pg,pg->p", weights, gap_PG, gap_PG) / total
    divergence = beta_P * mean - np.log(total / gap_PG.shape[-1])
    return np.maximum(divergence, 0.0), beta_P * np.maximum(square - mean**2, 0.0)
