"""Processes of the tests with several ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def environment(**more: str) -> dict[str, str]:
    """That of a user, with this tree's code; gloo stays on this machine."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("RSGRPO", "TORCHELASTIC"))}
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return known | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"} | more


def run(*command: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=400)


def rsgrpo(*arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """`rsgrpo ARGUMENTS`."""
    return run(sys.executable, "-m", "rsgrpo_cli", *arguments, cwd=cwd, **more)


def apart(one: Path, other: Path) -> float:
    """How far the weights of two checkpoints are apart, at most."""
    return float(differences_of(one, other).max())


def differences_of(one: Path, other: Path) -> torch.Tensor:
    """How far each weight of a checkpoint is from another's, shape (weights,)."""
    files = sorted(path.name for path in one.glob("*.safetensors"))
    assert files == sorted(path.name for path in other.glob("*.safetensors"))
    assert files
    found = []
    for name in files:
        own, others = load_file(one / name), load_file(other / name)
        assert own.keys() == others.keys()
        assert all(own[key].dtype == others[key].dtype and own[key].dtype.itemsize >= 4 for key in own)
        found += [(own[key] - others[key]).abs().flatten() for key in own]
    return torch.cat(found)
