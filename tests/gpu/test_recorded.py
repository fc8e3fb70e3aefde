"""Tokens whose work is recorded in a CUDA graph and replayed (engines/graphs.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rsgrpo_cli.config import resolve
from rsgrpo_cli.engines import hf
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Generation, Sampling
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import optimizer_step
from rsgrpo_cli.policy.policy import Policy
from tests.logprobs import completion_logprobs
from tests.tiny_models import write_tiny

pytestmark = pytest.mark.gpu
PROMPTS = [[*range(3, 10)], [*range(4, 24)], [*range(3, 27)] * 2]
SEEDS = [[*range(start, start + 12)] for start in (0, 100, 200)]
SAMPLING = Sampling(1.0, 1.0, 300)
"""Longer than a window of positions that a graph reads."""
SETTINGS = {"update.learning_rate": 1e-3}


def opened(directory: Path, device: str, dtype: str, rank: int) -> Policy:
    given = {"model.name": str(directory), "model.device": device, "model.dtype": dtype, "model.lora_rank": rank}
    return open_policy(resolve(SETTINGS | given), directory, None, version=0, train=True)


def learned(drawn: list[list[Generation]]) -> Experience:
    """All completions, with advantages that sum to zero."""
    flat = [made for own in drawn for made in own]
    return Experience(
        [np.array(prompt) for prompt, own in zip(PROMPTS, drawn, strict=True) for _ in own],
        [np.array(made.token_ids) for made in flat],
        [np.array(made.logprobs, np.float32) for made in flat],
        np.tile([1.0, -1.0], len(flat) // 2),
        np.arange(len(flat)) // 12,
        np.ones(len(flat), dtype=bool),
        *(1.0, 300, False),
    )


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_trainer_says_what_was_replayed(device: str, tmp_path: Path, dtype: str, rank: int, kind: str) -> None:
    directory = write_tiny(kind, tmp_path / "model", **{"gpt2": {"n_positions": 512}}.get(kind, _LONG))
    policy, cfg = opened(directory, device, dtype, rank), resolve(SETTINGS).update
    engine = HfEngine(policy.lm)
    for _ in range(2):  # before the policy changes and after
        drawn = engine.generate(PROMPTS, SEEDS, SAMPLING)
        assert engine._may_record is (device == "cuda")
        experience = learned(drawn)
        told, said = (
            np.concatenate(column)
            for column in (completion_logprobs(policy, experience, cfg), experience.sampling_logprobs)
        )
        apart = np.abs(told - said)
        assert len({len(completion) for completion in experience.completions}) > 10
        assert apart.mean() < {"float32": 1e-3, "float64": 1e-5, "bfloat16": 0.2}[dtype]
        assert dtype == "bfloat16" or apart.max() < 0.05
        optimizer_step(policy, experience, cfg)


_LONG = {"max_position_embeddings": 512}


@pytest.mark.parametrize("room", [hf.BATCH_TOKENS, 1500], ids=["one batch", "several"])
def test_what_is_replayed_is_what_the_cpu_draws_in_float64(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    directory = write_tiny("llama", tmp_path / "model", **_LONG)
    monkeypatch.setattr(hf, "_room", lambda *_: room)
    there, here = (
        HfEngine(opened(directory, name, "float64", 0).lm).generate(PROMPTS, SEEDS, SAMPLING)
        for name in (device, "cpu")
    )
    assert [[one.token_ids for one in own] for own in there] == [[one.token_ids for one in own] for own in here]
    for own, others in zip(there, here, strict=True):
        for one, other in zip(own, others, strict=True):
            np.testing.assert_allclose(one.logprobs, other.logprobs, rtol=0, atol=1e-6)


def test_the_same_completions_twice(device: str, tmp_path: Path) -> None:
    directory = write_tiny("llama", tmp_path / "model", **_LONG)
    drawn = [HfEngine(opened(directory, device, "bfloat16", 0).lm).generate(PROMPTS, SEEDS, SAMPLING) for _ in "12"]
    assert drawn[0] == drawn[1]


def test_recording_leaves_no_memory_behind(card: str, tmp_path: Path) -> None:
    engine = HfEngine(opened(write_tiny("llama", tmp_path / "model", **_LONG), card, "float32", 0).lm)
    held = []
    for _ in range(3):
        engine.generate(PROMPTS, SEEDS, SAMPLING)
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_allocated())
    assert held[2] <= held[0] + 2**20
