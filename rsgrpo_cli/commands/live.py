"""A long run as one sees it: a line per step, under one heading."""

from __future__ import annotations

import time
from typing import Any

from rsgrpo_cli.console import Output, duration, number

COLUMNS = (
    ("reward", "reward_mean", 3),
    ("±", "reward_error", 3),
    ("pass@G", "pass@G", 3),
    ("solved", "cumulative_solve_rate", 3),
    ("adv rms", "advantage_rms", 3),
    ("loss", "loss", 4),
    ("grad", "grad_norm", 3),
    ("entropy", "entropy", 3),
    ("tokens", "completion_length_mean", 1),
    ("seconds", "seconds_step", 2),
)
HEADING_EVERY = 40


class StepDisplay:
    """Prints a line per step to stderr, with the time that is left; use as a context manager."""

    def __init__(self, out: Output, steps: int) -> None:
        self.out, self.steps, self.shown = out, steps, 0
        self.started = time.perf_counter()
        self.last: dict[str, Any] = {}

    def __enter__(self) -> StepDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to undo."""

    def show(self, row: dict[str, Any]) -> None:
        """Print a step's row of metrics; what it has a value for stays in `last`."""
        self.last = {name: value for name, value in row.items() if value is not None}
        if self.shown % HEADING_EVERY == 0:
            self.out.info("  ".join(["   step", *(f"{heading:>8}" for heading, _, _ in COLUMNS), "    left"]))
        self.shown += 1
        done = row["step"] + 1
        left = (time.perf_counter() - self.started) / self.shown * (self.steps - done)
        # What a step has no number for: pass@G where rewards are grades, their mean where all of them are None.
        cells = [f"{number(row.get(name), digits) or '-':>8}" for _, name, digits in COLUMNS]
        self.out.info("  ".join([f"{row['step']:>7}", *cells, f"{duration(left):>8}"]))
