"""Grades some completions of a step again: `score --retry`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import read_table, write_table
from rsgrpo_cli.config import ScoreConfig
from rsgrpo_cli.errors import StaleError, UsageError
from rsgrpo_cli.pipeline.grading import Grading, grading_of, rewards_state
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import Outcome, run_stage
from rsgrpo_cli.rewards.types import Status
from rsgrpo_cli.run.staleness import Freshness, require_fresh
from rsgrpo_cli.run.step_dir import Step, rewards_of
from rsgrpo_cli.schemas import REWARDS, key_of
from rsgrpo_cli.stages import score as score_stage


def statuses_named(text: str) -> tuple[str, ...]:
    """The statuses in a list such as "error,timeout".

    Raises:
        UsageError: If one is unknown.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = [status.value for status in Status]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        said = repr(unknown[0]) if unknown else "an empty list"
        raise UsageError(f"--retry: {said} is not a reward status", f"statuses: {', '.join(known)}")
    return names


def retry(
    session: Session,
    step: int,
    cfg: ScoreConfig,
    statuses: Collection[str],
    *,
    tag: str | None = None,
    force: bool = False,
) -> Outcome:
    """Grade the completions of a step with some statuses again, and only these.

    Rewards that nothing came of stay as they are, byte for byte.

    Raises:
        StaleError: If the rewards are not those of these settings, or something was made from them and would change.
    """
    run, found = session.run, Step(session.run, step)
    rollouts_id = found.complete_rollouts()
    require_fresh(run, step, "rollouts")
    grading, made = grading_of(session, found, cfg), rewards_of(run, step, tag)
    if made.single or rewards_state(found, made, grading, rollouts_id) != Freshness.CURRENT:
        raise StaleError(
            f"step {step} has no rewards of these rules and settings, so there is nothing to try again",
            "grade all of it: leave out --retry" + (", and give --force" if made else ""),
        )
    changed = {path: table for path in made.paths if (table := _regraded(path, found, grading, statuses)) is not None}
    tried = sum(_count(path, statuses) for path in made.paths)

    def work() -> dict[str, Any]:
        for path, table in changed.items():
            write_table(path, table, REWARDS, made.lineage(path).with_id(""))  # an id of its own: it is another table
        rewards = rewards_of(run, step, tag).table(["reward_status"])
        return {"tried_again": tried, "statuses": score_stage.count_statuses(rewards)}

    return run_stage(
        session,
        "score",
        made.place,
        Freshness.OTHER_SETTINGS if changed else Freshness.CURRENT,
        work,
        dependents=[] if tag else [run.advantages(step)],
        force=force,
        done=lambda: {"tried_again": tried},
        where={"step": step} | ({"tag": tag} if tag else {}),
    )


def _count(path: Path, statuses: Collection[str]) -> int:
    counts = Counter(read_table(path, REWARDS, ["reward_status"])["reward_status"].to_pylist())
    return sum(counts[status] for status in statuses)


def _regraded(path: Path, step: Step, grading: Grading, statuses: Collection[str]) -> pa.Table | None:
    """A part with its completions of these statuses graded again; None where that changes nothing."""
    rewards = read_table(path, REWARDS).cast(REWARDS.schema)
    wanted = pc.is_in(rewards["reward_status"], pa.array(list(statuses)))
    if not pc.any(wanted).as_py():
        return None
    again = {key_of(row): row for row in grading.grade(step.folder / path.name, wanted).to_pylist()}
    rows = [again.get(key_of(row), row) for row in rewards.to_pylist()]
    made = pa.Table.from_pylist(rows, schema=REWARDS.schema)
    return None if made.equals(rewards) else made
