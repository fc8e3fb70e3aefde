"""Advantage estimators that look at the steps before: betas that move, FADE, CurveRL.

They see a whole step at once, 0/1 rewards in groups of any sizes, and its `History`, which is of earlier steps alone:
nothing here depends on the rewards that it weighs, but for their own accuracy. All have one form,

    A_i = w (r_i - b),    divided by delta where it is negative

with a weight w and a baseline b for each group. A group of one gets 0.

Shape suffixes: N completions, K groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsgrpo_cli.core.group_rewards import binary_rewards
from rsgrpo_cli.core.grouping import Groups
from rsgrpo_cli.core.history import History
from rsgrpo_cli.core.schedules import beta_by_solve_rate

FloatArray = NDArray[np.float64]
Law = Literal["frontier", "frontier_sign", "solve_rate", "entropy", "per_prompt", "shrunk"]

FRONTIER = 0.25
"""The quantile of the pass rates that counts as the frontier."""
LARGEST_BETA = 8.0
"""Of the laws that go by pass rates: at 16 samples rs_grpo is max_rl from here on."""
LARGEST_BETA_BY_ENTROPY = 12.0
PRIOR_COMPLETIONS = 4.0
"""Completions that the rate which `beta` stands for counts as, beside a prompt's earlier visits."""


class Batch:
    """The groups of a step.

    Args:
        groups: Where they stand.
        prompts_K: The prompt of each.
        rewards_N: 0 or 1 each, shape (N,).
        estimator: Who asks, for the message.

    Raises:
        ValueError: If a reward is neither 0 nor 1.
    """

    def __init__(self, groups: Groups, prompts_K: Sequence[str], rewards_N: ArrayLike, estimator: str) -> None:
        self.groups, self.prompts_K = groups, prompts_K
        self.rewards_N = binary_rewards(rewards_N, estimator) if groups.sizes_K.size else np.zeros(0)
        self.sizes_K: FloatArray = groups.sizes_K.astype(np.float64)
        self.group_N = np.repeat(np.arange(len(self.sizes_K)), groups.sizes_K)
        right_K = np.bincount(self.group_N, self.rewards_N, minlength=len(self.sizes_K))
        self.right_K: FloatArray = right_K.astype(np.float64)
        self.rates_K: FloatArray = self.right_K / self.sizes_K


@dataclass(frozen=True, slots=True)
class Weighing:
    """What an estimator makes of the groups of a step.

    Args:
        weight_K: w of each group.
        baseline_K: b of each group.
        delta: What negative advantages are divided by.
        used: What it came to in this step, by name: beta, alpha, delta.
    """

    weight_K: FloatArray
    baseline_K: FloatArray
    delta: float = 1.0
    used: Mapping[str, float] = field(default_factory=dict)

    def advantages(self, batch: Batch) -> FloatArray:
        """One per completion, shape (N,)."""
        weight_K = np.where(batch.sizes_K > 1, self.weight_K, 0.0)
        values_N = weight_K[batch.group_N] * (batch.rewards_N - self.baseline_K[batch.group_N])
        return np.where(values_N < 0, values_N / self.delta, values_N)


