"""Starts vLLM as a run needs it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.engines.registry import open_engine

if TYPE_CHECKING:
    from rsgrpo_cli.engines.types import LoadableEngine
    from rsgrpo_cli.probe import Probe


def start_vllm(
    config: RunConfig, base: tuple[Path, str], probe: Probe, *, beside_trainer: bool, log: Path, day: date | None
) -> LoadableEngine:
    """A sampler with weights of its own, for the longest completion of a run.

    Args:
        config: The run's.
        base: Directory and id of the base model.
        probe: What the sampler's weights are recognised by.
        beside_trainer: Whether a policy that is trained takes memory of the same GPU.
        log: Where vLLM's own messages go.
        day: The day that the chat template is told.
    """
    from rsgrpo_cli.engines.vllm import Setup

    assert config.eval.max_tokens is not None  # resolved with the configuration
    setup = Setup(
        base=base[0],
        base_policy=base[1],
        probe=probe,
        model=config.model,
        vllm=config.vllm,
        longest=max(config.rollout.max_tokens, config.eval.max_tokens),
        beside_trainer=beside_trainer,
        log=log,
        day=day,
    )
    engine: LoadableEngine = open_engine("vllm", setup)  # type: ignore[assignment]
    return engine
