"""Rollouts with several workers on this machine, and what the model says of them beforehand.

The engine waits and computes nothing (`engines/dummy.py`), so the workers do not share cores while they make parts;
they do while they start. How long a part waits follows from its seeds, and is not fitted. Measured beforehand, with an
engine that does not wait, are two numbers: the command with no worker, and how much longer it takes with one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster_model import Site, simulate
from common import median

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.engines.dummy import wait
from rsgrpo_cli.run_dir import RunDir
from rsgrpo_cli.schemas import ROLLOUTS
from rsgrpo_cli.step_dir import part_files

PROMPTS = 232
"""Seven parts of 32 prompts, and one of 8."""
SECONDS = 0.25
"""That a prompt waits on average."""
WORKERS = (1, 2, 3)
REPEATS = 3


def rsgrpo(*arguments: str, seconds: float = 0.0) -> float:
    """Seconds of a command."""
    environment = {**os.environ, "RSGRPO_DUMMY_SECONDS": str(seconds), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    command = [sys.executable, "-m", "rsgrpo_cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"rsgrpo {' '.join(arguments)}: {done.stderr}")
    return time.perf_counter() - started


def rollout(run: Path, tag: str, workers: int, seconds: float = 0.0) -> float:
    """Seconds of `rsgrpo rollout`."""
    asked = ["rollout", "--run", str(run), "--engine", "dummy", "--tag", tag, "--data-parallel", str(workers)]
    return rsgrpo(*asked, seconds=seconds)


def waits(folder: Path) -> list[float]:
    """Seconds that each part will wait, from the seeds in its file."""
    found = []
    for part in part_files(folder):
        table = read_table(part, ROLLOUTS, ["sample_index", "seed"]).to_pylist()
        found.append(sum(wait(row["seed"], SECONDS) for row in table if row["sample_index"] == 0))
    return found


def measured_rows() -> tuple[list[list[str]], float]:
    """A row per number of workers, and by how much the model was wrong at most."""
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        rsgrpo("prepare", "--run", str(run), "--set", f"rollout.prompts_per_step={PROMPTS}")
        alone = median([rollout(run, f"alone{number}", 0) for number in range(REPEATS)])
        start = max(0.0, median([rollout(run, f"one{number}", 1) for number in range(REPEATS)]) - alone)
        parts = waits(RunDir(run).rollouts(0, "alone0"))
        for workers in WORKERS:
            site = Site(workers, start=start, cores=os.cpu_count())
            predicted = alone + simulate(parts, site).end
            measured = rollout(run, f"workers{workers}", workers, SECONDS)
            worst = max(worst, abs(predicted / measured - 1))
            rows.append([f"{workers}", f"{measured:.1f} s", f"{predicted:.1f} s", f"{predicted / measured:.2f}"])
    told = " ".join(f"{part:.1f}" for part in parts)
    print(f"parts that wait {told} s; the command takes {alone:.1f} s, a worker {start:.1f} s to start")
    return rows, worst
