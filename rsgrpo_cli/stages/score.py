"""`score`: a reward and its reason for every completion."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.types import RewardFn, Sample, Verdict
from rsgrpo_cli.schemas import REWARDS

COLUMNS = ("group_id", "sample_index", "prompt_id", "completion", "finish_reason")
"""The columns of the rollouts that are read."""
PROMPT_COLUMNS = ("prompt_id", "task", "split", "messages", "ground_truth", "data_source", "extra_info")
"""The columns of the prompts that are read; a user's function gets them too."""


def score(rollouts: pa.Table, prompts: pa.Table, reward: RewardFn) -> pa.Table:
    """Grade completions against the reference answers of their prompts.

    Args:
        rollouts: Table of `schemas.ROLLOUTS`, or its COLUMNS.
        prompts: Table of `schemas.PROMPTS` with every prompt of the rollouts.
        reward: The verifier.

    Returns:
        Table of `schemas.REWARDS`, same keys in the same order.

    Raises:
        DataError: If a rollout's prompt is not among the prompts.
    """
    wanted = prompts.filter(pc.is_in(prompts["prompt_id"], rollouts["prompt_id"].combine_chunks()))
    by_id = {row["prompt_id"]: row for row in wanted.select(list(PROMPT_COLUMNS)).to_pylist()}
    answers = {prompt_id: row.pop("ground_truth") for prompt_id, row in by_id.items()}
    completions = rollouts.select(list(COLUMNS)).to_pylist()
    unknown = next((row["prompt_id"] for row in completions if row["prompt_id"] not in by_id), None)
    if unknown is not None:
        raise DataError(f"the rollouts have prompt {unknown}, which is not among the run's prompts")
    verdicts = reward([_sample(row, answers[row["prompt_id"]], by_id[row["prompt_id"]]) for row in completions])
    rows = [_row(row, verdict) for row, verdict in zip(completions, verdicts, strict=True)]
    return pa.Table.from_pylist(rows, schema=REWARDS.schema)


def _sample(rollout: dict[str, Any], answer: str, prompt: dict[str, Any]) -> Sample:
    return Sample(
        completion=rollout["completion"],
        ground_truth=answer,
        finish_reason=rollout["finish_reason"],
        columns={**prompt, "sample_index": rollout["sample_index"]},
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
