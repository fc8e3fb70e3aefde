"""verl's own pieces: its configuration as Hydra composes it, and batches as its trainer hands them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

Compose = Callable[..., Any]


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave these files alone where their marker is deselected: only an environment of its own has verl."""
    return True if "not verl" in config.option.markexpr else None


@pytest.fixture
def compose() -> Compose:
    """Composes the configuration of `verl.trainer.main_ppo` with overrides, as its command line does."""
    from hydra import compose, initialize_config_module

    def composed(*overrides: str) -> Any:
        with initialize_config_module("verl.trainer.config", version_base=None):
            return compose("ppo_trainer", overrides=list(overrides))

    return composed


def batch(rewards: Sequence[float] | np.ndarray, uids: Sequence[Any] | np.ndarray, tokens: int = 5) -> Any:
    """A DataProto of completions of different lengths, each with its reward at its last token.

    Completion i has 1 + i % tokens tokens, the rest is padding.
    """
    import torch
    from verl import DataProto

    lengths = 1 + np.arange(len(rewards)) % tokens
    mask = torch.from_numpy((np.arange(tokens) < lengths[:, None]).astype(np.int64))
    scores = torch.zeros(len(rewards), tokens)
    scores[torch.arange(len(rewards)), torch.from_numpy(lengths - 1)] = torch.tensor(rewards, dtype=torch.float32)
    return DataProto.from_dict(
        tensors={"token_level_rewards": scores, "response_mask": mask},
        non_tensors={"uid": np.array(uids, dtype=object)},
    )
