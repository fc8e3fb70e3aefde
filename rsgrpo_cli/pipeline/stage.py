"""What all stages have in common: skip what is done, refuse what needs a decision, else work and log it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rsgrpo_cli.pipeline.session import Outcome, Session
from rsgrpo_cli.staleness import Freshness, decide


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
    return session.carry_out(stage, path, work, **where)


def again(session: Session) -> str:
    """The command that resumes this run."""
    return f"run the same command again with --run {session.run.path}"