def rs_grpo_moving(
    batch: Batch, history: History, *, law: Law = "frontier", beta: float = 2.0, beta_end: float | None = None
) -> Weighing:
    """`rs_grpo` on 0/1 rewards, with a beta that follows the run.

        A_i = w_beta(p) (r_i - p),    w_beta(p) = (e^beta - 1) / (beta (1 + p (e^beta - 1)))

        frontier:       beta = clip(2 log((1 - q) / q), 0, 8), q the 25% quantile of the pass rates in (0, 1) of the
                        last 10 steps: the beta at which prompts of rate q get the largest signal p (1 - p) w_beta(p)
        frontier_sign:  the same, and negative advantages divided by the delta of `fade`
        solve_rate:     beta + (beta_end - beta) P, P the running solve rate
        entropy:        clip(beta (H_0 / H)^2, 0, 12), H the running entropy, H_0 the first
        per_prompt:     2 log((1 - p') / p') clipped to [0, 8] for each prompt, p' its rate in earlier visits, with the
                        rate that `beta` stands for, 1 / (1 + e^(beta/2)), as 4 completions more
        shrunk:         beta as it is, and p~ in place of p, both as weight and as baseline: p~ counts the prompt's
                        earlier visits as well. So an all-wrong group of a prompt that was solved once pushes away from
                        its answers, and an all-right one still pulls a little

    The laws are of this project. While nothing is known yet, beta is `beta`. The paper's appendix
    (https://arxiv.org/abs/2509.24261) found no schedule better than a fixed beta, but let the size of the step change
    with it: compare at `scale` "rms".

    Args:
        batch: The groups.
        history: Of the steps before.
        law: How beta moves.
        beta: Where it starts, >= 0, in units of 1/reward.
        beta_end: Where law "solve_rate" ends, at a solve rate of 1.

    Returns:
        Weights, with "beta" as used; for law "per_prompt" its mean over the groups, "beta_min" and "beta_max".

    Raises:
        ValueError: If beta < 0, the law is unknown, or "solve_rate" has no end.
    """
    if not (0 <= beta < np.inf and (beta_end is None or 0 <= beta_end < np.inf)):
        raise ValueError(f"beta and beta_end must be finite and >= 0, not {beta} and {beta_end}")
    rates_K, delta = batch.rates_K, 1.0
    betas: float | FloatArray
    match law:
        case "frontier" | "frontier_sign":
            betas = _frontier_beta(history, beta)
            delta = _delta(history) if law == "frontier_sign" else 1.0
        case "solve_rate":
            if beta_end is None:
                raise ValueError("law 'solve_rate' needs beta_end")
            betas = beta_by_solve_rate(beta, beta_end, history.solve_rate)
        case "entropy":
            betas = _entropy_beta(history, beta)
        case "per_prompt":
            betas = _prompt_betas(batch, history, beta)
        case "shrunk":
            right_K, completions_K = history.counts(batch.prompts_K)
            rates_K, betas = (batch.right_K + right_K) / (batch.sizes_K + completions_K), beta
        case _:
            raise ValueError(f"unknown law {law!r}")
    weight_K = risk_weight(rates_K, betas)
    return Weighing(weight_K, rates_K, delta, _used(betas, delta if law == "frontier_sign" else None))


def fade(batch: Batch, history: History) -> Weighing:
    """FADE: `power` with an exponent that falls as more is solved, and harder punishment once the entropy is low.

        A_i = (1 - p)^(alpha - 1) (r_i - p),    negative ones divided by delta
        alpha = clip(3 (1 - P) / (2 P), 1, 3),  delta = clip(1 + H - H_0 / 2, 0.3, 1)

    P is the running solve rate (a step counts 0.02, start 0.5), H the running entropy in nats per token, H_0 the first.
    See FADE (https://arxiv.org/abs/2607.01490), known here from notes on the paper alone. What could not be verified:
    the coefficient of the running entropy (0.1 here), whether the means include the step itself (here not), and
    the target entropy, "about half the initial one". A group of equal rewards gets zeros.

    Args:
        batch: The groups.
        history: Of the steps before.

    Returns:
        Weights, with "alpha" and "delta".
    """
    solved = max(history.solve_rate, 1e-12)
    alpha = float(np.clip(3 * (1 - solved) / (2 * solved), 1, 3))
    delta = _delta(history)
    weight_K = (1 - batch.rates_K) ** (alpha - 1)
    return Weighing(weight_K, batch.rates_K, delta, {"alpha": alpha, "delta": delta})


