"""Small tables by hand, in the schemas of the artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from rsgrpo_cli.schemas import (
    ADVANTAGES,
    PROBLEMS,
    PROMPTS,
    REWARDS,
    ROLLOUTS,
    SUMMARY,
    UPDATE_METRICS,
    ArtifactSchema,
)

Groups = Mapping[str, Sequence[Any]]
"""Prompt -> something of each of its completions, in order."""


def table_of(kind: ArtifactSchema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of a table; columns that are not given are null, or 0 or empty where null is not allowed."""
    empty = {field.name: None if field.nullable else _nothing(field.type) for field in kind.schema}
    unknown = {name for row in rows for name in row} - empty.keys()
    assert not unknown, unknown
    return pa.Table.from_pylist([empty | dict(row) for row in rows], schema=kind.schema)


def _nothing(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_list(kind) or pa.types.is_map(kind):
        return []
    return {} if pa.types.is_struct(kind) else 0


def _rows(groups: Groups, step: int | None) -> list[tuple[dict[str, Any], Any]]:
    """The key columns of each completion, and what is said of it; without a step as an evaluation has them."""
    named = [(name if step is None else f"{step}:{name}", each) for name, each in groups.items()]
    return [
        ({"group_id": group_id, "sample_index": index}, value)
        for group_id, values in named
        for index, value in enumerate(values)
    ]


def prompts(ids: Sequence[str]) -> pa.Table:
    """Training problems."""
    return table_of(PROMPTS, [{"prompt_id": name, "ground_truth": name, "task": "countdown"} for name in sorted(ids)])


def rollouts(lengths: Groups, *, step: int | None = 0, version: int = 0, most: int = 9) -> pa.Table:
    """Completions of so many tokens, each with log-probability -1; those of `most` tokens were cut."""
    rows = [
        key
        | {"prompt_id": key["group_id"].rpartition(":")[2], "policy_version": version, "completion": "x" * length}
        | {"completion_ids": [7] * length, "sampling_logprobs": [-1.0] * length}
        | {"finish_reason": "length" if length == most else "stop"}
        for key, length in _rows(lengths, step)
    ]
    return table_of(ROLLOUTS, rows)


def rewards(values: Groups, *, step: int | None = 0, own: bool = False) -> pa.Table:
    """Rewards of a verifier, 1 right and 0 wrong; or of a user's function (`own`), whose None is no reward."""

    def status(value: float | None) -> str:
        if own:
            return "skipped" if value is None else "scored"
        return {1: "ok", 0: "wrong"}[value]  # type: ignore[index]  # a verifier has no None

    rows = [key | {"reward": value, "reward_status": status(value)} for key, value in _rows(values, step)]
    return table_of(REWARDS, rows)


def advantages(values: Groups, statuses: Mapping[str, str], *, step: int = 0) -> pa.Table:
    """Advantages, and what each group is."""
    named = {f"{step}:{name}": status for name, status in statuses.items()}
    rows = [key | {"advantage": value, "group_status": named[key["group_id"]]} for key, value in _rows(values, step)]
    return table_of(ADVANTAGES, rows)


def update_metrics(*steps: Mapping[str, Any]) -> pa.Table:
    """Optimizer steps of an update."""
    return table_of(UPDATE_METRICS, [{"optimizer_step": number} | dict(row) for number, row in enumerate(steps)])


def problems(correct: Mapping[str, int], samples: int) -> pa.Table:
    """Problems of a benchmark, with so many right of so many samples."""
    rows = [
        {"prompt_id": name, "ground_truth": name, "n": samples, "correct": right, "correct_lenient": None}
        for name, right in correct.items()
    ]
    return table_of(PROBLEMS, rows)


def summary(samples: int, values: Mapping[tuple[str, int | None], float]) -> pa.Table:
    """(metric, k) -> value, with an interval of 0.1 to both sides."""
    rows = [
        {"metric": metric, "k": k, "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "n_samples": samples}
        for (metric, k), value in values.items()
    ]
    return table_of(SUMMARY, rows)
