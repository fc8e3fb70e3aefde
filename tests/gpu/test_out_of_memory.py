"""A card whose memory runs out: one clear line, nothing lost, and smaller settings go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from rsgrpo_cli.config import ModelConfig, UpdateConfig
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.models import load_model, model_directory
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import optimizer_step
from tests.engines.test_hf import encode
from tests.gpu.conftest import Rsgrpo, rollouts
from tests.policy.conftest import OpenPolicy, weights

pytestmark = pytest.mark.gpu
TRAIN = [
    *("train", "--steps", "1", "--device", "cuda", "--workers", "2", "--checkpoint-every", "1", "--lr", "1e-3"),
    *("--prompts-per-step", "8", "--group-size", "64", "--micro-batch-tokens", "16384"),
]
CFG = UpdateConfig(learning_rate=1e-3)
FEW = ("--micro-batch-tokens", "1024")


def peak(run: Path) -> int:
    """Bytes that a run of one step held on the card at most."""
    return int(pq.read_table(run / "metrics.parquet")["peak_memory_bytes"][0].as_py())


def test_an_update_out_of_memory_goes_on_with_fewer_tokens(card: str, rsgrpo: Rsgrpo, tmp_path: Path) -> None:
    rsgrpo(*TRAIN, "--run", "runs/large")
    rsgrpo(*TRAIN, "--run", "runs/small", *FEW)
    most, least = (peak(tmp_path / "runs" / name) for name in ("large", "small"))
    print(f"largest micro-batch: {most} bytes at most; small ones: {least}")  # shown if the rest fails
    limited = ("limited_rsgrpo.py", (most + least) // 2)
    failed = rsgrpo(*TRAIN, "--run", "runs/made", program=limited, code=1)
    assert "not enough GPU memory for the update" in failed.stderr
    assert "--micro-batch-tokens (now 16384)" in failed.stderr
    sampled = rollouts(tmp_path / "runs" / "made", 0)
    rsgrpo(*TRAIN, "--run", "runs/made", *FEW, program=limited)
    assert rollouts(tmp_path / "runs" / "made", 0).equals(sampled)
    assert (tmp_path / "runs" / "made" / "checkpoints" / "000001" / "model.safetensors").is_file()


def test_weights_that_do_not_fit_are_a_clear_line(card: str, rsgrpo: Rsgrpo) -> None:
    failed = rsgrpo(*TRAIN, "--run", "runs/made", program=("limited_rsgrpo.py", 2**20), code=1)
    assert "not enough GPU memory for the weights" in failed.stderr
    assert "--device cpu" in failed.stderr
    rsgrpo(*TRAIN, "--run", "runs/made")


def test_sampling_out_of_memory_goes_on_where_there_is_more(card: str, rsgrpo: Rsgrpo, tmp_path: Path) -> None:
    weights = (model_directory("toy") / "model.safetensors").stat().st_size
    # Room for the weights and what the first matrix product asks for, none for the cache of 512 completions.
    failed = rsgrpo(*TRAIN, "--run", "runs/made", program=("limited_rsgrpo.py", weights + 2**23), code=1)
    assert "not enough GPU memory" in failed.stderr
    rsgrpo(*TRAIN, "--run", "runs/made")
    assert (tmp_path / "runs" / "made" / "checkpoints" / "000001" / "model.safetensors").is_file()


@contextmanager
def full() -> Iterator[None]:
    """A card that gives this process nothing more in the block."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-9)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_an_engine_that_ran_out_of_memory_samples_again(card: str) -> None:
    engine = HfEngine(load_model(model_directory("toy"), ModelConfig.model_validate({"device": card})))
    prompts, sampling = encode(engine), Sampling(1.0, 1.0, 20)
    before = engine.generate(prompts, [[1], [2], [3]], sampling)
    many = [[*range(1000)] for _ in prompts]
    with full(), pytest.raises(EngineError, match="not enough GPU memory to sample"):
        engine.generate(prompts, many, sampling)
    assert engine.generate(prompts, [[1], [2], [3]], sampling) == before


def test_a_policy_that_ran_out_of_memory_is_as_before(card: str, open_toy: OpenPolicy, experience: Experience) -> None:
    policy, many = open_toy(model__device=card), experience.take([*range(10)] * 200)
    before = weights(policy).clone()
    with full(), pytest.raises(EngineError, match="not enough GPU memory for the update"):
        optimizer_step(policy, many, CFG)
    assert torch.equal(weights(policy), before)
    assert optimizer_step(policy, many, CFG).grad_norm > 0
