"""A policy over the bundled model, and completions for it to learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rsgrpo_cli.config import resolve
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.batches import assemble
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.policy import Policy

OpenPolicy = Callable[..., Policy]


@pytest.fixture
def open_toy() -> OpenPolicy:
    """Opens the bundled model for training; settings as overrides of the configuration."""

    def make(checkpoint: Path | None = None, version: int = 0, train: bool = True, **overrides: Any) -> Policy:
        names = {name.replace("__", "."): value for name, value in overrides.items()}
        config = resolve({"update.learning_rate": 1e-3} | names)
        base = model_directory("toy")
        return open_policy(config, base, checkpoint, version=version, train=train)

    return make


@pytest.fixture
def experience() -> Experience:
    """Ten completions of unequal length, two of them without a gradient."""
    rng = np.random.default_rng(0)
    lengths = [3, 9, 5, 12, 4, 7, 7, 2, 10, 6]
    completions = [rng.integers(6, 27, size=length).astype(np.int64) for length in lengths]
    prompts = [rng.integers(6, 27, size=8 + index % 3).astype(np.int64) for index in range(10)]
    advantages = np.array([1.0, -0.5, 0.3, -1.2, 0.0, 0.8, -0.1, 0.0, 0.4, -0.7])
    said = [np.full(length, -1.0, np.float32) for length in lengths]
    groups, counted = np.arange(10), np.ones(10, dtype=bool)
    return Experience(prompts, completions, said, advantages, groups, counted, 0.9, 16, False)


def weights(policy: Policy) -> torch.Tensor:
    """All trained weights in one vector."""
    return torch.cat([weight.detach().flatten() for weight in policy.trained().values()])


def gradient(policy: Policy) -> torch.Tensor:
    """The gradient of all trained weights in one vector."""
    return torch.cat([weight.grad.flatten() for weight in policy.trained().values() if weight.grad is not None])


def logprobs(policy: Policy, experience: Experience) -> torch.Tensor:
    """Log-probabilities of all completion tokens."""
    batch = assemble(experience.prompts, experience.completions, range(10), policy.lm.device)
    with torch.no_grad():
        return token_logprobs(policy.lm, batch, temperature=experience.temperature)[0]
