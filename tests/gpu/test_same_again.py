"""Equal bytes on the GPU: the same command twice, and a run that was killed.

Sums that threads add to in the order they come (atomics: the gradients of embeddings, index_select and gather, where
rows repeat) round differently from time to time. What of a run that reaches is what these tests show.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.conftest import SMALL, Rsgrpo, unlike
from tests.integration.conftest import KILLER
from tests.ranks.conftest import environment

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
