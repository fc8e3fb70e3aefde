"""Which completions are right: what a verifier says, or what a user's function says with 0 and 1 only."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.rewards.shaping import CORRECTNESS
from rsgrpo_cli.rewards.types import Status

COLUMNS = ("reward", "reward_breakdown", "reward_status")
"""The columns of the rewards that are read."""


def is_from_user(rewards: pa.Table) -> bool:
    """Whether rewards are numbers of a user's function, and not a verifier's verdicts."""
    users = pa.array([Status.SCORED.value, Status.SKIPPED.value])
    return bool(pc.any(pc.is_in(rewards["reward_status"], users)).as_py())


def right(rewards: pa.Table) -> pa.ChunkedArray | None:
    """Which completions are right; None where the rewards do not say.

    A verifier says so in the status. A user's function returns numbers: if every number in the table is 0 or 1, then 1
    is right, and everything else is not (a 0, no reward, a call that failed). A single other number makes all of them
    grades, and where all are None there is nothing to go by.

    Args:
        rewards: Table of `schemas.REWARDS`, or its COLUMNS: one step, or one evaluation.

    Returns:
        Booleans, one per row.
    """
    if not is_from_user(rewards):
        return pc.equal(rewards["reward_status"], Status.OK.value)
    scored = pc.equal(rewards["reward_status"], Status.SCORED.value)
    # What was added for length or format says nothing about right and wrong.
    unshaped = pc.map_lookup(rewards["reward_breakdown"], CORRECTNESS, "first")
    values = pc.coalesce(unshaped, rewards["reward"])
    said = values.filter(scored)
    if not len(said) or not pc.all(pc.is_in(said, pa.array([0.0, 1.0]))).as_py():
        return None
    return pc.and_(scored, pc.equal(values, 1.0).fill_null(False))
