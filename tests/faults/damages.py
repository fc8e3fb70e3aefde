"""What can happen to a file of a run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

LONG = pytest.mark.skipif("RSGRPO_FAULTS" not in os.environ, reason="takes many minutes: make faults")
"""What is for whoever changes how a run is kept."""


def flipped(path: Path, _: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path, _: Path) -> None:
    """The last tenth is missing."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 9 // 10])


def emptied(path: Path, _: Path) -> None:
    """No bytes, as after a power cut."""
    path.write_bytes(b"")


def deleted(path: Path, _: Path) -> None:
    """Gone."""
    path.unlink()


def foreign(path: Path, other: Path) -> None:
    """The file of the same name of another run."""
    shutil.copyfile(other, path)


def wrong_json(path: Path, _: Path) -> None:
    """JSON of another kind; into a Parquet file it does not fit either."""
    path.write_text(json.dumps([{"version": "x"}, None]))


DAMAGES: tuple[Callable[[Path, Path], None], ...] = (flipped, cut, emptied, deleted, foreign, wrong_json)
LOGS = ("events.jsonl", "run.log", "lock", "evals.lock", "checked.parquet")
"""Files that decide nothing: what they lack is left out, or found out again."""


def files_of(run: Path) -> list[str]:
    """The files of a run that decide something, relative to it."""
    found = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    return [name for name in found if Path(name).name not in LOGS and not name.endswith(".lock")]
