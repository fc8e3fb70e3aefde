"""The `dummy` engine, for tests of the other stages: it has no model and makes its text up.

A completion is a boxed small number or a fragment without a box, drawn from the seed alone, so that every part of the
pipeline sees right answers, wrong ones and ones without an answer. Tokens are the bytes of the text.

It can be slow on purpose, so that the queue of parts can be timed: with RSGRPO_DUMMY_SECONDS=0.5 a prompt takes half a
second on average, in which nothing is computed (benchmarks/cluster_simulation.py).
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence

from rsgrpo_cli.engines.types import Generation, Sampling
from rsgrpo_cli.errors import UsageError
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
        time.sleep(sum(wait(own[0]) for own in seeds))
        return [[_completion(seed, sampling) for seed in own] for own in seeds]

    def close(self) -> None:
        """Nothing to free."""


def wait(seed: int, mean: float | None = None) -> float:
    """Seconds that a prompt takes: from an exponential distribution, by the seed of its first completion.

    Args:
        seed: Of that.
        mean: Of all prompts; as the environment says unless given, and 0 where it says nothing.

    Raises:
        UsageError: If the environment says something that is no number of seconds.
    """
    if mean is None:
        said = os.environ.get("RSGRPO_DUMMY_SECONDS", "").strip() or "0"
        mean = float(said) if re.fullmatch(r"\d+(\.\d+)?", said) else -1.0
        if mean < 0:
            raise UsageError(f"RSGRPO_DUMMY_SECONDS={said} is not a number of seconds", "unset it, or set it to 0.5")
    return -mean * math.log1p(-uniforms(seed, 3)[2]) if mean else 0.0


def _completion(seed: int, sampling: Sampling) -> Generation:
    kind, number = uniforms(seed, 2)
    text = f"\\boxed{{{int(number * 10)}}}" if kind < 0.9 else "I do not know."
    ids = list(text.encode())
    reason = "stop" if len(ids) <= sampling.max_tokens else "length"
    ids = ids[: sampling.max_tokens]
    return Generation(ids, [-math.log(10)] * len(ids), reason)
