"""What the tests on a GPU share: the device, real processes of the command line, and what a run left.

RSGRPO_TEST_DEVICE=cpu rehearses them where there is no GPU: whatever is not about the card itself runs on the CPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load

from tests.integration.test_killed import content
from tests.policy.conftest import experience, open_toy
from tests.ranks.conftest import environment

__all__ = ["experience", "open_toy"]

DEVICE = os.environ.get("RSGRPO_TEST_DEVICE", "cuda")
SMALL = [
    *("--workers", "1", "--prompts-per-step", "8", "--group-size", "4"),
    *("--lr", "1e-3", "--checkpoint-every", "1"),
]
"""Settings under which a step of the bundled model takes a moment. Most of a test's time is the start of a process."""
HERE = Path(__file__).parent
Rsgrpo = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def device() -> str:
    """Where to compute; without a GPU its tests are skipped."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here (RSGRPO_TEST_DEVICE=cpu rehearses the tests)")
    return DEVICE


@pytest.fixture
def card(device: str) -> str:
    """The same for what only a card can show: its memory, its name."""
    if device != "cuda":
        pytest.skip("about the card itself, not to be rehearsed without one")
    return device


@pytest.fixture
def rsgrpo(tmp_path: Path) -> Rsgrpo:
    """Runs `rsgrpo ARGUMENTS` in an empty directory, as `run_in`."""

    def run(*arguments: str | Path | int, code: int = 0, program: tuple[str | Path | int, ...] = ()) -> object:
        return run_in(tmp_path, *arguments, code=code, program=program)

    return run  # type: ignore[return-value]


def run_in(
    folder: Path, *arguments: str | Path | int, code: int = 0, program: tuple[str | Path | int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `rsgrpo ARGUMENTS` in a process of its own, which must end with an exit code.

    Args:
        folder: Where.
        arguments: The command's.
        code: The exit code.
        program: A file of this directory that starts it, with arguments of its own.
    """
    start = [str(HERE / str(program[0])), *map(str, program[1:])] if program else ["-m", "rsgrpo_cli"]
    words = [sys.executable, *start, *map(str, arguments)]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"{' '.join(words)}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def rollouts(run: Path, step: int) -> pa.Table:
    """What was sampled in a step, in the order of its keys."""
    parts = sorted((run / "steps" / f"{step:06d}" / "rollouts").glob("part-*.parquet"))
    table = pa.concat_tables([pq.read_table(part).replace_schema_metadata(None) for part in parts])
    return table.sort_by([("group_id", "ascending"), ("sample_index", "ascending")])


def unlike(one: Path, other: Path) -> dict[str, str]:
    """What two runs that should be equal byte for byte differ in: file -> how."""
    own, others = content(one), content(other)
    return {
        name: _how(name, own.get(name), others.get(name))
        for name in sorted(own.keys() | others.keys())
        if own.get(name) != others.get(name)
    }


def _how(name: str, own: bytes | None, other: bytes | None) -> str:
    if own is None or other is None:
        return "only in one of them"
    if not name.endswith(".safetensors"):
        return "other bytes"
    first, second = load(own), load(other)
    apart = {key: float((first[key] - second[key]).abs().max()) for key in first if not first[key].equal(second[key])}
    return f"{len(apart)} of {len(first)} tensors differ: {apart}"
