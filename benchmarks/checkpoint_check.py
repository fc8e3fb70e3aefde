"""What it costs to compare a checkpoint's files with their hashes when it is loaded: with and without, in turn.

A model of random weights, its optimizer's state beside it. "From the disk" drops the files from the system's cache
first, as on a machine that has just started; "again" finds them there. Each load is followed by one forward pass: until
then the weights are mapped and not read.

    python benchmarks/checkpoint_check.py [MILLIONS] [--rounds 11]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from common import median, show
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from rsgrpo_cli.artifacts import Lineage
from rsgrpo_cli.config import RunConfig, resolve
from rsgrpo_cli.modeling.companions import read_companions, write_companions
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.checkpoints import open_policy, save_checkpoint
from rsgrpo_cli.run import manifests

MILLIONS, WIDTH, ROUNDS = 57, 768, 11


def make(folder: Path, millions: int) -> tuple[RunConfig, Path]:
    """A base model in `folder`, and a checkpoint of it after one step of the optimizer."""
    base, checkpoint, toy = folder / "base", folder / "checkpoint", model_directory("toy")
    layers = max(1, round(millions * 1e6 / (12 * WIDTH**2)))
    shape = {"hidden_size": WIDTH, "intermediate_size": 8 * WIDTH // 3, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 12, "num_key_value_heads": 12, "head_dim": 64}
    small = LlamaConfig.from_pretrained(toy).to_dict()
    LlamaForCausalLM(LlamaConfig(**{**small, **shape, **heads})).save_pretrained(base)
    write_companions(read_companions(toy), base)
    config = resolve({"model.name": str(base)})
    policy = open_policy(config, base, None, version=0, train=True)
    for weight in policy.trained().values():
        weight.grad = torch.full_like(weight, 1e-3)
    assert policy.optimizer is not None
    policy.optimizer.step()
    checkpoint.mkdir()
    save_checkpoint(policy, checkpoint)
    manifests.seal(checkpoint, Lineage("update", {}, {}, 1, {"policy": "x"}))
    return config, checkpoint


def drop_from_cache(folder: Path) -> None:
    """Have the next reader of the files go to the disk."""
    os.sync()
    for path in folder.rglob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def load(config: RunConfig, checkpoint: Path, *, train: bool, check: bool) -> float:
    """Seconds to load a policy until it can be used."""
    manifests._known.clear()  # so that each file is read anew
    started = time.perf_counter()
    checking: AbstractContextManager[Callable[[], str | None]]
    checking = manifests.check(checkpoint, trainer=train) if check else nullcontext(lambda: None)
    with checking as finished:
        policy = open_policy(config, checkpoint.parent / "base", checkpoint, version=1, train=train)
        with torch.no_grad():
            policy.lm.causal(torch.tensor([[1, 2, 3]]))
        assert finished() is None
    return time.perf_counter() - started


def compare(config: RunConfig, checkpoint: Path, rounds: int, *, train: bool, cold: bool) -> list[str]:
    """One row: loads with and without, in turn."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for check in (False, True):
            if cold:
                drop_from_cache(checkpoint)
            seconds[check].append(load(config, checkpoint, train=train, check=check))
    without, with_check = median(seconds[False]), median(seconds[True])
    size = sum(path.stat().st_size for path in checkpoint.glob("**/*.safetensors" if train else "*.safetensors"))
    what = ("weights and optimizer" if train else "weights") + (", from the disk" if cold else ", again")
    return [what, f"{size / 1e9:.2f} GB", f"{without:.2f} s", f"{with_check:.2f} s", f"{with_check / without - 1:+.1%}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("millions", nargs="?", type=int, default=MILLIONS, help="of parameters")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="loads of each kind, of which the median is shown")
    asked = parser.parse_args()
    millions, rounds = asked.millions, asked.rounds
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder), millions)
        load(*made, train=True, check=True)
        rows = [compare(*made, rounds, train=train, cold=cold) for train in (True, False) for cold in (True, False)]
    title = f"Hashes compared on loading a checkpoint of {millions} M parameters, median of {rounds}"
    show(title, ["load", "size", "without", "with", "cost"], rows)


if __name__ == "__main__":
    main()
