"""What all stages have in common: skip what is done, refuse what needs a decision, else work and log it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsgrpo_cli import activity, wording
from rsgrpo_cli.errors import Interrupted
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.run.staleness import Freshness, decide

START = "start"
"""What the log calls the time that loading and starting things took."""
INTERRUPTED = "interrupted"
"""What it calls the time of a stage that was stopped in the middle; what is done again is another entry."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stage.

    Args:
        stage: Its name.
        path: What it made, or found made.
        skipped: Whether it was there already, from the same inputs and settings.
        seconds: How long it took.
        facts: Its numbers, by name.
    """

    stage: str
    path: Path
    skipped: bool
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


def run_stage(
    session: Session,
    stage: str,
    path: Path,
    state: Freshness,
    work: Callable[[], dict[str, Any]],
    *,
    dependents: Sequence[Path] = (),
    force: bool = False,
    tagged: bool = True,
    done: Callable[[], dict[str, Any]] = dict,
    where: Mapping[str, int | str],
) -> Outcome:
    """Run a stage unless what it makes is there, made from the same inputs with the same settings.

    Args:
        session: The run.
        stage: Its name.
        path: What it makes.
        state: How what is there relates to what would be made now.
        work: Makes and writes it; returns the facts of the outcome.
        dependents: Artifacts that are made from it; those that exist are at stake.
        force: Replace it whatever depends on it.
        tagged: Whether its command has a --tag.
        done: The facts of the outcome if it is there already.
        where: What the log entry says beside the stage and the time.

    Raises:
        StaleError: If replacing it needs a decision.
    """
    if not decide(state, path, dependents=dependents, force=force, tagged=tagged):
        return Outcome(stage, path, True, 0.0, done())
    return carry_out(session, stage, path, work, where)


def carry_out(
    session: Session, stage: str, path: Path, work: Callable[[], dict[str, Any]], where: Mapping[str, int | str]
) -> Outcome:
    """Run a stage's work, whatever is there; time it and log it. Arguments as of `run_stage`.

    What was loaded or started on the way is logged as a start: that is the program's time, and not the stage's.
    """
    started, before = time.perf_counter(), activity.seconds_starting()
    try:
        with activity.doing(_named(stage, where)):
            facts = work()
    except (Interrupted, KeyboardInterrupt):
        _record(session, INTERRUPTED, time.perf_counter() - started, where)
        raise
    starting = activity.seconds_starting() - before
    seconds = max(0.0, time.perf_counter() - started - starting)
    if starting:
        _record(session, START, starting, where)
    session.note_time({"stage": stage, **where}, seconds)
    return Outcome(stage, path, False, seconds, facts)


def _record(session: Session, what: str, seconds: float, where: Mapping[str, int | str]) -> None:
    """Log a time that is no stage's own, but with its tag."""
    tag = {"tag": where["tag"]} if "tag" in where else {}
    session.run.record({"stage": what, **tag, "seconds": round(seconds, 4)})


def _named(stage: str, where: Mapping[str, int | str]) -> str:
    """A stage and what it is of: update of step 3, score of step 3 with tag strict, eval of policy 5 on toy."""
    tag = f" with tag {where['tag']}" if "tag" in where else ""
    if "step" in where:
        return f"{stage} of step {where['step']}{tag}"
    if "policy" in where:
        return f"{stage} of policy {where['policy']} on {where.get('benchmark')}"  # whose name has the tag
    return " of ".join([stage, *(str(value) for name, value in where.items() if name != "tag")]) + tag


def again(session: Session) -> str:
    """The command that resumes this run."""
    return f"run {wording.again(session.run.path)}"
