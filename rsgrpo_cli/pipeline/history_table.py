"""From the tables of a step to the history of the next, and between a history and its table.

Shape suffixes: N completions with a reward, K groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.core.history import History, Outcome, Visits
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards import verdicts
from rsgrpo_cli.schemas import HISTORY
from rsgrpo_cli.stages.advantage import prompt_of

REWARD_COLUMNS = ("group_id", *verdicts.COLUMNS)
"""The columns of the rewards that are read."""


def outcome(rewards: pa.Table, entropy: float | None) -> Outcome:
    """What a step came to.

    Args:
        rewards: Its table of `schemas.REWARDS`, or REWARD_COLUMNS of it.
        entropy: That its update measured, in nats per token.

    Raises:
        DataError: If the rewards are neither verdicts nor numbers in [0, 1].
    """
    right = verdicts.right(rewards)
    scored = rewards.filter(pc.is_valid(rewards["reward"]))
    values = scored["reward"] if right is None else right.filter(pc.is_valid(rewards["reward"]))
    right_N = values.to_numpy().astype(np.float64)
    if right_N.size and not (0 <= right_N.min() <= right_N.max() <= 1):
        raise DataError(
            f"how often a prompt was solved needs rewards in [0, 1]; these go from {right_N.min():g} to "
            f"{right_N.max():g}",
            "scale the rewards, or use an estimator that does not look at earlier steps, such as rs_grpo",
        )
    groups = pc.dictionary_encode(scored["group_id"].combine_chunks())
    codes_N, names_K = groups.indices.to_numpy(), groups.dictionary.to_pylist()
    return Outcome(
        [prompt_of(name) for name in names_K],
        np.bincount(codes_N, right_N, minlength=len(names_K)).astype(np.float64),
        np.bincount(codes_N, minlength=len(names_K)).astype(np.float64),
        entropy,
    )


def to_table(history: History) -> pa.Table:
    """One row per prompt, of `schemas.HISTORY`; see `means` for the rest."""
    prompts = sorted(history.prompts)
    known = [history.prompts[prompt] for prompt in prompts]
    recent = [visit for visits in known for visit in visits.recent]
    offsets = pa.array(np.cumsum([0, *(len(visits.recent) for visits in known)], dtype=np.int32))
    columns = {
        "prompt_id": prompts,
        "right": [visits.right for visits in known],
        "completions": [visits.completions for visits in known],
        "recent_steps": pa.ListArray.from_arrays(offsets, pa.array([step for step, _ in recent], pa.int32())),
        "recent_rates": pa.ListArray.from_arrays(offsets, pa.array([rate for _, rate in recent], pa.float64())),
    }
    return pa.table(columns, schema=HISTORY.schema)


def means(history: History) -> dict[str, str]:
    """The numbers that are not of one prompt, for the file's metadata; `repr` keeps every digit."""
    known = {name: getattr(history, name) for name in ("solve_rate", "entropy", "first_entropy")}
    return {"step": str(history.step)} | {name: repr(value) for name, value in known.items() if value is not None}


def from_table(table: pa.Table, means: Mapping[str, str]) -> History:
    """The history of `to_table` and `means`."""
    right, completions, steps, rates = (table[name].to_pylist() for name in HISTORY.schema.names[1:])
    visits = [
        Visits(ok, size, tuple(zip(when, rate, strict=True)))
        for ok, size, when, rate in zip(right, completions, steps, rates, strict=True)
    ]
    return History(
        int(means["step"]),
        float(means["solve_rate"]),
        _number(means.get("entropy")),
        _number(means.get("first_entropy")),
        dict(zip(table["prompt_id"].to_pylist(), visits, strict=True)),
    )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
