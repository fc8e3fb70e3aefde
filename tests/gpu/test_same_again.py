"""Equal bytes on the GPU: the same command twice, and a run that was killed.

Sums that threads add to in the order they come (atomics: the gradients of embeddings, index_select and gather, where
rows repeat) round differently from time to time. What of a run that reaches is what these tests show.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rsgrpo_cli.config import resolve
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import optimizer_step
from tests.gpu.conftest import SMALL, Rsgrpo, unlike
from tests.integration.conftest import KILLER
from tests.policy.conftest import weights
from tests.ranks.conftest import environment
from tests.tiny_models import write_tiny

pytestmark = pytest.mark.gpu
KINDS: dict[str, tuple[str, ...]] = {
    "float32": (),
    "bfloat16": ("--dtype", "bfloat16"),
    "lora": ("--lora-rank", "4"),
    "several steps": ("--minibatches", "2", "--epochs", "2", "--micro-batch-tokens", "128"),
    "no checkpoints": ("--checkpoint-every", "9"),
}
"""Without checkpoints a run that is resumed makes its updates again, and refuses to go on if they differ."""


def train(name: str, device: str, *flags: str) -> list[str]:
    return ["train", "--run", f"runs/{name}", "--device", device, "--steps", "3", *SMALL, *flags]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_command_twice(rsgrpo: Rsgrpo, device: str, tmp_path: Path, kind: str) -> None:
    for name in ("one", "other"):
        rsgrpo(*train(name, device, *KINDS[kind]))
    assert unlike(tmp_path / "runs" / "one", tmp_path / "runs" / "other") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed(rsgrpo: Rsgrpo, device: str, tmp_path: Path, kind: str) -> None:
    rsgrpo(*train("whole", device, *KINDS[kind]))
    command = train("killed", device, *KINDS[kind])
    for write in (9, 12):
        words = [sys.executable, str(KILLER), str(write), *command]
        killed = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, timeout=300)
        assert killed.returncode == -signal.SIGKILL
    rsgrpo(*command)
    found = unlike(tmp_path / "runs" / "whole", tmp_path / "runs" / "killed")
    assert {name: how for name, how in found.items() if "/." not in f"/{name}"} == {}


def long_completions() -> Experience:
    """Four each of two long prompts: long enough for attention to be computed in several blocks."""
    rng = np.random.default_rng(0)
    prompts = [prompt for prompt in rng.integers(3, 27, size=(2, 500)) for _ in range(4)]
    completions = [rng.integers(3, 27, size=length) for length in rng.integers(300, 1000, size=8)]
    said = [np.full(len(completion), -3.0, np.float32) for completion in completions]
    advantages, groups, counted = np.tile([1.0, -1.0], 4), np.arange(8) // 4, np.ones(8, dtype=bool)
    return Experience(prompts, completions, said, advantages, groups, counted, 1.0, 1000, False)


@pytest.mark.parametrize("tokens", [2000, 100_000], ids=["one by one", "shared prompts"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_an_update_on_long_completions_twice(device: str, tmp_path: Path, dtype: str, tokens: int) -> None:
    model = write_tiny("llama", tmp_path / "model", max_position_embeddings=2048)
    settings = {"model.name": str(model), "model.dtype": dtype, "model.device": device}
    config = resolve(settings | {"update.learning_rate": 1e-3, "update.micro_batch_tokens": tokens})
    made = []
    for _ in range(2):
        policy = open_policy(config, model, None, version=0, train=True)
        for _ in range(3):
            optimizer_step(policy, long_completions(), config.update)
        made.append(weights(policy))
    assert float((made[0] - made[1]).abs().max()) == 0
    assert bool(torch.isfinite(made[0]).all())
