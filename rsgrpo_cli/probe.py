"""Fingerprint of a policy: log-probabilities of a fixed text, computed by the trainer, checked against the sampler.

The trainer takes one whenever it saves a policy. A sampler that has loaded that policy must give the same numbers; one
that still has older weights does not. See `require_same` for how sharp that is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rsgrpo_cli.errors import ArtifactError, EngineError

TEXT = "Make 24 from 3 5 7 2. 3*5+7+2 is 24. Compute 3*(7-2)+4. It is 19. The answer is \\boxed{19}."
MAX_TOKENS = 60
"""A probe is cut to so many tokens, so that every sampler has room for it."""

TOLERANCE = {"float64": 1e-3, "float32": 1e-3, "bfloat16": 0.2, "float16": 0.05}
"""How far two computations of one policy may be apart, as a mean over the probe's tokens, in nats.

Measured with vLLM 0.32 on a CPU, same weights: 2e-6 in float32 (bundled model), 0.045 to 0.057 in bfloat16
(SmolLM2-135M with LoRA, the trainer in bfloat16 too). Weights that are one update behind, in float32: 1.3e-3 at a
learning rate of 1e-6 and 0.13 at 1e-4, so an update is seen. Two updates behind, in bfloat16: 0.04 to 0.06 up to a
learning rate of 1e-4, which is no more than rounding, and 0.5 at 1e-3. Neither float16 nor a GPU was measured.
"""
MOVED = 1e-4
"""A policy whose own numbers differ by more than this from another's, at some token, has other weights."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one policy says of the fixed text.

    Args:
        token_ids: The text, T tokens.
        logprobs: Natural log of the probability of each token but the first, T - 1 numbers, at temperature 1.
        base_logprobs: The same of the base model, which a sampler has before it loads anything.
    """

    token_ids: list[int]
    logprobs: list[float]
    base_logprobs: list[float]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Probe:
        """Read one.

        Raises:
            ArtifactError: If there is none, or it is damaged.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path} is missing or damaged: vLLM's weights cannot be checked without it", "sample with --engine hf"
            ) from error


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sampler's and the trainer's numbers for the same policy.

    Args:
        sampler: What the sampler says.
        trainer: What the trainer says.
    """

    sampler: Sequence[float]
    trainer: Sequence[float]


def require_same(now: Loaded, before: Loaded | None, dtype: str) -> float:
    """Make sure that a sampler has the weights of the policy it was given.

    Two tests, for they fail to see different things.

    1. Sampler and trainer agree, as a mean over the tokens, to within TOLERANCE of the sampler's number type. This sees
       foreign weights and an adapter that was not applied, but not every single update: computed in bfloat16 the same
       weights differ by more than an update with a learning rate of 1e-6 changes.
    2. Where the trainer's numbers have moved since the weights before, the sampler's must have moved too, by however
       little. A sampler computes the same text with the same weights to the same bits, so this sees a load that did
       nothing, at any learning rate and in any number type. It does not see a load of other outdated weights that
       differ from both by less than the tolerance.

    Args:
        now: After loading.
        before: The same of the weights before, None if there were none.
        dtype: The sampler's number type.

    Returns:
        The mean difference, in nats per token.

    Raises:
        EngineError: If either test fails.
    """
    hint = "the same command again starts a fresh sampler; if this repeats: --engine hf, and report your vLLM version"
    difference = mean_difference(now.sampler, now.trainer)
    if not difference <= TOLERANCE[dtype]:
        raise EngineError(
            f"the sampler's weights are not the trainer's: they differ by {difference:.3g} nats per token on the "
            f"probe, {TOLERANCE[dtype]:g} is allowed in {dtype}",
            hint,
        )
    if before is not None and _moved(before.trainer, now.trainer) > MOVED and before.sampler == now.sampler:
        raise EngineError("the sampler still has the weights of an earlier policy: loading changed nothing", hint)
    return difference


def mean_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Mean absolute difference of two lists of the same length."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _moved(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