def curve_rl(batch: Batch, history: History) -> Weighing:
    """CurveRL: a prompt counts by how many of the prompts that are no easier are like it.

        A_i = f(p) / F(p) (r_i - p)

    f is the histogram of the pass rates in (0, 1) of the last 10 steps over G + 1 bins, F its cumulative sum; in the
    first step, which has none before it, those of the step itself. Where all rates are equally frequent it is `max_rl`,
    1/p. A rate that the last steps have not seen gets 0, as do groups of equal rewards. See CurveRL
    (https://arxiv.org/abs/2605.24331); as in its code (github.com/zhyzmath/CurveRL, e98468b).

    Args:
        batch: The groups.
        history: Of the steps before.

    Returns:
        Weights.
    """
    rates_K, mixed_K = batch.rates_K, (batch.rates_K > 0) & (batch.rates_K < 1)
    known = history.rates()
    reference = known if known.size else rates_K[mixed_K]
    bins = int(batch.groups.sizes_K.max(initial=1)) + 1
    counts = np.bincount(_bin(reference, bins), minlength=bins).astype(np.float64)
    below = counts.cumsum()
    ratio = np.divide(counts, below, out=np.zeros(bins), where=below > 0)
    return Weighing(np.where(mixed_K, ratio[_bin(rates_K, bins)], 0.0), rates_K)


def risk_weight(rates: ArrayLike, beta: ArrayLike) -> FloatArray:
    """The weight that `rs_grpo` gives to a group of 0/1 rewards: (e^beta - 1) / (beta (1 + p (e^beta - 1))).

    Args:
        rates: p, in [0, 1].
        beta: Of all groups or of each, >= 0; 0 gives 1.

    Returns:
        Shape of `rates`.
    """
    p, b = np.broadcast_arrays(np.asarray(rates, np.float64), np.asarray(beta, np.float64))
    # Divided through by e^beta, which overflows; (1 - e^-beta) / beta tends to 1.
    share = -np.expm1(-b)
    start = np.divide(share, b, out=np.ones_like(p), where=b > 0)
    # At a rate of 0 nothing is left of it for a large beta; there is no advantage either, whatever the weight.
    return np.asarray(start / np.maximum(np.exp(-b) + p * share, np.finfo(np.float64).tiny))


def _frontier_beta(history: History, beta: float) -> float:
    rates = history.rates()
    return float(beta_of_rate(np.quantile(rates, FRONTIER))) if rates.size else beta


def beta_of_rate(rate: ArrayLike) -> FloatArray:
    """The beta whose signal p (1 - p) w_beta(p) is largest at this rate: 2 log((1 - p) / p), in [0, LARGEST_BETA]."""
    p = np.asarray(rate, np.float64)
    return np.asarray(np.clip(2 * (np.log1p(-p) - np.log(p)), 0, LARGEST_BETA))


def _entropy_beta(history: History, beta: float) -> float:
    if history.entropy is None or history.first_entropy is None:
        return min(beta, LARGEST_BETA_BY_ENTROPY)
    ratio = history.first_entropy / max(history.entropy, 1e-12)
    return min(beta * ratio**2, LARGEST_BETA_BY_ENTROPY)


def _prompt_betas(batch: Batch, history: History, beta: float) -> FloatArray:
    right_K, completions_K = history.counts(batch.prompts_K)
    prior = PRIOR_COMPLETIONS / (1 + np.exp(min(beta, LARGEST_BETA) / 2))
    return beta_of_rate((right_K + prior) / (completions_K + PRIOR_COMPLETIONS))


def _delta(history: History) -> float:
    if history.entropy is None or history.first_entropy is None:
        return 1.0
    return float(np.clip(1 + history.entropy - history.first_entropy / 2, 0.3, 1))


def _used(betas: float | FloatArray, delta: float | None) -> dict[str, float]:
    values = np.atleast_1d(betas)
    used = {"beta": float(values.mean())} if values.size else {}
    if np.ndim(betas) and values.size:
        used |= {"beta_min": float(values.min()), "beta_max": float(values.max())}
    return used | ({} if delta is None else {"delta": delta})


def _bin(rates: FloatArray, bins: int) -> NDArray[np.int64]:
    return np.clip(np.floor(rates * bins), 0, bins - 1).astype(np.int64)
