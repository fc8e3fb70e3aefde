"""What this process is doing, from the whole down to its parts: for whoever shows it.

Whatever takes a while says so with `doing`. It costs an append to a list, so that a step need not ask whether anybody
looks; a thread that draws reads the list (`commands/live.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False, slots=True)
class Doing:
    """One thing that is being done.

    Args:
        what: In a few words; empty for the count of what is around it.
        total: How much there is to do; 0 where that is not known.
        unit: What is counted.
        done: How much of it is done.
        started: time.monotonic() at its start.
        detail: More to say of it, on a line of its own: how workers are doing.
    """

    what: str
    total: int = 0
    unit: str = ""
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    detail: str = ""

    def advance(self, amount: int = 1) -> None:
        """Count this much as done."""
        self.done += amount


_stack: list[Doing] = []


@contextmanager
def doing(what: str, total: int = 0, unit: str = "") -> Iterator[Doing]:
    """Say what the block does."""
    one = Doing(what, total, unit)
    _stack.append(one)
    try:
        yield one
    finally:
        _stack.remove(one)


class _Starts:
    """The time that loading and starting things took, in this process."""

    seconds = 0.0
    depth = 0


@contextmanager
def starting(what: str) -> Iterator[None]:
    """Say what the block loads or starts. That time is not the work's: see `seconds_starting`."""
    begun, _Starts.depth = time.monotonic(), _Starts.depth + 1
    try:
        with doing(what):
            yield
    finally:
        _Starts.depth -= 1
        if not _Starts.depth:
            _Starts.seconds += time.monotonic() - begun


def seconds_starting() -> float:
    """Seconds that this process has spent in `starting` so far."""
    return _Starts.seconds


def as_data() -> list[dict[str, Any]]:
    """What is being done now, the outermost first, ready for JSON; each with the seconds since it began."""
    now = time.monotonic()
    return [
        {"what": one.what, "done": one.done, "total": one.total, "unit": one.unit, "seconds": now - one.started}
        | ({"detail": one.detail} if one.detail else {})
        for one in list(_stack)
    ]


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done, as one line has it.

    Args:
        what: In words.
        count: For example "3/8 parts"; empty where nothing is counted.
        fraction: The share that is done, None where it is not known.
        seconds: Since it began.
        detail: More about it, in words.
    """

    what: str
    count: str
    fraction: float | None
    seconds: float
    detail: str = ""


def progress(stack: Sequence[Mapping[str, Any]]) -> Progress | None:
    """The innermost thing that has a name, and how far the counts of it and of what is inside it have come.

    Args:
        stack: As of `as_data`.
    """
    named = [number for number, one in enumerate(stack) if one["what"]]
    if not named:
        return None
    at = named[-1]
    counted = [one for one in stack[at:] if one["total"] > 1]
    fraction: float | None = None
    for one in reversed(counted):  # a part that is half done is half of a part
        fraction = min(1.0, (one["done"] + (fraction or 0.0)) / one["total"])
    count = f"{counted[0]['done']:,}/{counted[0]['total']:,} {counted[0]['unit']}".rstrip() if counted else ""
    detail = next((str(one["detail"]) for one in reversed(stack) if one.get("detail")), "")
    return Progress(str(stack[at]["what"]), count, fraction, float(stack[at]["seconds"]), detail)
