"""The mean of several policies' weights: what an average kept during a training would be, made afterwards.

See "Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging" by Kaddour
(https://arxiv.org/abs/2209.14981).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.models import at_least_float32

ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
METADATA = {"format": "pt"}


class Mean:
    """A mean of checkpoints, one read after the other: it takes the memory of one model in float32 or float64.

    Of adapters the changes that they make are averaged, not their matrices: a change is a product of two. n adapters of
    rank r become one of rank n * r, which is exact.
    """

    def __init__(self) -> None:
        self.count = 0
        self._files: dict[str, dict[str, torch.Tensor]] = {}
        self._types: dict[str, torch.dtype] = {}

    def add(self, checkpoint: Path) -> None:
        """Take in a checkpoint's weights.

        Raises:
            ArtifactError: If it has other weights than those before.
        """
        self.count += 1
        names = sorted(path.name for path in checkpoint.glob("*.safetensors"))
        if self.count > 1 and names != sorted(self._files):
            raise ArtifactError(f"{checkpoint} has different files from the checkpoints before it", _OF_ONE_RUN)
        for name in names:
            with safe_open(checkpoint / name, framework="pt") as weights:
                self._take(checkpoint, name, {key: weights.get_tensor(key) for key in weights.keys()})  # noqa: SIM118

    def _take(self, checkpoint: Path, name: str, found: dict[str, torch.Tensor]) -> None:
        mean = self._files.setdefault(name, {})
        if self.count > 1 and mean.keys() != found.keys():
            raise ArtifactError(
                f"{checkpoint / name} has different weights from the checkpoints before it", _OF_ONE_RUN
            )
        for key, weight in found.items():
            self._types[key] = weight.dtype
            new = at_least_float32(weight)
            if self.count == 1:
                mean[key] = new
            elif name == ADAPTER:
                mean[key] = torch.cat([mean[key], new], dim=_rank_axis(key))
            else:
                mean[key].lerp_(new, 1 / self.count)

    def save(self, directory: Path) -> None:
        """Write the mean over the weights in a directory, which holds all else of the last checkpoint."""
        for name, mean in self._files.items():
            halves = {key for key in mean if name == ADAPTER and "lora_B" in key}
            scaled = {key: weight / self.count if key in halves else weight for key, weight in mean.items()}
            kept = {key: weight.to(self._types[key]).contiguous() for key, weight in scaled.items()}
            save_file(kept, directory / name, metadata=METADATA)
        if ADAPTER in self._files:
            self._widen(directory / ADAPTER_CONFIG)

    def _widen(self, path: Path) -> None:
        """Rank and alpha times the number of adapters: an adapter is scaled by alpha / rank, which stays."""
        config = json.loads(path.read_text(encoding="utf-8"))
        config |= {"r": config["r"] * self.count, "lora_alpha": config["lora_alpha"] * self.count}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


_OF_ONE_RUN = "average policies of one run"


def _rank_axis(key: str) -> int:
    """The axis of an adapter's rank: A is [rank, in] and B is [out, rank]."""
    return 0 if "lora_A" in key else 1
