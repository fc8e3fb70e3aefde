"""What a fixed small run comes to: two results whose canaries differ were not made by code that behaves alike.

Two steps of the bundled task, with every stage. Its numbers are compared with a tolerance, since another processor or
another version of torch rounds differently.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.console import error_in
from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.schemas import METRICS

SETTINGS = ("--steps", "2", "--prompts-per-step", "8", "--group-size", "8", "--beta", "4", "--workers", "1")
COLUMNS = ("reward_mean", "completion_length_mean", "advantage_rms", "loss", "grad_norm", "entropy")
TOLERANCE = 1e-3
"""Relative; a change of the computation is much larger after two steps, a change of rounding much smaller."""


def measure() -> tuple[float, ...]:
    """The numbers: COLUMNS of both steps.

    Raises:
        EngineError: If the run does not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="rsgrpo-canary-") as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-P", "-m", "rsgrpo_cli", "train", "--run", str(run), "--model", "toy", *SETTINGS]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            why, hint = error_in(done.stderr)
            ended = why or f"it ended with exit code {done.returncode}"
            raise EngineError(f"the bundled model does not train: {ended}", hint)
        table = read_table(run / "metrics.parquet", METRICS, list(COLUMNS))
        return tuple(float(value) for row in table.to_pylist() for value in row.values())


def alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two canaries are of code that behaves alike."""
    return len(one) == len(other) and all(
        abs(a - b) <= TOLERANCE * max(abs(a), abs(b), 1e-6) for a, b in zip(one, other, strict=True)
    )
