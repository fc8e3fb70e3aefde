"""What a policy says of completion tokens, gathered over the micro-batches and the ranks that it was asked in.

Shape suffix: N completion tokens laid end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rsgrpo_cli.policy.batches import Ragged
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.sharding import Ranks


class Said:
    """Log-probabilities and entropies as micro-batches give them: 8 bytes a token, on the device until all are there.

    To fetch them one by one would make the host wait for every micro-batch.
    """

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._parts_N2: list[torch.Tensor] = []

    def add(self, rows: Sequence[int], logprobs_N: torch.Tensor, entropy_N: torch.Tensor) -> None:
        """Keep what was said of a micro-batch.

        Args:
            rows: Its completions.
            logprobs_N: Of their tokens, in nats.
            entropy_N: Of the distributions that these were chosen from, in nats.
        """
        self._rows.extend(rows)
        self._parts_N2.append(torch.stack([logprobs_N.detach(), entropy_N.detach()], dim=1))

    def clear(self) -> None:
        """Forget all of it."""
        self._rows.clear()
        self._parts_N2.clear()

    def of(self, experience: Experience, ranks: Ranks | None) -> Ragged:
        """All of it, in one transfer from the device; every rank must ask.

        Returns:
            One float32 array of shape (tokens, 2) per completion, without rows for those that nothing was said of.
        """
        made: list[NDArray[Any]] = [np.zeros((0, 2), np.float32)] * len(experience.completions)
        if self._parts_N2:
            said_N2 = torch.cat(self._parts_N2).cpu().numpy()
            ends = np.cumsum([len(experience.completions[row]) for row in self._rows])
            for row, own in zip(self._rows, np.split(said_N2, ends[:-1]), strict=True):
                made[row] = own
        return made if ranks is None else _filled(ranks.gather(made))


def _filled(parts: Sequence[list[NDArray[Any]]]) -> Ragged:
    """The rows of every rank in one list: of the first that has them, so that all ranks have the same."""
    return [next((own for own in row if len(own)), row[0]) for row in zip(*parts, strict=True)]
