"""What an update learns from: the completions of a step, and which of them each optimizer step takes.

Shape suffixes: N completions, K groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.policy.batches import Ragged
from rsgrpo_cli.seeding import stable_seed


@dataclass(frozen=True, slots=True)
class Experience:
    """Completions in whole groups, one entry per completion: a row number means the same in every field.

    Args:
        prompts: Token ids.
        completions: Token ids.
        sampling_logprobs: What the sampler said of each completion token; not finite where it said nothing usable.
        advantages: One number per completion.
        group_N: A number for each completion's group.
        counted_N: Whether a completion counts in the averages; a truncated one that is masked does not.
        temperature: What they were sampled at.
        max_tokens: The longest a completion may be.
        correct_sampler: Whether the sampler was not the trainer, so that its probabilities may differ.
        has_penalty: Whether every group has a gradient, from a KL penalty or an entropy bonus.
        policy_logprobs: Of each completion token under the policy at the start of the update, empty for completions
            without a gradient. None where this is the update's only step: then they are what the step itself finds.
    """

    prompts: Ragged
    completions: Ragged
    sampling_logprobs: Ragged
    advantages: NDArray[np.float64]
    group_N: NDArray[np.int64]
    counted_N: NDArray[np.bool_]
    temperature: float
    max_tokens: int
    correct_sampler: bool
    has_penalty: bool = False
    policy_logprobs: Ragged | None = None

    def take(self, rows: Sequence[int]) -> Experience:
        """Some of the completions, in this order; groups stay whole."""

        def some(column: Ragged) -> Ragged:
            return [column[row] for row in rows]

        return replace(
            self,
            prompts=some(self.prompts),
            completions=some(self.completions),
            sampling_logprobs=some(self.sampling_logprobs),
            advantages=self.advantages[rows],
            group_N=self.group_N[rows],
            counted_N=self.counted_N[rows],
            policy_logprobs=None if self.policy_logprobs is None else some(self.policy_logprobs),
        )

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt and completion together."""
        return [len(p) + len(c) for p, c in zip(self.prompts, self.completions, strict=True)]

    @property
    def tokens(self) -> int:
        """Completion tokens that the averages are taken over."""
        return sum(len(c) for c, counted in zip(self.completions, self.counted_N, strict=True) if counted)

    @property
    def active_N(self) -> NDArray[np.bool_]:
        """Which completions are in a group with a gradient: not all of its advantages are zero."""
        if self.has_penalty:
            return np.ones(len(self.group_N), dtype=bool)
        _, numbers_N = np.unique(self.group_N, return_inverse=True)
        size_K = np.bincount(numbers_N, weights=np.abs(self.advantages) * self.counted_N)
        active_N: NDArray[np.bool_] = (size_K > 0)[numbers_N]
        return active_N

    @property
    def gradient_N(self) -> NDArray[np.bool_]:
        """Which completions go through the model: those that count, in groups with a gradient, with at least a token.

        The others have no gradient and nothing to sum.
        """
        has_tokens_N = np.array([len(completion) > 0 for completion in self.completions], dtype=bool)
        gradient_N: NDArray[np.bool_] = self.active_N & self.counted_N & has_tokens_N
        return gradient_N

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(np.unique(self.group_N))

    @property
    def groups_dropped(self) -> int:
        """How many of them have no gradient."""
        return self.groups - len(np.unique(self.group_N[self.active_N]))


def minibatches(experience: Experience, cfg: UpdateConfig, *, seed: int, version: int) -> Iterator[Experience]:
    """Deal the groups out to the optimizer steps of an update, anew in every epoch; a group is never split.

    Groups with a gradient are dealt first: the numbers that two optimizer steps get of them differ by one at most.
    A step that gets none changes nothing, but is there: the learning rate depends on the number of optimizer steps
    before it.

    Args:
        experience: All that the update learns from.
        cfg: How many steps and epochs.
        seed: The run's.
        version: Of the policy that is updated.
    """
    groups_K = np.unique(experience.group_N)
    active_K = np.isin(groups_K, experience.group_N[experience.active_N])
    for epoch in range(cfg.epochs):
        order_K = np.arange(len(groups_K))
        if cfg.minibatches > 1:
            key = stable_seed(seed, version, "minibatches", epoch)
            order_K = np.random.Generator(np.random.Philox(key=key)).permutation(len(groups_K))
            order_K = order_K[np.argsort(~active_K[order_K], kind="stable")]
        for first in range(cfg.minibatches):
            member_N = np.isin(experience.group_N, groups_K[order_K[first :: cfg.minibatches]])
            yield experience.take(np.flatnonzero(member_N).tolist())
