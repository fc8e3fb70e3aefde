"""What a run is called that nobody named."""

from __future__ import annotations

import re
from pathlib import Path

from rsgrpo_cli import disk
from rsgrpo_cli.config import RunConfig


def fresh_path(runs: Path, config: RunConfig) -> Path:
    """A path under `runs` that no run has, named after what is trained and how."""
    dataset = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(config.prepare.dataset.partition(":")[0]).stem)
    beta = getattr(config.advantage, "beta", None)
    stem = f"{dataset}-{config.advantage.estimator}" + (f"-beta{beta:g}" if beta is not None else "")
    taken = {path.name for path in runs.glob(f"{stem}-*")}
    number = next(number for number in range(1, 100_000) if f"{stem}-{number:03d}" not in taken)
    return runs / f"{stem}-{number:03d}"


def claim_fresh_path(runs: Path, config: RunConfig) -> Path:
    """Make the directory of a new run; another process that wants the same name gets the next."""
    while True:
        path = fresh_path(runs, config)
        disk.make_directory(path.parent)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        disk.note(path)
        return path
