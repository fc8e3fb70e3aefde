"""Group advantage estimators: the rewards of one group in, one advantage each out.

Every estimator is a pure function in float64 over the **last axis**: it takes `rewards_G`, one group, and just as well
`rewards_PG`, a stack of groups of equal size. `core.grouping.by_group` brings a flat batch of groups of any sizes into
that form. All are in the mean convention: the gradient estimate is `(1/G) sum_i A_i grad log pi(y_i)`. An `eps`
defaults to what the authors' code uses; 0 gives the formula as printed.

The estimators that aim at pass@k are in `core.passk_advantages`, those of TTT-Discover in `core.entropic_advantages`.

Shape suffixes: G group (samples of one prompt), P groups of equal size; `...G` stands for both forms.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsgrpo_cli.core.group_rewards import (
    EPS,
    centred,
    check_eps,
    check_group_size,
    exponential_tilt,
    finite_rewards,
    group_mean,
    mean_of_others,
    rank_sums,
    ratio_or_zero,
    standard_deviation,
)

FloatArray = NDArray[np.float64]
Denominator = Literal["group", "leave_one_out"]
Quantile = Literal["right", "linear"]


def rs_grpo(rewards_G: ArrayLike, *, beta: float, denominator: Denominator = "group") -> FloatArray:
    """Risk-sensitive advantages.

        A_i = (exp(beta r_i) / mean_j exp(beta r_j) - 1) / beta

    The policy gradient of (1/beta) log E exp(beta r), from the mean reward (beta = 0, `dr_grpo`) to the maximum
    (beta -> inf); beta < 0 avoids risk. See "Risk-Sensitive RL for Alleviating Exploration Dilemmas in LLMs" by Jiang
    et al. (https://arxiv.org/abs/2509.24261).

    Sums to zero, ignores a constant added to the rewards, and lies in [-1/beta, (G-1)/beta] for beta > 0, so its scale
    falls as beta grows ([1, 0, 0, 0]: 0.92 at beta 2, 0.37 at 8): beta acts on the effective learning rate as well. On
    0/1 rewards beta * A tends to `max_rl`. beta has units of 1/reward. A constant or single-element group gets zeros.

    The group's own mean in the denominator shrinks the expected gradient of rare successes (to 0.71 at p = 0.02, beta
    2, G 16) and, with more than two reward values, turns its direction. `denominator="leave_one_out"` takes the mean
    over j != i instead: the expected direction is then exact, the limit at beta = 0 is `rloo`, and the sum is no longer
    zero. Both forms share the 1/beta. A single best reward then gets exp(beta gap) / beta, without bound:
    `core.entropic_advantages.entropic_loo` is beta times this, with the cap of TTT-Discover.

    Args:
        rewards_G: Rewards, shape (..., G), finite.
        beta: Risk sensitivity, any finite number, in units of 1/reward.
        denominator: What exp(beta r_i) is compared with: the mean of the "group", or "leave_one_out" (needs G >= 2).

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If beta or a reward is not finite, or a leave-one-out ratio has no neighbour or overflows.
    """
    rewards = finite_rewards(rewards_G)
    growth, weights = exponential_tilt(rewards, beta)
    if denominator == "group":
        return centred(growth) / group_mean(weights)
    if denominator != "leave_one_out":
        raise ValueError(f"denominator must be 'group' or 'leave_one_out', not {denominator!r}")
    size: int = rewards.shape[-1]
    check_group_size("rs_grpo with denominator='leave_one_out'", size, 2)
    others = mean_of_others(weights)
    if others.size and others.min() < np.finfo(np.float64).tiny:
        raise ValueError(
            f"leave-one-out advantages overflow at beta = {beta:g}: one reward is too far from all others; "
            "use denominator='group', a smaller beta, or entropic_loo, whose eps caps them"
        )
    return centred(growth) * (size / (size - 1)) / others


def dr_grpo(rewards_G: ArrayLike) -> FloatArray:
    """Mean-centred advantages, without division by the standard deviation.

        A_i = r_i - mean_j r_j

    `rs_grpo` at beta = 0, and the "GRPO" arm of arXiv 2509.24261. See "Understanding R1-Zero-Like Training" by Liu et
    al. (https://arxiv.org/abs/2503.20783). A constant or single-element group gets zeros.

    Args:
        rewards_G: Rewards, shape (..., G), finite.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite.
    """
    return centred(finite_rewards(rewards_G))


def grpo(rewards_G: ArrayLike, *, eps: float = EPS, ddof: int = 1) -> FloatArray:
    """Standardised advantages.

        A_i = (r_i - mean_j r_j) / (std_j r_j + eps)

    See "DeepSeekMath" by Shao et al. (https://arxiv.org/abs/2402.03300), which leaves ddof open; verl uses ddof 1 and
    eps 1e-6, TRL ddof 1 and eps 1e-4. With eps = 0 the rewards' scale and offset do not matter. The division raises the
    weight of prompts that are nearly always or nearly never solved, 1 / sqrt(p (1 - p)) on 0/1 rewards. A constant or
    single-element group gets zeros.

    Args:
        rewards_G: Rewards, shape (..., G), finite.
        eps: Added to the standard deviation, in units of reward, >= 0.
        ddof: 1 for the sample standard deviation (divided by G - 1), 0 for the population's.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite, eps < 0 or ddof is neither 0 nor 1.
    """
    check_eps(eps)
    deviations = centred(finite_rewards(rewards_G))
    return ratio_or_zero(deviations, standard_deviation(deviations, ddof) + eps)


def rloo(rewards_G: ArrayLike) -> FloatArray:
    """Advantages against the mean of the other samples.

        A_i = r_i - mean_{j != i} r_j = G / (G - 1) (r_i - mean_j r_j)

    Unbiased for the policy gradient of the mean reward, `dr_grpo` times G / (G - 1). See "Back to Basics" by Ahmadian
    et al. (https://arxiv.org/abs/2402.14740). A constant group gets zeros; a single element has no baseline and is
    refused (verl leaves the raw reward there, TRL zero).

    Args:
        rewards_G: Rewards, shape (..., G), finite, G >= 2.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite or G = 1.
    """
    rewards = finite_rewards(rewards_G)
    size: int = rewards.shape[-1]
    check_group_size("rloo", size, 2)
    return centred(rewards) * (size / (size - 1))


def max_rl(rewards_G: ArrayLike, *, eps: float = EPS) -> FloatArray:
    """Advantages relative to the mean reward, which weigh a prompt by 1/p.

        A_i = (r_i - mean_j r_j) / (mean_j r_j + eps)        0 where all rewards are 0

    On 0/1 rewards with eps = 0 this is the limit of beta * `rs_grpo` for beta -> inf, and the expected update is the
    gradient of log p cut off at order G - 1. See MaxRL by Tajwar et al. (https://arxiv.org/abs/2602.02710). Depends on
    the rewards' offset: a negative mean would turn every advantage around, so a mean <= 0 is refused unless all rewards
    are 0. A constant or single-element group gets zeros.

    Args:
        rewards_G: Rewards, shape (..., G), finite, with a positive mean or all 0.
        eps: Added to the mean, in units of reward, >= 0.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite, eps < 0, or a group's mean is <= 0 and its rewards are not all 0.
    """
    check_eps(eps)
    rewards = finite_rewards(rewards_G)
    mean = group_mean(rewards)
    wrong = (mean <= 0) & (rewards != 0).any(axis=-1, keepdims=True)
    if wrong.any():
        raise ValueError(
            f"max_rl needs groups of positive mean; got a mean of {mean[wrong][0]:g}: "
            "shift the rewards to be >= 0, or use rs_grpo or tail_rl, which ignore their offset"
        )
    return ratio_or_zero(centred(rewards), mean + eps)


def tail_rl(rewards_G: ArrayLike) -> FloatArray:
    """`max_rl` for any rewards: each step between sorted rewards is weighed by the share of samples above it.

        A_(i) = sum_{m < i} G / (G - m) (r_(m+1) - r_(m)), then centred;    r_(1) <= ... <= r_(G)

    Equal to `max_rl` with eps = 0 on 0/1 rewards; ignores a constant added to the rewards and scales with them. See
    TailRL by Ramasubramanian et al. (https://github.com/Zanette-Labs/TailRL). A constant or single-element group gets
    zeros.

    Args:
        rewards_G: Rewards, shape (..., G), finite.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite.
    """
    rewards = finite_rewards(rewards_G)
    size: int = rewards.shape[-1]
    return centred(rank_sums(rewards, below_S=size / np.arange(size - 1, 0, -1.0)))


def qae(
    rewards_G: ArrayLike, *, level: float = 0.4, quantile: Quantile = "right", eps: float = EPS, ddof: int = 1
) -> FloatArray:
    """Advantages against a quantile of the group instead of its mean.

        A_i = (r_i - Q_K(r)) / (std_j r_j + eps)

    On 0/1 rewards with the "right" quantile only successes get a signal on hard prompts (p <= 1 - K), only failures on
    easy ones. See "Quantile Advantage Estimation for Entropy-Safe Reasoning" by Wu et al.
    (https://arxiv.org/abs/2509.22611). The paper's Q_K is the smallest reward r with F(r) >= K, F being the
    right-continuous empirical distribution: "right". Its repository takes `torch.quantile`, which interpolates and so
    gives fractional baselines to small groups: "linear". Does not sum to zero. A constant or single-element group gets
    zeros.

    Args:
        rewards_G: Rewards, shape (..., G), finite.
        level: K, in [0, 1]; the paper takes 0.4, and 0.6 against entropy collapse.
        quantile: "right" (paper) or "linear" (repository).
        eps: Added to the standard deviation, in units of reward, >= 0.
        ddof: 1 for the sample standard deviation, 0 for the population's.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is not finite, level lies outside [0, 1], eps < 0 or ddof is neither 0 nor 1.
    """
    check_eps(eps)
    if not 0 <= level <= 1:
        raise ValueError(f"level must lie in [0, 1], not {level}")
    rewards = finite_rewards(rewards_G)
    scale = standard_deviation(centred(rewards), ddof) + eps
    return ratio_or_zero(rewards - _quantile(rewards, level, quantile), scale)


def _quantile(rewards_G: FloatArray, level: float, quantile: Quantile) -> FloatArray:
    ordered = np.sort(rewards_G, axis=-1)
    size: int = ordered.shape[-1]
    if quantile == "right":
        # 0.29 * 100 is 28.999999999999996: without the slack its ceiling would be right only by luck.
        rank = max(ceil(level * size - 1e-9), 1)
        return ordered[..., rank - 1, None]
    if quantile != "linear":
        raise ValueError(f"quantile must be 'right' or 'linear', not {quantile!r}")
    position = level * (size - 1)
    low = floor(position)
    high = min(low + 1, size - 1)
    return ordered[..., low, None] + (position - low) * (ordered[..., high, None] - ordered[..., low, None])
