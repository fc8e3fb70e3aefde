"""The bandit of the RS-GRPO paper (Figure 3): a policy that starts at a local optimum, and the beta it takes to leave.

Many arms, one of which is best (reward 1, arm 40 of 100) and one second best (0.6, arm 75); the initial policy sits on
the second and gives the best one 0.4%. Risk-neutral policy gradient stays there; with beta large enough it leaves,
later the larger beta is, because the advantage shrinks like 1/beta.

The setting is that of the authors' `bandit.py` (https://arxiv.org/abs/2509.24261): rewards without noise, plain
gradient ascent on the logits, the mean gradient over a group of 16 arms drawn from the policy. So is the random stream:
a seed gives the authors' run. All runs, one for each beta and seed, move in step through the same numpy calls.

Shape suffixes: R runs, A arms, G group (arms drawn for one update), T moments at which the runs are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rsgrpo_cli.core.advantages import dr_grpo, rs_grpo

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

GROUP_SIZE = 16
LEARNING_RATE = 0.1
ESCAPED = 0.9
"""A run whose expected reward has come this far has left the local optimum (0.6) for good."""
NEVER = -1
_RECORDED = 1000  # moments of a long run that are kept
_DRAWN_AHEAD = 1024  # updates whose random numbers are drawn at once


@dataclass(frozen=True, slots=True)
class Bandit:
    """Arms with fixed rewards, and the policy to start from.

    Args:
        rewards_A: Reward of each arm.
        initial_A: Probability of each arm under the initial policy.
    """

    rewards_A: FloatArray
    initial_A: FloatArray

    @classmethod
    def of(cls, arms: int) -> Bandit:
        """The paper's bandit, its two hills stretched over so many arms (the paper has 100).

        Raises:
            ValueError: If there are fewer than 2 arms.
        """
        if arms < 2:
            raise ValueError(f"a bandit needs at least 2 arms, not {arms}")
        x_A = np.arange(arms) * (100 / arms)
        rewards_A = 0.1 + 0.9 * np.exp(-((x_A - 40) ** 2) / 50) + 0.5 * np.exp(-((x_A - 75) ** 2) / 50)
        weights_A = np.exp(-0.5 * ((x_A - 75) / 5) ** 2) + 0.1
        return cls(rewards_A, _softmax(np.log(weights_A / weights_A.sum() + 1e-8)))


@dataclass(frozen=True, slots=True)
class BanditRuns:
    """What came of a run for each beta and seed.

    Args:
        bandit: What was played.
        beta_R: Risk sensitivity of each run.
        seed_R: Seed of each run.
        samples_T: Arms drawn so far, at each moment recorded; the first is 0, the last the end.
        reward_TR: Expected reward of the policy at these moments.
        entropy_TR: Its entropy in nats.
        policy_RA: The final policy.
        escaped_R: Arms drawn until the expected reward first reached `ESCAPED`; `NEVER` where it did not.
    """

    bandit: Bandit
    beta_R: FloatArray
    seed_R: IntArray
    samples_T: IntArray
    reward_TR: FloatArray
    entropy_TR: FloatArray
    policy_RA: FloatArray
    escaped_R: IntArray


def play(
    bandit: Bandit,
    betas: Sequence[float],
    seeds: Sequence[int],
    samples: int,
    progress: Callable[[int], object] = lambda samples: None,
) -> BanditRuns:
    """Train a policy for each beta and seed on sampled groups of 16 arms.

    Runs of one seed draw the same uniform numbers, whatever their beta.

    Args:
        bandit: The arms and the initial policy.
        betas: Risk sensitivities, finite.
        seeds: Seeds from 0 to 2**32 - 2.
        samples: Arms that each run draws; what does not fill a group at the end is not drawn.
        progress: Told now and then how many arms each run has drawn since it was told last.

    Raises:
        ValueError: If there is no beta, no seed, or not a group of samples; if a beta is not finite.
    """
    updates = samples // GROUP_SIZE
    if not betas or not seeds or updates < 1:
        raise ValueError(f"a run needs a beta, a seed and at least {GROUP_SIZE} samples")
    if not np.isfinite(betas).all():
        raise ValueError(f"every beta must be finite, not {betas}")
    beta_R, seed_R = (np.array(column) for column in zip(*product(betas, seeds), strict=True))
    beta_R = beta_R.astype(np.float64)
    logits_RA = np.tile(_centred_log(bandit.initial_A), (len(beta_R), 1))
    record = _Record(bandit.rewards_A, updates, len(beta_R))
    streams = [np.random.RandomState(seed + 1) for seed in seeds]
    uniform_TRG = np.empty((0,))
    for update in range(updates):
        policy_RA = _softmax(logits_RA)
        record.take(update, policy_RA)
        at = update % _DRAWN_AHEAD
        if at == 0:
            uniform_TRG = _uniform(streams, len(betas))
            progress(min(_DRAWN_AHEAD, updates - update) * GROUP_SIZE)
        arms_RG = _draw(policy_RA, uniform_TRG[at])
        advantages_RG = _advantages(bandit.rewards_A[arms_RG], beta_R)
        logits_RA += LEARNING_RATE * _gradient(arms_RG, advantages_RG, policy_RA)
    policy_RA = _softmax(logits_RA)
    record.take(updates, policy_RA)
    return BanditRuns(
        bandit, beta_R, seed_R, record.samples_T, record.reward_TR, record.entropy_TR, policy_RA, record.escaped_R
    )


def play_exactly(bandit: Bandit, betas: Sequence[float], updates: int) -> FloatArray:
    """Follow the exact gradient of (1/beta) log E exp(beta r), as if every group held all arms in due proportion.

        d J / d logit_a = pi_a A_a,    A_a = (exp(beta r_a) / E_pi exp(beta r) - 1) / beta

    What a beta does in a group of 16 differs from this: a group seldom holds the best arm, and where it does its own
    mean in the denominator shrinks that arm's advantage.

    Args:
        bandit: The arms and the initial policy.
        betas: Risk sensitivities, finite.
        updates: Steps of gradient ascent.

    Returns:
        The final policy for each beta, shape (len(betas), A).
    """
    beta_R1 = np.array(betas, dtype=np.float64)[:, None]
    rewards_A = bandit.rewards_A
    favoured_R1 = np.where(beta_R1 > 0, rewards_A.max(), rewards_A.min())
    neutral = beta_R1 == 0
    safe_R1 = np.where(neutral, 1.0, beta_R1)
    # A = (growth - E growth) / E weight, as in core.group_rewards.exponential_tilt: no overflow, no cancellation.
    growth_RA = np.where(neutral, rewards_A, np.expm1(beta_R1 * (rewards_A - favoured_R1)) / safe_R1)
    weight_RA = np.exp(beta_R1 * (rewards_A - favoured_R1))
    logits_RA = np.tile(_centred_log(bandit.initial_A), (len(betas), 1))
    for _ in range(updates):
        policy_RA = _softmax(logits_RA)
        growth_R1 = np.vecdot(policy_RA, growth_RA)[:, None]
        weight_R1 = np.vecdot(policy_RA, weight_RA)[:, None]
        logits_RA += LEARNING_RATE * policy_RA * (growth_RA - growth_R1) / weight_R1
    return _softmax(logits_RA)


def tables(runs: BanditRuns, exact_RA: FloatArray) -> dict[str, pa.Table]:
    """The runs as tables of `schemas.BANDIT_RUNS`, `BANDIT_CURVES` and `BANDIT_POLICIES`, under these names.

    Args:
        runs: What `play` returned; betas and seeds in rising order.
        exact_RA: What `play_exactly` makes of each run's beta.
    """
    moments, arms = len(runs.samples_T), len(runs.bandit.rewards_A)
    of_runs = {
        "beta": runs.beta_R,
        "seed": runs.seed_R,
        "expected_reward": runs.reward_TR[-1],
        "entropy": runs.entropy_TR[-1],
        "best_arm": runs.policy_RA.argmax(axis=-1),
        "samples_to_escape": pa.array(runs.escaped_R, mask=runs.escaped_R == NEVER),
        "exact_expected_reward": exact_RA @ runs.bandit.rewards_A,
    }
    curves = _keys(runs, moments) | {
        "samples": np.tile(runs.samples_T, len(runs.beta_R)),
        "expected_reward": runs.reward_TR.T.ravel(),
        "entropy": runs.entropy_TR.T.ravel(),
    }
    policies = _keys(runs, arms) | {
        "arm": np.tile(np.arange(arms), len(runs.beta_R)),
        "reward": np.tile(runs.bandit.rewards_A, len(runs.beta_R)),
        "initial_probability": np.tile(runs.bandit.initial_A, len(runs.beta_R)),
        "probability": runs.policy_RA.ravel(),
        "exact_probability": exact_RA.ravel(),
    }
    return {"runs": pa.table(of_runs), "curves": pa.table(curves), "policies": pa.table(policies)}


def _keys(runs: BanditRuns, rows: int) -> dict[str, FloatArray | IntArray]:
    return {"beta": np.repeat(runs.beta_R, rows), "seed": np.repeat(runs.seed_R, rows)}


class _Record:
    """What is kept of runs under way: the moment of escape exactly, all else at about a thousand moments."""

    def __init__(self, rewards_A: FloatArray, updates: int, runs: int) -> None:
        self._rewards_A = rewards_A
        stride = -(-updates // _RECORDED)
        self._moments_T = np.unique(np.r_[0 : updates + 1 : stride, updates])
        self._next = 0
        self.samples_T: IntArray = self._moments_T * GROUP_SIZE
        self.reward_TR = np.empty((len(self._moments_T), runs))
        self.entropy_TR = np.empty((len(self._moments_T), runs))
        self.escaped_R: IntArray = np.full(runs, NEVER)

    def take(self, update: int, policy_RA: FloatArray) -> None:
        reward_R = policy_RA @ self._rewards_A
        self.escaped_R[(reward_R >= ESCAPED) & (self.escaped_R == NEVER)] = update * GROUP_SIZE
        if update == self._moments_T[self._next]:
            self.reward_TR[self._next] = reward_R
            self.entropy_TR[self._next] = _entropy(policy_RA)
            self._next += 1


def _softmax(logits: FloatArray) -> FloatArray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    policy: FloatArray = weights / weights.sum(axis=-1, keepdims=True)
    return policy


def _centred_log(policy_A: FloatArray) -> FloatArray:
    logits_A = np.log(policy_A)
    centred: FloatArray = logits_A - logits_A.mean()
    return centred


def _entropy(policy_RA: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms_RA = np.where(policy_RA > 0, policy_RA * np.log(policy_RA), 0.0)
    entropy_R: FloatArray = -terms_RA.sum(axis=-1)
    return entropy_R


def _uniform(streams: list[np.random.RandomState], betas: int) -> FloatArray:
    """Uniform numbers for the next updates, (T, R, G): the same for all betas of a seed."""
    drawn = [stream.random_sample((_DRAWN_AHEAD, GROUP_SIZE)) for stream in streams]
    return np.tile(np.stack(drawn, axis=1), (1, betas, 1))


def _draw(policy_RA: FloatArray, uniform_RG: FloatArray) -> IntArray:
    """Arms by inverting the distribution function, as `RandomState.choice` does, for all runs in one search.

    The runs' functions are laid end to end, run r from r to r + 1, which makes one sorted array.
    """
    runs, arms = policy_RA.shape
    cdf_RA = policy_RA.cumsum(axis=-1)
    cdf_RA /= cdf_RA[:, -1:]
    offset_R1 = np.arange(runs)[:, None]
    found_RG = np.searchsorted((cdf_RA + offset_R1).ravel(), uniform_RG + offset_R1, side="right")
    # u + r may round up to r + 1, beyond the run's last arm.
    arms_RG: IntArray = np.minimum(found_RG - offset_R1 * arms, arms - 1)
    return arms_RG


def _advantages(rewards_RG: FloatArray, beta_R: FloatArray) -> FloatArray:
    """`rs_grpo` of every run in one call, whatever their betas: A_beta(r) = A_1(beta r) / beta."""
    risky_R = beta_R != 0
    advantages_RG = np.empty_like(rewards_RG)
    advantages_RG[~risky_R] = dr_grpo(rewards_RG[~risky_R])
    beta_R1 = beta_R[risky_R, None]
    advantages_RG[risky_R] = rs_grpo(beta_R1 * rewards_RG[risky_R], beta=1.0) / beta_R1
    return advantages_RG


def _gradient(arms_RG: IntArray, advantages_RG: FloatArray, policy_RA: FloatArray) -> FloatArray:
    """(1/G) sum_i A_i grad log pi(a_i), where grad log pi(a) = onehot(a) - pi."""
    runs, arms = policy_RA.shape
    cells = (arms_RG + np.arange(runs)[:, None] * arms).ravel()
    summed_RA = np.bincount(cells, weights=advantages_RG.ravel(), minlength=runs * arms).reshape(runs, arms)
    # The advantages of a group sum to zero, and with them the term with pi.
    return summed_RA / GROUP_SIZE
