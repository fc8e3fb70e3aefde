"""What the estimators share: checks of a group's rewards, means without cancellation, exponential and rank weights.

Everything works over the **last axis** in float64, for one group `rewards_G` and for a stack `rewards_PG` alike.

Shape suffixes: G group (samples of one prompt), P groups of equal size; `...G` stands for both forms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

# Squares, sums over a group and products of two rewards stay finite below this.
LARGEST_REWARD = 1e150
# What is added to a mean or a standard deviation before a division by it, as in verl.
EPS = 1e-6


def finite_rewards(rewards_G: ArrayLike) -> FloatArray:
    """Rewards as float64, checked.

    Args:
        rewards_G: Rewards, shape (..., G).

    Raises:
        ValueError: If there is no reward, or one is NaN, infinite or beyond 1e150.
    """
    rewards = np.asarray(rewards_G, dtype=np.float64)
    if rewards.ndim == 0 or rewards.shape[-1] == 0:
        raise ValueError("a group needs at least one reward")
    if not np.isfinite(rewards).all():
        raise ValueError("rewards must be finite: found NaN or inf")
    largest = np.abs(rewards).max(initial=0.0)
    if largest > LARGEST_REWARD:
        raise ValueError(f"rewards must lie within +-{LARGEST_REWARD:g}: found one of size {largest:g}")
    return rewards


def binary_rewards(rewards_G: ArrayLike, estimator: str) -> FloatArray:
    """Rewards as float64, checked to be 0 or 1.

    Args:
        rewards_G: Rewards, shape (..., G).
        estimator: Who asks, for the message.

    Raises:
        ValueError: If a reward is neither 0 nor 1.
    """
    rewards = finite_rewards(rewards_G)
    other = rewards[(rewards != 0) & (rewards != 1)]
    if other.size:
        raise ValueError(f"{estimator} needs 0/1 rewards; got {other[0]:g}: use rs_grpo or pkpo, which take any")
    return rewards


def check_group_size(estimator: str, size: int, least: int) -> None:
    """Refuse groups that are too small for an estimator.

    Raises:
        ValueError: If size < least.
    """
    if size < least:
        raise ValueError(
            f"{estimator} needs at least {least} rewards per group; got {size}: use larger groups, rs_grpo or dr_grpo"
        )


def group_mean(values_G: FloatArray) -> FloatArray:
    """Mean over the group, shape (..., 1)."""
    mean: FloatArray = values_G.mean(axis=-1, keepdims=True)
    return mean


def centred(values_G: FloatArray) -> FloatArray:
    """Subtract the group's mean, values - mean(values): exactly zero on a constant group.

    The mean is taken twice. The mean of the deviations is the rounding error of the first mean, which would otherwise
    cost log10(G) digits on a group with a single success and leave a constant group at an ulp: there the deviations are
    a few ulps each, equal, and so their sum and mean are exact.
    """
    deviations = values_G - group_mean(values_G)
    deviations -= group_mean(deviations)
    return deviations


def standard_deviation(deviations_G: FloatArray, ddof: int) -> FloatArray:
    """Standard deviation from centred values, shape (..., 1); zero for a single element.

    Raises:
        ValueError: If ddof is neither 0 (population) nor 1 (sample).
    """
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 or 1, not {ddof}")
    degrees = max(deviations_G.shape[-1] - ddof, 1)
    variance: FloatArray = np.square(deviations_G).sum(axis=-1, keepdims=True) / degrees
    return np.sqrt(variance)


def ratio_or_zero(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide, with 0 where the denominator is 0: groups that carry no signal."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator != 0)


def check_eps(eps: float) -> None:
    """Refuse a negative or non-finite eps.

    Raises:
        ValueError: If eps < 0, NaN or inf.
    """
    if not 0 <= eps < np.inf:
        raise ValueError(f"eps must be finite and >= 0, not {eps}")


def favoured_reward(rewards_G: FloatArray, beta: float) -> FloatArray:
    """The reward of the largest weight exp(beta r): the maximum, or the minimum for beta < 0. Shape (..., 1)."""
    favoured: FloatArray = (rewards_G.max if beta > 0 else rewards_G.min)(axis=-1, keepdims=True)
    return favoured


def exponential_tilt(rewards_G: FloatArray, beta: float) -> tuple[FloatArray, FloatArray]:
    """Weigh rewards by exp(beta r), relative to the favoured reward r*.

        growth_i = (exp(beta (r_i - r*)) - 1) / beta        weight_i = exp(beta (r_i - r*))

    Both are exact for every finite beta: the exponent is never positive, so nothing overflows, and the growth tends to
    r_i - r* without cancellation as beta goes to 0 (at beta = 0 it is r_i, which differs by a constant).

    Args:
        rewards_G: Rewards, shape (..., G).
        beta: Risk sensitivity in units of 1/reward.

    Returns:
        Growth and weights, both (..., G); weights lie in [0, 1], at least one of each group is 1.

    Raises:
        ValueError: If beta is not finite.
    """
    if not np.isfinite(beta):
        raise ValueError(f"beta must be finite, not {beta}")
    if beta == 0:
        return rewards_G, np.ones_like(rewards_G)
    gap = rewards_G - favoured_reward(rewards_G, beta)
    with np.errstate(over="ignore"):  # an exponent of -inf is a weight of 0, as it should be
        exponent = beta * gap
    # Below 1e-17 the growth is the gap to all digits, and stays so where beta * gap underflows.
    growth = np.where(exponent > -1e-17, gap, np.expm1(exponent) / beta)
    return growth, np.exp(exponent)


def mean_of_others(weights_G: FloatArray) -> FloatArray:
    """Leave-one-out means of non-negative weights: mean_{j != i} w_j, shape (..., G).

    sum(w) - w_i would lose every digit where one weight outweighs the rest; here the largest is set aside and nothing
    is subtracted that is larger than what it is subtracted from.
    """
    largest = weights_G.argmax(axis=-1)[..., None]
    top = np.take_along_axis(weights_G, largest, axis=-1)
    rest = weights_G.copy()
    np.put_along_axis(rest, largest, 0.0, axis=-1)
    others: FloatArray = (rest.sum(axis=-1, keepdims=True) + (top - weights_G)) / (weights_G.shape[-1] - 1)
    return others


def rank_sums(
    rewards_G: FloatArray, *, own: float = 0.0, above_S: FloatArray | None = None, below_S: FloatArray | None = None
) -> FloatArray:
    """Weigh the steps between sorted rewards, in the order of the rewards.

        A_(i) = own r_(i) + sum_{m >= i} above_m (r_(m+1) - r_(m)) + sum_{m < i} below_m (r_(m+1) - r_(m))

    Written in steps, equal rewards get equal values whatever order the sort leaves them in, and non-negative weights
    sum without cancellation.

    Args:
        rewards_G: Rewards, shape (..., G).
        own: Weight of the reward itself.
        above_S: Weights of the steps above an element, shape (G - 1,).
        below_S: Weights of the steps below an element, shape (G - 1,).

    Returns:
        Shape (..., G).
    """
    order = rewards_G.argsort(axis=-1)
    sorted_rewards = np.take_along_axis(rewards_G, order, axis=-1)
    steps = np.diff(sorted_rewards, axis=-1)
    values = own * sorted_rewards if own else np.zeros_like(sorted_rewards)
    if above_S is not None:
        values[..., :-1] += (steps * above_S)[..., ::-1].cumsum(axis=-1)[..., ::-1]
    if below_S is not None:
        values[..., 1:] += (steps * below_S).cumsum(axis=-1)
    result = np.empty_like(values)
    np.put_along_axis(result, order, values, axis=-1)
    return result
