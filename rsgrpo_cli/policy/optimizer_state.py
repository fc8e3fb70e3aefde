"""The optimizer's state in a checkpoint: one file, or of an update by several ranks a file from each.

Both are safetensors, so a checkpoint from a stranger cannot run code. Each file says where in the whole its slices
belong (torch.distributed.checkpoint, in its Hugging Face format), so any number of ranks, or one process, can go on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from rsgrpo_cli.errors import ArtifactError, UsageError
from rsgrpo_cli.policy.policy import Policy

OPTIMIZER = Path("trainer") / "optimizer.safetensors"
"""One process's."""
SHARDS = Path("trainer") / "optimizer"
"""The directory of the files of several ranks."""
_STEP = "step"


def save_optimizer(policy: Policy, directory: Path) -> None:
    """Write the optimizer's state into a checkpoint; ranks all call, and each writes its own slices."""
    assert policy.optimizer is not None  # only a policy opened for training is saved
    tensors = _tensors(policy, policy.optimizer)
    if policy.ranks is None:
        save_file(tensors, directory / OPTIMIZER)
        return
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    save(tensors, storage_writer=HuggingFaceStorageWriter(str(directory / SHARDS), save_distributed=True))


def restore_optimizer(policy: Policy, checkpoint: Path) -> None:
    """Give the optimizer the state that a checkpoint has, whoever wrote it; ranks all call.

    Raises:
        ArtifactError: If a file is damaged.
        UsageError: If it is the state of another optimizer.
    """
    path = checkpoint / SHARDS if (checkpoint / SHARDS).is_dir() else checkpoint / OPTIMIZER
    try:
        if path.name == OPTIMIZER.name and policy.ranks is None:
            tensors = load_file(path, device=str(policy.lm.device))
        else:
            tensors = _collected(policy, path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is damaged: {error}", "remove that checkpoint; the one before it is used"
        ) from error
    assert policy.optimizer is not None
    plain = isinstance(policy.optimizer, torch.optim.AdamW)
    for name, weight in policy.trained().items():
        prefix = f"{name}."
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if state:
            if ("exp_avg" in state) != plain:
                raise UsageError(f"{path} holds the state of a different optimizer", "leave update.optimizer as it was")
            # The step counter lies where AdamW keeps it: on the CPU, if not all is one kernel; bitsandbytes has an int.
            fused = policy.optimizer.defaults.get("fused")
            step = state[_STEP].reshape(()).to(weight.device if fused else "cpu")
            policy.optimizer.state[weight] = state | {_STEP: step if plain else int(step)}


def _tensors(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{slot}": _as_stored(slot, value, one_by_one=policy.ranks is not None)
        for name, weight in policy.trained().items()
        for slot, value in optimizer.state.get(weight, {}).items()
    }


def _as_stored(slot: str, value: torch.Tensor | int, *, one_by_one: bool) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        return torch.tensor(float(value))  # bitsandbytes counts its steps in an int
    if one_by_one:
        return value.detach().reshape(1) if slot == _STEP else value.detach()  # what has no axis cannot be sliced
    # All weights share one quantisation map there, and safetensors refuses shared memory.
    return value.clone() if slot.startswith("qmap") else value.detach().contiguous()


def _collected(policy: Policy, path: Path) -> dict[str, torch.Tensor]:
    """This process's part of a state that is in several files, or that several ranks share; read from disk in slices.

    Args:
        policy: Whose weights say what the part is.
        path: The file, or the directory of files.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    folder, files = (path, sorted(path.glob("*.safetensors"))) if path.is_dir() else (path.parent, [path])
    there = {key: shape for file in files for key, shape in _shapes(file)}
    if not path.is_dir() and len(list(folder.glob("*.safetensors"))) > 1:
        raise ArtifactError(f"{folder} holds more than the optimizer's state", "remove what was not saved with it")
    wanted: dict[str, torch.Tensor] = {}
    for name, weight in policy.trained().items():
        for slot in ("exp_avg", "exp_avg_sq", _STEP):
            key = f"{name}.{slot}"
            if key in there:
                wanted[key] = torch.zeros(there[key]) if slot == _STEP else torch.zeros_like(weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # as it is meant to be
        load(wanted, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=policy.ranks is None)
    return wanted


def _shapes(file: Path) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of each slice in a file."""
    with safe_open(file, framework="pt") as opened:
        for key in opened.keys():  # noqa: SIM118 (a handle is not a dictionary)
            yield key, opened.get_slice(key).get_shape()
