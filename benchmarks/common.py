"""Timing and tables for the benchmarks."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence

from rsgrpo_cli.console import Output, table


def times(function: Callable[[], object], runs: int = 5, warmup: int = 1) -> list[float]:
    """Seconds that each of several calls takes, after some that are not counted."""
    for _ in range(warmup):
        function()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return seconds


def median(seconds: Sequence[float]) -> float:
    """The middle one: a busy machine makes a mean meaningless."""
    return statistics.median(seconds)


def show(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, with the machine in its title."""
    made = table(*headers, title=f"{title} ({os.cpu_count()} cores)")
    for row in rows:
        made.add_row(*row)
    Output().result({}, made)


def against(limit: float, seconds: Sequence[float]) -> list[str]:
    """Cells: median, fastest, slowest, limit, share of the limit."""
    middle = median(seconds)
    return [f"{middle:.3f} s", f"{min(seconds):.3f}", f"{max(seconds):.3f}", f"{limit:g} s", f"{middle / limit:.0%}"]
