"""Group advantage estimators that weigh a prompt, or right against wrong answers, by the group's accuracy.

Same form as `core.advantages`: float64 over the **last axis**, one group or a stack of equal groups in, the same shape
out, in the mean convention `(1/G) sum_i A_i grad log pi(y_i)`. Rewards are 0 or 1, and p = mean_j r_j is the accuracy.

Shape suffixes: G group (samples of one prompt).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsgrpo_cli.core.advantages import grpo
from rsgrpo_cli.core.group_rewards import EPS, binary_rewards, centred, group_mean

FloatArray = NDArray[np.float64]


def power(rewards_G: ArrayLike, *, alpha: float) -> FloatArray:
    """Advantages that weigh a prompt by a power of its share of wrong answers.

        A_i = (1 - p)^(alpha - 1) (r_i - p)

    The plug-in gradient of -(1 - p)^alpha / alpha: alpha = 1 is `dr_grpo`, and alpha times it is
    `mahdavi_passk(variant="plugin")` at k = alpha. From F-GRPO (https://arxiv.org/abs/2602.06717), known here from
    notes on the paper alone: its own finite-sample form could not be verified. Sums to zero. A constant or
    single-element group gets zeros.

    Args:
        rewards_G: Rewards, shape (..., G), each 0 or 1.
        alpha: The exponent, >= 1; 2 and 3 move the weight to hard prompts.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is neither 0 nor 1, or alpha < 1.
    """
    if not 1 <= alpha < np.inf:
        raise ValueError(f"alpha must be finite and >= 1, not {alpha}")
    rewards = binary_rewards(rewards_G, "power")
    return (1 - group_mean(rewards)) ** (alpha - 1) * centred(rewards)


def f_grpo(rewards_G: ArrayLike, *, gamma: float, eps: float = EPS, ddof: int = 1) -> FloatArray:
    """`grpo` with a focal weight, a power of the prompt's share of wrong answers.

        A_i = (1 - p)^gamma (r_i - p) / (std_j r_j + eps)

    F-GRPO (https://arxiv.org/abs/2602.06717), known here from notes on the paper alone. gamma = 0 is `grpo`; a whole
    gamma is `mahdavi_passk(variant="plugin_grpo")` at k = gamma + 1. Sums to zero. A constant or single-element group
    gets zeros.

    Args:
        rewards_G: Rewards, shape (..., G), each 0 or 1.
        gamma: The exponent, >= 0.
        eps: Added to the standard deviation, >= 0.
        ddof: 1 for the sample standard deviation, 0 for the population's.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is neither 0 nor 1, gamma < 0, eps < 0 or ddof is neither 0 nor 1.
    """
    if not 0 <= gamma < np.inf:
        raise ValueError(f"gamma must be finite and >= 0, not {gamma}")
    rewards = binary_rewards(rewards_G, "f_grpo")
    return (1 - group_mean(rewards)) ** gamma * grpo(rewards, eps=eps, ddof=ddof)


def bbg(rewards_G: ArrayLike, *, k: int, threshold: float = 0.01) -> FloatArray:
    """Advantages that weigh a prompt by the posterior mean of the pass@k weight k (1 - p)^(k-1), given the group.

        A_i = u (r_i - p),    u = k prod_{j=1}^{k-1} (f + j) / (G + 1 + j),    f wrong answers
        A_i = -u              in a group without a right answer
        A_i = 0               where u < threshold (G + 1)

    u is the mean of k (1 - q)^(k-1) under Beta(c + 1, f + 1), the posterior of the rate q from a uniform prior, with
    c right answers. From BBG (https://arxiv.org/abs/2606.15455), known here from notes on the paper alone. What could
    not be verified: that the reward in {-1, +1} of groups without a right answer is weighed by u as the others are,
    and that the threshold has the factor G + 1. Such a group, all of one reward, has the largest advantages of all
    (G 16, k 4: -3.4 each); a constant group of right answers gets zeros.

    Args:
        rewards_G: Rewards, shape (..., G), each 0 or 1.
        k: Samples a prompt may use, >= 1.
        threshold: Groups of a smaller u / (G + 1) are left out, >= 0.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is neither 0 nor 1, k is no whole number >= 1, or threshold < 0.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k must be a whole number >= 1, not {k!r}")
    if not 0 <= threshold < np.inf:
        raise ValueError(f"threshold must be finite and >= 0, not {threshold}")
    rewards = binary_rewards(rewards_G, "bbg")
    size: int = rewards.shape[-1]
    wrong = (1 - rewards).sum(axis=-1, keepdims=True)
    j = np.arange(1, k)
    weight = k * ((wrong + j) / (size + 1 + j)).prod(axis=-1, keepdims=True)
    signal = np.where(wrong == size, -1.0, centred(rewards))
    advantages: FloatArray = np.where(weight >= threshold * (size + 1), weight * signal, 0.0)
    return advantages


def w_reinforce(rewards_G: ArrayLike, *, right: float = 0.1, wrong: float = 1.0) -> FloatArray:
    """Fixed advantages of right and of wrong answers, whatever the rest of the group did.

        A_i = right  if r_i = 1        A_i = -wrong  if r_i = 0

    Positive and negative sample reinforcement, "The Surprising Effectiveness of Negative Reinforcement in LLM
    Reasoning" by Zhu et al. (https://arxiv.org/abs/2506.01347): right = 1, wrong = 0 is its PSR, right = 0, wrong = 1
    its NSR, and right = 0.1, wrong = 1 its W-REINFORCE. No baseline: does not sum to zero, and a constant group keeps
    its signal.

    Args:
        rewards_G: Rewards, shape (..., G), each 0 or 1.
        right: Weight of right answers, >= 0 (the paper's lambda).
        wrong: Weight of wrong answers, >= 0.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is neither 0 nor 1, or a weight is negative.
    """
    _check_pair(right, wrong)
    rewards = binary_rewards(rewards_G, "w_reinforce")
    return np.where(rewards == 1, right, -wrong)


def asym_grpo(rewards_G: ArrayLike, *, right: float = 0.9, wrong: float = 0.4) -> FloatArray:
    """GRPO on 0/1 rewards with an exponent of its own for right and for wrong answers.

        A_i = ((1 - p) / p)^right  if r_i = 1        A_i = -(p / (1 - p))^wrong  if r_i = 0

    Both at 0.5 are `grpo` with the population's standard deviation and eps = 0. Above 0.5 the exponent of right answers
    turns to hard prompts; below 0.5 that of wrong ones punishes less where most is right. AsymGRPO
    (https://arxiv.org/abs/2604.04894), known here from notes on the paper alone, 0.9 and 0.4 among them. Sums to zero
    only where both exponents together are 1. A constant or single-element group gets zeros.

    Args:
        rewards_G: Rewards, shape (..., G), each 0 or 1.
        right: Exponent of right answers, >= 0.
        wrong: Exponent of wrong answers, >= 0.

    Returns:
        Advantages, shape (..., G).

    Raises:
        ValueError: If a reward is neither 0 nor 1, or an exponent is negative.
    """
    _check_pair(right, wrong)
    rewards = binary_rewards(rewards_G, "asym_grpo")
    p = group_mean(rewards)
    mixed = (p > 0) & (p < 1)
    odds = np.divide(1 - p, p, out=np.ones_like(p), where=mixed)
    return np.where(mixed, np.where(rewards == 1, odds**right, -(odds**-wrong)), 0.0)


def _check_pair(right: float, wrong: float) -> None:
    for name, value in (("right", right), ("wrong", wrong)):
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} must be finite and >= 0, not {value}")
