"""What an engine is, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn.

    Args:
        temperature: Divides the logits, > 0.
        top_p: Keeps the smallest set of tokens with this much probability; 1 keeps all.
        max_tokens: A completion is cut after so many tokens.
    """

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion.

    Args:
        token_ids: Its tokens, the stop token included.
        logprobs: Natural log of each token's probability under what it was drawn from.
        finish_reason: "stop", or "length" where it was cut.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str


class Engine(Protocol):
    """A sampler over one policy."""

    name: str
    samples_as_trainer: bool
    """Whether it computes with the trainer's own weights and code, so that no importance correction is due."""

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a chat, ready to be continued."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a completion, without special tokens."""
        ...

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[list[Generation]]:
        """Complete every prompt once for each of its seeds.

        Args:
            prompts: Token ids of P prompts.
            seeds: For each prompt, a seed a completion; equal seeds give equal completions, whatever the batch.
            sampling: How to draw.

        Returns:
            For each prompt its completions, in the order of the seeds.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...
