"""Rollouts with several workers on this machine, and what the model says of them beforehand.

The engine waits and computes nothing (`engines/dummy.py`), so workers do not share cores while they make parts; they
do while they start. How long a part waits follows from its seeds, and is not fitted. Two numbers are measured, without
waiting: the command with no worker, and how much longer it takes with one. As a machine may be busier at one time than
at another, that is done before and after each rollout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

from cluster_model import Site, simulate

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.engines.dummy import wait
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import part_files
from rsgrpo_cli.schemas import ROLLOUTS

PROMPTS = 232
"""Seven parts of 32 prompts, and one of 8."""
SECONDS = 0.5
"""That a prompt waits on average."""
WORKERS = (1, 2, 3)


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


def overhead(run: Path, tag: str) -> tuple[float, float]:
    """Seconds of the command with no worker, and those that it takes longer with one; nothing waits."""
    alone = rollout(run, f"{tag}-alone", 0)
    return alone, max(0.0, rollout(run, f"{tag}-one", 1) - alone)


def measured_rows() -> tuple[list[list[str]], float]:
    """A row per number of workers, and by how much the model was wrong at most."""
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        rsgrpo("prepare", "--run", str(run), "--set", f"rollout.prompts_per_step={PROMPTS}")
        rollout(run, "plan", 0)
        parts = waits(RunDir(run).rollouts(0, "plan"))
        print(f"parts that wait {' '.join(f'{part:.1f}' for part in parts)} s")
        for workers in WORKERS:
            before = overhead(run, f"{workers}before")
            measured = rollout(run, f"workers{workers}", workers, SECONDS)
            alone, start = map(fmean, zip(before, overhead(run, f"{workers}after"), strict=True))
            predicted = alone + simulate(parts, Site(workers, start=start, cores=os.cpu_count())).end
            worst = max(worst, abs(predicted / measured - 1))
            cells = (measured, predicted, alone, start)
            rows.append([f"{workers}", f"{predicted / measured:.2f}", *(f"{cell:.1f} s" for cell in cells)])
    return rows, worst
