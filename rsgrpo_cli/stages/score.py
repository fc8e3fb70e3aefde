"""`score`: a reward and its reason for every completion."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.shaping import Shaping
from rsgrpo_cli.rewards.types import RewardFn, Sample, Status, Verdict
from rsgrpo_cli.rewards.user import STANDARD_COLUMNS, UserReward
from rsgrpo_cli.schemas import REWARDS, TEXT_ROLE
from rsgrpo_cli.wording import counted

COLUMNS = ("group_id", "sample_index", "prompt_id", "completion", "finish_reason")
"""The columns of the rollouts that are read."""
SHAPING_COLUMNS = (*COLUMNS, "completion_ids")
"""The same, where rewards are shaped by length, or a user's function takes the token ids."""
PROMPT_COLUMNS = ("prompt_id", "task", "split", "messages", "ground_truth", "data_source", "extra_info")
"""The columns of the prompts that are read; a user's function gets them too."""


MOST_TIMEOUTS = 0.5
"""Of the completions of a part; where more of them time out, the limit is at fault."""


def columns_read(reward: RewardFn, shaping: Shaping | None = None) -> tuple[str, ...]:
    """The columns of the rollouts that scoring reads."""
    takes_ids = isinstance(reward, UserReward) and reward.takes("completion_ids")
    return SHAPING_COLUMNS if takes_ids or not (shaping is None or shaping.is_off) else COLUMNS


def score(
    rollouts: pa.Table,
    prompts: pa.Table,
    reward: RewardFn,
    shaping: Shaping | None = None,
    in_thought: Collection[str] = (),
    among: int | None = None,
) -> pa.Table:
    """Grade completions against the reference answers of their prompts.

    Args:
        rollouts: Table of `schemas.ROLLOUTS`, or what `columns_read` names of it.
        prompts: Table of `schemas.PROMPTS` with every prompt of the rollouts.
        reward: The verifier.
        shaping: What is added to its rewards, if anything.
        in_thought: Ids of prompts that end inside a thought, so that their completions begin in it.
        among: Of how many completions these are a choice, where the others were graded before: failures are a share of
            all of them.

    Returns:
        Table of `schemas.REWARDS`, same keys in the same order.

    Raises:
        DataError: If a rollout's prompt is not among the prompts, or more than half of the completions time out.
    """
    completions = rollouts.select(list(COLUMNS)).to_pylist()
    samples = _samples(completions, rollouts, prompts, in_thought)
    if isinstance(reward, UserReward):
        samples = _for_a_function(samples, rollouts, prompts, takes_ids=reward.takes("completion_ids"))
        verdicts = reward(samples, among)
    else:
        verdicts = reward(samples)
    _refuse_timeouts(verdicts, among or len(verdicts))
    if shaping and not shaping.is_off:
        lengths = pc.list_value_length(rollouts["completion_ids"]).to_pylist()
        texts = [row["completion"] for row in completions]
        thoughts = [row["prompt_id"] in in_thought for row in completions]
        verdicts = [shaping.apply(*each) for each in zip(verdicts, texts, lengths, thoughts, strict=True)]
    rows = [_row(row, verdict) for row, verdict in zip(completions, verdicts, strict=True)]
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


def _for_a_function(samples: list[Sample], rollouts: pa.Table, prompts: pa.Table, *, takes_ids: bool) -> list[Sample]:
    """The samples with what a user's function can have beside: TRL's `prompts`, token ids, the data set's columns."""
    used = prompts.filter(pc.is_in(prompts["prompt_id"], rollouts["prompt_id"].combine_chunks()))
    texts = used["extra_columns"].to_pylist() if "extra_columns" in used.schema.names else [None] * len(used)
    own = {name: _own_columns(text, name) for name, text in zip(used["prompt_id"].to_pylist(), texts, strict=True)}
    ids: Iterable[Any] = rollouts["completion_ids"].to_pylist() if takes_ids else [None] * len(samples)
    made = []
    for sample, token_ids in zip(samples, ids, strict=True):
        columns = {**sample.columns, **own[sample.columns["prompt_id"]], "prompts": _prompt(sample.columns["messages"])}
        made.append(replace(sample, columns=columns | ({"completion_ids": token_ids} if takes_ids else {})))
    return made


def _own_columns(text: str | None, prompt_id: str) -> dict[str, Any]:
    """The data set's columns of a prompt; ours go before them, except where they are only a default."""
    try:
        found = json.loads(text) if text is not None else {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"the columns of prompt {prompt_id} cannot be read: {error}", _PREPARE) from error
    if not isinstance(found, Mapping):
        raise DataError(f"the columns of prompt {prompt_id} are not a JSON object", _PREPARE)
    return {name: value for name, value in found.items() if name not in STANDARD_COLUMNS}


_PREPARE = "make the prompts again: rsgrpo prepare --force"


def _prompt(messages: list[dict[str, str]] | None) -> Any:
    """A prompt as TRL passes it: the text, or the chat."""
    is_text = messages is not None and len(messages) == 1 and messages[0]["role"] == TEXT_ROLE
    return messages[0]["content"] if messages and is_text else messages


def _refuse_timeouts(verdicts: list[Verdict], among: int) -> None:
    late = sum(verdict.status is Status.TIMEOUT for verdict in verdicts)
    if late > MOST_TIMEOUTS * among:
        raise DataError(
            f"{late} of {counted(among, 'completion')} ran into the time limit of the verifier",
            "give it longer: --timeout; then run the same command again",
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
