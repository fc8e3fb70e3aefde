"""Updates of the bundled model, by one process or by each rank of several; what test_updates.py compares.

    torchrun ... updates.py OUT all:2 1/full:1-2

Every case into OUT/2, a checkpoint each and the numbers of its last step; then from the checkpoint OUT/1/full a step
further, into OUT/1-2. One process calls `do` itself.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from rsgrpo_cli.config import resolve
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.pipeline.ranks.rank import Place, _join
from rsgrpo_cli.policy.checkpoints import open_policy, save_checkpoint
from rsgrpo_cli.policy.experience import Experience, minibatches
from rsgrpo_cli.policy.optimize import optimizer_step
from tests.logprobs import completion_logprobs

STEPS = 3
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    # Completions, and settings. Ten of unequal length; one leaves every rank but the first without any.
    "full": (10, {}),
    "lora": (10, {"model.lora_rank": 4}),
    "no_rows": (1, {}),
    "no_rows_lora": (1, {"model.lora_rank": 4}),
    "minibatches": (10, {"update.minibatches": 3}),
    "penalty": (10, {"update.kl_coef": 0.1, "update.entropy_coef": 0.01}),
    "penalty_lora": (10, {"update.kl_coef": 0.1, "model.lora_rank": 4}),
    "recomputed": (10, {"update.gradient_checkpointing": True}),
    "each": (10, {"update.gradient_sync": "each"}),
    "offload": (10, {"update.cpu_offload": True}),
    "float64": (10, {"model.dtype": "float64", "update.minibatches": 3, "update.learning_rate": 1e-4}),
    "float64_lora": (10, {"model.dtype": "float64", "model.lora_rank": 4, "update.learning_rate": 1e-4}),
    "zamba2": (10, {}),
    "mamba_lora": (10, {"model.lora_rank": 4}),
}
MODELS = ("zamba2", "mamba")
"""Tiny ones in OUT/models; other cases have the bundled model. What is odd about them: `sharding._decoder_layers`."""


def experience(count: int) -> Experience:
    """Completions of 2 to 12 tokens."""
    rng = np.random.default_rng(0)
    lengths = [3, 9, 5, 12, 4, 7, 7, 2, 10, 6][:count]
    completions = [rng.integers(6, 27, size=length).astype(np.int64) for length in lengths]
    prompts = [rng.integers(6, 27, size=8 + index % 3).astype(np.int64) for index in range(count)]
    advantages = np.array([1.0, -0.5, 0.3, -1.2, 0.0, 0.8, -0.1, 0.0, 0.4, -0.7])[:count]
    said = [np.full(length, -1.0, np.float32) for length in lengths]
    groups, counted = np.arange(count), np.ones(count, dtype=bool)
    return Experience(prompts, completions, said, advantages, groups, counted, 0.9, 16, False)


def work(out: Path, name: str, checkpoint: Path | None = None, device: str = "cpu") -> None:
    """One case, in as many steps as it takes; from a checkpoint a single one."""
    count, overrides = CASES[name]
    sizes = {"update.learning_rate": 1e-5, "update.micro_batch_tokens": 40, "model.device": device}
    config = resolve(sizes | overrides)
    ranks = None
    if dist.is_initialized():
        ranks = _join(config, Place(dist.get_rank(), dist.get_world_size(), dist.get_rank()))
    version = 0 if checkpoint is None else STEPS
    base = next((out.parent / "models" / kind for kind in MODELS if name.startswith(kind)), model_directory("toy"))
    policy = open_policy(config, base, checkpoint, version=version, train=True, ranks=ranks)
    whole, sums = experience(count), None
    for step in range(STEPS if checkpoint is None else 1):
        said = completion_logprobs(policy, whole, config.update) if config.update.minibatches > 1 else None
        for part in minibatches(replace(whole, policy_logprobs=said), config.update, seed=0, version=step):
            sums = optimizer_step(policy, part, config.update)
    policy.version = version + 1
    if ranks is None or ranks.rank == 0:
        (out / name).mkdir(parents=True)
    if ranks is not None:
        ranks.gather(None)
    save_checkpoint(policy, out / name)
    if (ranks is None or ranks.rank == 0) and sums is not None:
        (out / f"{name}.json").write_text(json.dumps(asdict(sums)))


def do(out: Path, *jobs: str) -> None:
    """All that is asked for, in order."""
    for start, _, end in (job.partition(":") for job in jobs):
        for case in CASES if start == "all" else ("full",):
            work(out / end, case, None if start == "all" else out / start)


if __name__ == "__main__":
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    do(Path(sys.argv[1]), *sys.argv[2:])
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # as rank_process does
