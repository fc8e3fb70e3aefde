"""`score`: a reward and its reason for every completion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.shaping import Shaping
from rsgrpo_cli.rewards.types import RewardFn, Sample, Verdict
from rsgrpo_cli.schemas import KEYS, REWARDS

COLUMNS = ("group_id", "sample_index", "prompt_id", "completion", "finish_reason")
"""The columns of the rollouts that are read."""
SHAPING_COLUMNS = (*COLUMNS, "completion_ids")
"""The same, where rewards are shaped by length."""
PROMPT_COLUMNS = ("prompt_id", "task", "split", "messages", "ground_truth", "data_source", "extra_info")
"""The columns of the prompts that are read; a user's function gets them too."""


def score(
    rollouts: pa.Table,
    prompts: pa.Table,
    reward: RewardFn,
    shaping: Shaping | None = None,
    known: pa.Table | None = None,
    in_thought: Collection[str] = (),
) -> pa.Table:
    """Grade completions against the reference answers of their prompts.

    Args:
        rollouts: Table of `schemas.ROLLOUTS`, or its COLUMNS; its SHAPING_COLUMNS where rewards are shaped.
        prompts: Table of `schemas.PROMPTS` with every prompt of the rollouts.
        reward: The verifier.
        shaping: What is added to its rewards, if anything.
        known: Rewards of some of the groups, made in the same way; they are taken over.
        in_thought: Ids of prompts that end inside a thought, so that their completions begin in it.

    Returns:
        Table of `schemas.REWARDS`, same keys in the same order.

    Raises:
        DataError: If a rollout's prompt is not among the prompts.
    """
    if known is not None:
        rollouts = rollouts.filter(pc.invert(pc.is_in(rollouts["group_id"], pc.unique(known["group_id"]))))
    completions = rollouts.select(list(COLUMNS)).to_pylist()
    verdicts = reward(_samples(completions, rollouts, prompts, in_thought))
    if shaping and not shaping.is_off:
        lengths = pc.list_value_length(rollouts["completion_ids"]).to_pylist()
        texts = [row["completion"] for row in completions]
        thoughts = [row["prompt_id"] in in_thought for row in completions]
        verdicts = [shaping.apply(*each) for each in zip(verdicts, texts, lengths, thoughts, strict=True)]
    rows = [_row(row, verdict) for row, verdict in zip(completions, verdicts, strict=True)]
    if known is not None:
        rows = sorted(known.to_pylist() + rows, key=lambda row: [row[key] for key in KEYS])
    return pa.Table.from_pylist(rows, schema=REWARDS.schema)


def _samples(
    completions: list[dict[str, Any]], rollouts: pa.Table, prompts: pa.Table, in_thought: Collection[str]
) -> list[Sample]:
    wanted = prompts.filter(pc.is_in(prompts["prompt_id"], rollouts["prompt_id"].combine_chunks()))
    by_id = {row["prompt_id"]: row for row in wanted.select(list(PROMPT_COLUMNS)).to_pylist()}
    answers = {prompt_id: row.pop("ground_truth") for prompt_id, row in by_id.items()}
    unknown = next((row["prompt_id"] for row in completions if row["prompt_id"] not in by_id), None)
    if unknown is not None:
        raise DataError(f"the rollouts have prompt {unknown}, which is not among the run's prompts")
    return [
        _sample(row, answers[row["prompt_id"]], by_id[row["prompt_id"]], row["prompt_id"] in in_thought)
        for row in completions
    ]


def _sample(rollout: dict[str, Any], answer: str, prompt: dict[str, Any], in_thought: bool) -> Sample:
    return Sample(
        completion=rollout["completion"],
        ground_truth=answer,
        finish_reason=rollout["finish_reason"],
        columns={**prompt, "sample_index": rollout["sample_index"]},
        in_thought=in_thought,
    )


def _row(rollout: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    return {
        "group_id": rollout["group_id"],
        "sample_index": rollout["sample_index"],
        "reward": verdict.reward,
        "reward_breakdown": list(verdict.breakdown.items()),
        "reward_status": verdict.status.value,
        "extracted_answer": verdict.answer,
    }


def count_statuses(rewards: pa.Table) -> dict[str, int]:
    """How many completions got each status, most frequent first."""
    counts = Counter(rewards["reward_status"].to_pylist())
    return dict(counts.most_common())
