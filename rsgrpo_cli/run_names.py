"""What a run is called that nobody named."""

from __future__ import annotations

import re
from pathlib import Path

from rsgrpo_cli import disk
from rsgrpo_cli.config import RunConfig


def fresh_path(runs: Path, config: RunConfig) -> Path:
    """A path under `runs` that no run has, named after what is trained and how."""
    dataset = _safe(Path(config.prepare.dataset.partition(":")[0]).stem)
    beta = getattr(config.advantage, "beta", None)
    named = isinstance(beta, int | float)  # a user's estimator is checked later
    stem = f"{dataset}-{_safe(config.advantage.estimator)}" + (f"-beta{beta:g}" if named else "")
    taken = {path.name for path in runs.glob(f"{stem}-*")}
    number = next(number for number in range(1, 100_000) if f"{stem}-{number:03d}" not in taken)
    return runs / f"{stem}-{number:03d}"


def _safe(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


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
