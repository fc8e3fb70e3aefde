"""Which completions each optimizer step of an update learns from.

Shape suffixes: N completions of the update, K groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.seeding import stable_seed


@dataclass(frozen=True, slots=True)
class Completions:
    """The completions of an update.

    Args:
        group_N: Number of each one's group, 0 to K - 1.
        counted_N: Whether it counts; those masked for being truncated do not.
        active_K: Whether a group has any gradient.
    """

    group_N: NDArray[np.int64]
    counted_N: NDArray[np.bool_]
    active_K: NDArray[np.bool_]

    @property
    def gradient_N(self) -> NDArray[np.bool_]:
        """Which completions go through the model."""
        return self.active_K[self.group_N] & self.counted_N


@dataclass(frozen=True, slots=True)
class Minibatch:
    """What one optimizer step learns from.

    Args:
        counted: Rows that count in the averages, in order.
        groups: How many groups it has.
        dropped: How many of them have no gradient.
    """

    counted: NDArray[np.int64]
    groups: int
    dropped: int


def minibatches(completions: Completions, cfg: UpdateConfig, *, seed: int, version: int) -> Iterator[Minibatch]:
    """Deal the groups out to the optimizer steps of an update, at random and anew every epoch; a group is never split.

    Those with a gradient are dealt first, so that every step learns from as many of them, give or take one. A step that
    gets none changes nothing, but is there: the learning rate depends on the number of optimizer steps before it.

    Args:
        completions: Those of the update.
        cfg: How many steps and epochs.
        seed: The run's.
        version: Of the policy that is updated.
    """
    size = len(completions.active_K)
    for epoch in range(cfg.epochs):
        order_K = np.arange(size)
        if cfg.minibatches > 1:
            key = stable_seed(seed, version, "minibatches", epoch)
            order_K = np.random.Generator(np.random.Philox(key=key)).permutation(size)
            order_K = order_K[np.argsort(~completions.active_K[order_K], kind="stable")]
        for first in range(cfg.minibatches):
            groups = order_K[first :: cfg.minibatches]
            member_N = np.isin(completions.group_N, groups) & completions.counted_N
            yield Minibatch(np.flatnonzero(member_N), len(groups), int((~completions.active_K[groups]).sum()))
