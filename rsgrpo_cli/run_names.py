"""What a run is called that nobody named, and which one is meant where none is named."""

from __future__ import annotations

import re
from pathlib import Path

from rsgrpo_cli import disk
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.locks import LOCKS, holder


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


def newest(runs: Path) -> Path:
    """The run created last under `runs`, of those that have problems to train on or are being started right now.

    What `eval --model` made, or a start that was killed, is opened by its name only.

    Raises:
        MissingError: If there is none.
    """
    configs = sorted(runs.glob("[!.]*/config.json"), key=lambda path: (path.stat().st_mtime_ns, path.parent.name))
    found = next((path.parent for path in reversed(configs) if _is_trained_or_started(path.parent)), None)
    if found is not None:
        return found
    start = "start one: rsgrpo train, or rsgrpo prepare"
    if configs:
        others = ", ".join(path.parent.name for path in configs)
        raise MissingError("no run under runs/ has problems to train on", f"{start}; or name one: --run ({others})")
    raise MissingError("no run under runs/ yet", f"{start}; or name it: --run")


def _is_trained_or_started(run: Path) -> bool:
    """Whether a run has problems to train on, or a process at work that may be about to prepare them."""
    return (run / "prompts.parquet").is_file() or holder(run / LOCKS[0]) is not None
