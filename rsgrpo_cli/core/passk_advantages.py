"""Group advantage estimators that aim at pass@k: at the best of k samples rather than at the mean.

Same form as `core.advantages`: float64 over the **last axis**, one group or a stack of equal groups in, the same shape
out, in the mean convention `(1/G) sum_i A_i grad log pi(y_i)`. PKPO is published for the sum without 1/G: here it is
multiplied by G, so that one learning rate serves all.

Ratios of binomials come from a product recurrence in extended precision, once for each (G, k): binomials themselves
overflow from G = 1,030.

Shape suffixes: G group (samples of one prompt), C = G + 1 counts of successes, S = G - 1 steps between sorted rewards.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsgrpo_cli.core.advantages import rloo
from rsgrpo_cli.core.group_rewards import (
    EPS,
    binary_rewards,
    centred,
    check_eps,
    check_group_size,
    finite_rewards,
    group_mean,
    rank_sums,
    ratio_or_zero,
    standard_deviation,
)

FloatArray = NDArray[np.float64]
LongArray = NDArray[np.longdouble]
PkpoVariant = Literal["s", "sloo", "sloo_minus_one"]
MahdaviVariant = Literal["plugin", "plugin_grpo", "unbiased"]


def pkpo(rewards_G: ArrayLike, *, k: int, variant: PkpoVariant = "sloo_minus_one") -> FloatArray:
    """Unbiased advantages for the best of k samples, for any rewards.

        s:               A_i = G / C(G, k) sum_{I: i in I, |I| = k} max_I r
        sloo:            A_i = s_i - G k / (G - 1) rho_k(r without i)           rho_k: mean of max_I r over all I
        sloo_minus_one:  A_i = G / C(G, k) sum_{I: i in I, |I| = k} (max_I r - max_{I without i} r)

    All three have the gradient of E max of k as expectation, with falling variance. See "Pass@K Policy Optimization" by
    Walder and Karkhanis (https://arxiv.org/abs/2505.15201), here times G (mean convention).

    sloo_minus_one is never negative, 0 for every wrong answer of a 0/1 group and for all of it once more than G - k + 1
    are right, and ignores a constant added to the rewards; a constant group gets zeros. s and sloo do not: a constant
    group of reward r gets k r and -k r / (G - 1). k = 1 of sloo_minus_one is 0/0 and defined as `rloo`; sloo has no
    baseline set at k = G, where the published listing silently returns s: refused.

    Args:
        rewards_G: Rewards, shape (..., G), finite.
        k: Samples the best is taken of, 1 <= k <= G (k < G for sloo; k = 1 of sloo_minus_one needs G >= 2).
        variant: Which baseline is subtracted.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite or k does not fit the group.
    """
    rewards = finite_rewards(rewards_G)
    size: int = rewards.shape[-1]
    _check_k("pkpo", k, size)
    match variant:
        case "s":
            above, _, _ = _pkpo_weights(size, k)
            return rank_sums(rewards, own=k, above_S=above)
        case "sloo":
            if k == size:
                raise ValueError(
                    f"pkpo variant sloo needs groups of more than k = {k} rewards, as its baseline leaves one out: "
                    "lower k, or use variant sloo_minus_one"
                )
            _, above, below = _pkpo_weights(size, k)
            return rank_sums(rewards, own=-k / (size - 1), above_S=above, below_S=below)
        case "sloo_minus_one":
            if k == 1:
                return rloo(rewards)
            ratios, _ = _choose_ratios(size - 1, k - 1)
            return rank_sums(rewards, below_S=(k * ratios[1:]).astype(np.float64))
    raise ValueError(f"variant must be 's', 'sloo' or 'sloo_minus_one', not {variant!r}")


def chen_passk(rewards_G: ArrayLike, *, k: int, eps: float = EPS) -> FloatArray:
    """Standardised pass@k advantages of 0/1 rewards.

        R = 1 - C(f, k) / C(G, k),   sigma = sqrt(R (1 - R)),   c right and f = G - c wrong answers
        A_right = (1 - R) / (sigma + eps),   A_wrong = (1 - R - C(f-1, k-1) / C(G-1, k-1)) / (sigma + eps)

    A sample's advantage is the mean standardised reward of the k-subsets it belongs to. See "Pass@k Training" by Chen
    et al. (https://arxiv.org/abs/2508.10751). Sums to zero; k = 1 with eps = 0 is `grpo` with ddof 0. Zero for c = 0
    and once fewer than k are wrong: prompts solved in more than 1 - k/G of the samples get no signal. A constant group
    gets zeros.

    Args:
        rewards_G: Rewards, shape (..., G), each 0 or 1.
        k: Size of the subsets, 1 <= k <= G.
        eps: Added to sigma, >= 0.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is neither 0 nor 1, k does not fit the group, or eps < 0.
    """
    check_eps(eps)
    rewards = binary_rewards(rewards_G, "chen_passk")
    size: int = rewards.shape[-1]
    _check_k("chen_passk", k, size)
    right, wrong = _chen_table(size, k, eps)
    return _by_successes(rewards, right, wrong)


def mahdavi_passk(
    rewards_G: ArrayLike, *, k: int, variant: MahdaviVariant = "unbiased", eps: float = EPS, ddof: int = 1
) -> FloatArray:
    """Advantages that weigh a prompt by the gradient of pass@k, k (1 - p)^(k-1), of 0/1 rewards.

        plugin:       A_i = k (1 - p)^(k-1) (r_i - p),    p = mean_j r_j
        plugin_grpo:  A_i = (1 - p)^(k-1) (r_i - p) / (std_j r_j + eps)
        unbiased:     A_i = k C(G-c, k-1) / C(G-1, k-1) r_i,    c right answers

    See "Beyond Accuracy" by Mahdavi et al. (https://openreview.net/forum?id=Dn3gk9auxd) for the weight; which of these
    it uses on a finite group could not be verified, so they are named. plugin is biased, its expectation 0.5 to 0.7 of
    the gradient for small groups and rare successes; plugin_grpo reweighs `grpo`; unbiased is
    `pkpo(variant="sloo_minus_one")` on 0/1 rewards for k >= 2, never negative and zero once more than G - k + 1 are
    right. A constant group gets zeros from the plugins; unbiased gives 0 to c = 0, and to c = G unless k = 1 (the raw
    reward).

    Args:
        rewards_G: Rewards, shape (..., G), each 0 or 1.
        k: Samples a prompt may use, >= 1; unbiased needs k <= G.
        variant: Which finite-sample form.
        eps: Added to the standard deviation (plugin_grpo only), >= 0.
        ddof: 1 for the sample standard deviation, 0 for the population's (plugin_grpo only).

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is neither 0 nor 1, k does not fit the group, or eps < 0.
    """
    check_eps(eps)
    rewards = binary_rewards(rewards_G, "mahdavi_passk")
    size: int = rewards.shape[-1]
    if variant == "unbiased":
        _check_k("mahdavi_passk variant unbiased", k, size)
        return _by_successes(rewards, k * _other_failures(size, k), np.zeros(size + 1))
    _check_k("mahdavi_passk", k, None)
    deviations = centred(rewards)
    weighed = (1 - group_mean(rewards)) ** (k - 1) * deviations
    if variant == "plugin":
        return k * weighed
    if variant == "plugin_grpo":
        return ratio_or_zero(weighed, standard_deviation(deviations, ddof) + eps)
    raise ValueError(f"variant must be 'plugin', 'plugin_grpo' or 'unbiased', not {variant!r}")


def passk_rloo(rewards_G: ArrayLike, *, k: int) -> FloatArray:
    """Pass@k advantages with the leave-one-out baseline of `rloo`, of 0/1 rewards.

        A_right = w f / (G - 1),   A_wrong = -w c / (G - 1),   w = C(f, k-1) / C(G-1, k-1)

    `mahdavi_passk(variant="unbiased") / k`, centred as in `rloo`; the MaxRL repository
    (https://arxiv.org/abs/2602.02710) calls it pkpo. Aims at pass@k / k, gives failures a negative advantage, and sums
    to zero; its direction is right, its size a few per cent off for small groups. k = 1 is `rloo`. Zero for c = 0,
    c = G and c > G - k + 1; a constant group gets zeros, a single element is refused.

    Args:
        rewards_G: Rewards, shape (..., G), each 0 or 1, G >= 2.
        k: Samples a prompt may use, 1 <= k <= G.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is neither 0 nor 1, k does not fit the group, or G = 1.
    """
    rewards = binary_rewards(rewards_G, "passk_rloo")
    size: int = rewards.shape[-1]
    _check_k("passk_rloo", k, size)
    check_group_size("passk_rloo", size, 2)
    successes = np.arange(size + 1)
    weight = _other_failures(size, k) / (size - 1)
    return _by_successes(rewards, weight * (size - successes), -weight * successes)


def tang_max(rewards_G: ArrayLike) -> FloatArray:
    """Advantage of the best sample alone: its lead over the second best.

        A_i = r_(G) - r_(G-1) for the maximum, 0 for all others

    See "Optimizing Language Models for Inference Time Objectives using Reinforcement Learning" by Tang et al.
    (https://arxiv.org/abs/2503.19595); verl's `grpo_passk` without its standard deviation. 1/G of
    `pkpo(k=G, variant="sloo_minus_one")`. Zero for all where the maximum is tied, so on 0/1 rewards for two or more
    right answers. A constant group gets zeros; a single element has no second and is refused.

    Args:
        rewards_G: Rewards, shape (..., G), finite, G >= 2.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite or G = 1.
    """
    rewards = finite_rewards(rewards_G)
    check_group_size("tang_max", rewards.shape[-1], 2)
    top_two = np.partition(rewards, rewards.shape[-1] - 2, axis=-1)[..., -2:]
    lead = top_two[..., 1:] - top_two[..., :1]
    return np.where(rewards == top_two[..., 1:], lead, 0.0)


def _check_k(estimator: str, k: int, size: int | None) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k must be a whole number >= 1, not {k!r}")
    if size is not None and k > size:
        raise ValueError(f"{estimator} needs k = {k} rewards or more a group; got {size}: lower k or use larger groups")


@lru_cache(maxsize=256)
def _choose_ratios(n: int, k: int) -> tuple[LongArray, LongArray]:
    """C(j, k) / C(n, k) for j = 0..n, and one minus that, both summed and multiplied up without cancellation."""
    j = np.arange(1, n + 1, dtype=np.longdouble)
    ratios = np.ones(n + 1, np.longdouble)
    ratios[:n] = np.cumprod((np.maximum(j - k, 0) / j)[::-1])[::-1]  # C(j-1, k) / C(j, k) = (j - k) / j
    complements = np.zeros(n + 1, np.longdouble)
    complements[:n] = np.cumsum((ratios[1:] * k / j)[::-1])[::-1]
    ratios.flags.writeable = complements.flags.writeable = False
    return ratios, complements


@lru_cache(maxsize=256)
def _pkpo_weights(size: int, k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Step weights of `rank_sums`: above for s; above and below for sloo (zeros where k = G). Each (S,).

    A subset that holds i has a maximum above step m > i unless its other k - 1 members stay below: 1 - C(m-1, k-1) /
    C(G-1, k-1). The same without i, k members of the other G - 1, gives the baseline of sloo.
    """
    _, with_own = _choose_ratios(size - 1, k - 1)
    above_s = k * with_own[:-1]
    if k == size:
        return above_s.astype(np.float64), np.zeros(size - 1), np.zeros(size - 1)
    ratios, complements = _choose_ratios(size - 1, k)
    baseline = np.longdouble(k) * size / (size - 1)
    above = above_s - baseline * complements[:-1]
    return above_s.astype(np.float64), above.astype(np.float64), (baseline * ratios[1:]).astype(np.float64)


@lru_cache(maxsize=256)
def _chen_table(size: int, k: int, eps: float) -> tuple[FloatArray, FloatArray]:
    """Advantage of a right and of a wrong answer by the number of right ones, each (C,)."""
    fails, passes = (table[::-1] for table in _choose_ratios(size, k))
    deviation = np.sqrt(passes * fails) + np.longdouble(eps)
    right = np.divide(fails, deviation, out=np.zeros_like(fails), where=(passes > 0) & (fails > 0))
    successes = np.arange(size + 1, dtype=np.longdouble)
    # The formula's numerator for a wrong answer is -(c / f) times that for a right one: the group sums to zero.
    wrong = np.zeros_like(right)
    wrong[:-1] = -right[:-1] * successes[:-1] / (size - successes[:-1])
    return right.astype(np.float64), wrong.astype(np.float64)


def _other_failures(size: int, k: int) -> FloatArray:
    """C(G-c, k-1) / C(G-1, k-1) for c = 0..G: how often k - 1 others of a right answer are all wrong; 0 for c = 0."""
    ratios, _ = _choose_ratios(size - 1, k - 1)
    return np.append(0.0, ratios[::-1]).astype(np.float64)


def _by_successes(rewards_G: FloatArray, right_C: FloatArray, wrong_C: FloatArray) -> FloatArray:
    successes = rewards_G.sum(axis=-1, keepdims=True).astype(np.int64)
    return np.where(rewards_G == 1, right_C[successes], wrong_C[successes])
