"""What an engine is, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

from rsgrpo_cli.probe import Probe


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


class WeightSpan(TypedDict):
    """Tokens `[start, end)` of a completion, and the weights that they were sampled with."""

    version: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion.

    Args:
        token_ids: Its tokens, the stop token included.
        logprobs: Natural log of each token's probability under what it was drawn from.
        finish_reason: "stop", or "length" where it was cut.
        weight_versions: Where the sampler says it: the id of the weights, and from which token to which it had them.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str
    weight_versions: list[WeightSpan] | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """A policy on disk, for a sampler with weights of its own.

    Args:
        policy: The policy's id.
        directory: Of the model, or of the adapter; needed only while it is being loaded.
        is_adapter: Which of the two.
        probe: What the trainer says of the policy.
    """

    policy: str
    directory: Path
    is_adapter: bool
    probe: Probe


class Engine(Protocol):
    """A sampler over one policy."""

    name: str

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a chat, ready to be continued."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a prompt or completion, without the tokens that begin, end or pad it."""
        ...

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[list[Generation]]:
        """Complete every prompt once for each of its seeds.

        Args:
            prompts: Token ids of P prompts.
            seeds: For each prompt, a seed a completion; equal seeds give equal completions, whatever the batch (of
                the vllm engine: except for rounding, see there).
            sampling: How to draw.

        Returns:
            For each prompt its completions, in the order of the seeds.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class LoadableEngine(Engine, Protocol):
    """A sampler with weights of its own, which have to be brought up to date."""

    policy: str | None
    """The id of the policy that it has loaded."""

    def load(self, weights: Weights) -> None:
        """Load a policy and make sure that it is that one; wakes a sleeping sampler.

        Raises:
            EngineError: If it samples from something else afterwards.
        """
        ...

    def sleep(self) -> None:
        """Give the GPU to the trainer until the next `load`."""
        ...
