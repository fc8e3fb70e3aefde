"""What an advantage estimator does: the objective behind it, the prompts it favours, the size of its update.

Shape suffixes: G group (samples of one prompt), N rows of a batch, Q probabilities; `...G` one group or a stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsgrpo_cli.core.group_rewards import exponential_tilt, favoured_reward, finite_rewards

FloatArray = NDArray[np.float64]
AdvantageScale = Literal["none", "rms", "beta"]


def risk_value(rewards_G: ArrayLike, beta: float) -> FloatArray:
    """Risk-sensitive value of a group, the objective of `rs_grpo`.

        J = (1/beta) log mean_j exp(beta r_j)

    The mean at beta = 0, the maximum for beta -> inf, the minimum for beta -> -inf, and in between
    mean + beta/2 variance + O(beta^2); never falls as beta rises. Exact for every finite beta: neither overflows nor
    cancels. A constant or single-element group gets its reward. See https://arxiv.org/abs/2509.24261.

    Args:
        rewards_G: Rewards, shape (..., G), finite.
        beta: Risk sensitivity, any finite number, in units of 1/reward.

    Returns:
        Values in units of reward, shape (...).

    Raises:
        ValueError: If beta or a reward is not finite.
    """
    rewards = finite_rewards(rewards_G)
    growth, weights = exponential_tilt(rewards, beta)
    if beta == 0:
        return np.asarray(growth.mean(axis=-1))
    gain = growth.mean(axis=-1)  # (mean of the weights - 1) / beta
    excess = beta * gain
    # log1p keeps the digits of a mean weight near 1; near 0 the mean itself has more of them.
    logarithm = np.where(excess > -0.5, np.log1p(np.maximum(excess, -0.5)), np.log(weights.mean(axis=-1)))
    shift = np.where(np.abs(excess) < 1e-17, gain, logarithm / beta)
    return np.asarray(favoured_reward(rewards, beta)[..., 0] + shift)


def prompt_weight(estimator: Callable[[FloatArray], FloatArray], p_Q: ArrayLike, group_size: int) -> FloatArray:
    """How much an estimator makes of a prompt that the policy solves with probability p.

        W(p) = E_c[ (c/G) A+(c) / p - (f/G) A-(c) / (1-p) ],   c ~ Bin(G, p),  f = G - c

    The expected update on 0/1 rewards is W(p) grad p, so this one curve tells what any estimator does to them: constant
    for `dr_grpo`, k (1-p)^(k-1) for an unbiased pass@k, 1/p for `max_rl` up to the finite group. Computed as the sum
    over m of Bin(G-1, p)(m) [A+(m+1) - A-(m)], the same without a division by p. `scripts/estimator_page.py` draws it.

    Args:
        estimator: Takes groups (P, G) of 0/1 rewards, returns advantages (P, G) in the mean convention.
        p_Q: Probabilities of a right answer, in [0, 1].
        group_size: G.

    Returns:
        W, shape of p_Q.

    Raises:
        ValueError: If a probability lies outside [0, 1] or group_size < 1.
    """
    p = np.asarray(p_Q, dtype=np.float64)
    if group_size < 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"group_size must be >= 1 and probabilities in [0, 1], not {group_size} and {p}")
    # Row c of the staircase is the group with c successes, which come first.
    advantages = estimator(np.tri(group_size + 1, group_size, -1))
    right, wrong = advantages[:, 0], advantages[:, -1]
    weights: FloatArray = _binomial(group_size - 1, p) @ (right[1:] - wrong[:-1])
    return weights


def _binomial(n: int, p_Q: FloatArray) -> FloatArray:
    """Probabilities of 0..n successes, shape (Q..., n + 1), by logarithms in extended precision."""
    m = np.arange(n + 1, dtype=np.longdouble)
    choose = np.concatenate([[0.0], np.log((n - m[1:] + 1) / m[1:]).cumsum()])
    p = p_Q[..., None].astype(np.longdouble)
    with np.errstate(divide="ignore", invalid="ignore"):
        successes = np.where(m == 0, 0, m * np.log(p))
        failures = np.where(m == n, 0, (n - m) * np.log1p(-p))
    probabilities: FloatArray = np.exp(choose + successes + failures).astype(np.float64)
    return probabilities


def advantage_rms(advantages_N: ArrayLike) -> float:
    """Root mean square of a batch's advantages, sqrt(mean A^2): the scale that multiplies the learning rate.

    Args:
        advantages_N: Advantages, any shape.

    Returns:
        The root mean square; 0 for an empty batch.
    """
    advantages = np.asarray(advantages_N, dtype=np.float64)
    largest = np.abs(advantages).max(initial=0.0)
    # Divided by the largest first: squares of 1e-170 would be 0, squares of 1e170 inf.
    return float(largest * np.sqrt(np.square(advantages / largest).mean())) if largest > 0 else 0.0


def effective_sample_size(advantages_N: ArrayLike) -> float:
    """How many equally weighted samples a batch's update amounts to, (sum |A|)^2 / sum A^2.

    N where all advantages are of one size, 1 where a single one is not zero. The scale of the advantages cancels.

    Args:
        advantages_N: Advantages, any shape.

    Returns:
        Between 1 and N; 0 where all advantages are zero.
    """
    sizes = np.abs(np.asarray(advantages_N, dtype=np.float64))
    largest = sizes.max(initial=0.0)
    if largest == 0:
        return 0.0
    sizes = sizes / largest
    return float(sizes.sum() ** 2 / np.square(sizes).sum())


def scale_advantages(advantages_N: ArrayLike, mode: AdvantageScale, beta: float | None = None) -> FloatArray:
    """Rescale a batch of advantages, so that runs with different beta can share a learning rate.

        none:  A
        rms:   A / sqrt(mean A^2)
        beta:  A max(1, |beta|)

    `rs_grpo` shrinks like 1/|beta|, which lowers the effective learning rate. "rms" makes the size of every batch
    the same, whatever the estimator, and so also undoes the natural decline as prompts are solved; an all-zero batch
    stays zero. "beta" undoes the 1/|beta| alone: beta times A tends to `max_rl` on 0/1 rewards as beta grows. The
    factor is |beta|, not beta, since a negative one would turn the update around, and never less than 1, so that beta
    = 0 is `dr_grpo` unchanged and beta -> 0 continuous; it presumes rewards with a range of about 1, as beta has units
    of 1/reward.

    Args:
        advantages_N: Advantages, any shape, finite.
        mode: "none", "rms" or "beta".
        beta: Risk sensitivity the advantages were made with; needed by "beta" alone.

    Returns:
        Scaled advantages, a new array of the same shape.

    Raises:
        ValueError: If the mode is unknown, or is "beta" without a finite beta.
    """
    advantages = np.array(advantages_N, dtype=np.float64)
    match mode:
        case "none":
            return advantages
        case "rms":
            rms = advantage_rms(advantages)
            return advantages / rms if rms > 0 else advantages
        case "beta":
            if beta is None or not np.isfinite(beta):
                raise ValueError(f"scaling by beta needs a finite beta, not {beta}: other estimators can use 'rms'")
            return advantages * max(1.0, abs(beta))
    raise ValueError(f"mode must be 'none', 'rms' or 'beta', not {mode!r}")
