"""How long the stages of a run took, from its log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rsgrpo_cli.run.run_dir import RunDir


def read_timings(run: RunDir) -> dict[int, dict[str, float]]:
    """Step -> stage -> seconds that the log has of it."""
    timings: dict[int, dict[str, float]] = {}
    for event in run.recorded():
        if "step" in event and "tag" not in event:
            add_time(timings, event, event["seconds"])
    return timings


def add_time(timings: dict[int, dict[str, float]], event: Mapping[str, Any], seconds: float) -> None:
    """Note how long a stage took: the last time counts, and a further round of sampling adds to the one before."""
    of_step = timings.setdefault(event["step"], {})
    of_step[event["stage"]] = seconds + (of_step.get(event["stage"], 0.0) if event.get("round") else 0.0)
