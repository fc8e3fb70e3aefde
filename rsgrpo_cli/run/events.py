"""The log of a run: what ran when and for how long, a JSON object per line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsgrpo_cli import disk

MAX_SECONDS = 1e10
"""No stage takes longer: a line that says so is no event."""


def append(path: Path, event: Mapping[str, Any]) -> None:
    """Add an event, with the time.

    Raises:
        ArtifactError: If the log is a symbolic link: it would be written through; or if the disk is full.
    """
    _append(path, json.dumps({"time": _now(), **event}))


def write_line(path: Path, text: str) -> None:
    """Add a line for people to a log, with the time.

    Raises:
        ArtifactError: As `append`.
    """
    _append(path, f"{_now()} {text}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _append(path: Path, line: str) -> None:
    with disk.explain_full_disk(path):
        descriptor = disk.open_own(path, os.O_WRONLY | os.O_APPEND)
        with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The events; a line cut short by a crash, or one that is no event, is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [event for event in _parsed(lines) if _is_event(event)]


def _parsed(lines: list[str]) -> list[Any]:
    """What each line holds, None where it is not JSON. All at once where all are: four times as fast on a long log."""
    try:
        found = json.loads(f"[{','.join(lines)}]")
    except (ValueError, RecursionError):  # no JSON, a number of a thousand digits, or nested without end
        found = []
    return found if len(found) == len(lines) else [_parsed_alone(line) for line in lines]


def _parsed_alone(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_event(event: Any) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("stage"), str):
        return False
    seconds, step = event.get("seconds"), event.get("step", 0)
    return isinstance(seconds, int | float) and 0 <= seconds < MAX_SECONDS and isinstance(step, int)


class Tail:
    """Reads the events of a log as they are added.

    Args:
        path: The log; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._read = path, 0

    def new(self) -> list[dict[str, Any]]:
        """The events since the last call; a line that is being written waits for the next one."""
        if not self.path.is_file() or self.path.stat().st_size <= self._read:
            return []
        with open(self.path, "rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(end)
        return [event for event in _parsed(whole.decode(errors="replace").splitlines()) if _is_event(event)]
