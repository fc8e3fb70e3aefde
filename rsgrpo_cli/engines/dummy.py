"""The `dummy` engine, for tests of the other stages: it has no model and makes its text up.

A completion is a boxed small number or a fragment without a box, drawn from the seed alone, so that every part of the
pipeline sees right answers, wrong ones and ones without an answer. Tokens are the bytes of the text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rsgrpo_cli.engines.types import Generation, Sampling
from rsgrpo_cli.seeding import uniforms


class DummyEngine:
    """Samples from no policy at all."""

    name = "dummy"

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return list("\n".join(message["content"] for message in messages).encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        return bytes(token_ids).decode(errors="replace")

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[list[Generation]]:
        return [[_completion(seed, sampling) for seed in own] for own in seeds]

    def close(self) -> None:
        """Nothing to free."""


def _completion(seed: int, sampling: Sampling) -> Generation:
    kind, number = uniforms(seed, 2)
    text = f"\\boxed{{{int(number * 10)}}}" if kind < 0.9 else "I do not know."
    ids = list(text.encode())
    reason = "stop" if len(ids) <= sampling.max_tokens else "length"
    ids = ids[: sampling.max_tokens]
    return Generation(ids, [-math.log(10)] * len(ids), reason)
