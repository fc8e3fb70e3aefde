"""Killed at random times, again and again: what is left in the end is what a run leaves that was never killed."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.conftest import SMALL, Cli
from tests.faults.damages import LONG
from tests.integration.conftest import Start
from tests.integration.test_killed import content, finish

KILLS = int(os.environ.get("RSGRPO_KILLS", "20"))
"""How many processes are killed, over all kinds of runs."""
BASE = ["train", "--run", "runs/killed", "--steps", "4", *SMALL]
RUNS = {
    "plain": [],
    "lora": ["--lora-rank", "4"],
    "resampling": ["--zero-variance", "resample"],
    "minibatches": ["--minibatches", "2", "--epochs", "2"],
    "sparse": ["--checkpoint-every", "3", "--keep-checkpoints", "1"],
    "sparse, lora, resampling": ["--checkpoint-every", "9", "--lora-rank", "4", "--zero-variance", "resample"],
}


@LONG
@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_killed_at_random_times(cli: Cli, start: Start, tmp_path: Path, kind: str) -> None:
    command = [*BASE, *RUNS[kind]]
    began = time.monotonic()
    process = start(*command)
    _, err = process.communicate(timeout=300)
    seconds = time.monotonic() - began
    assert process.returncode == 0, err
    whole = content(tmp_path / "runs/killed")
    shutil.rmtree(tmp_path / "runs")
    rng = random.Random(kind)
    for _ in range(-(-KILLS // len(RUNS))):
        process = start(*command)
        time.sleep(rng.uniform(0.0, seconds))
        process.kill()
        process.communicate()
    finish(cli, tmp_path / "runs/killed", command, whole)
