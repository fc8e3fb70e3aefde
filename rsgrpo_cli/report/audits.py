"""What second graders decided otherwise than a run's rewards, as `score --audit-with` wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.run_dir import RunDir
from rsgrpo_cli.schemas import AUDIT
from rsgrpo_cli.step_dir import rewards_of


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Completions with one answer to one reference answer that two graders judge differently, in one way.

    Args:
        count: How many.
        completion: The first of them, as "group/sample".
        ground_truth: The reference answer.
        answer: The extracted answer.
        verdict: Reward and status.
        second: Those of the second grader.
    """

    count: int
    completion: str
    ground_truth: str
    answer: str
    verdict: tuple[float | None, str]
    second: tuple[float | None, str]


@dataclass(frozen=True, slots=True)
class Audit:
    """One comparison of a step's rewards with a second grader.

    Args:
        step: The step.
        grader: The second grader.
        compared: Completions that were compared.
        table: Those that it judges otherwise, a table of `schemas.AUDIT`.
        current: Whether the rewards that are there now were compared.
    """

    step: int
    grader: str
    compared: int
    table: pa.Table
    current: bool


def audits(run: RunDir) -> Iterator[Audit]:
    """All comparisons of a run, by step and grader."""
    for step in run.steps():
        for path in sorted(run.step(step).glob("audit.*.parquet")):
            lineage = read_lineage(path, AUDIT)
            rewards = rewards_of(run, step)
            current = bool(rewards) and lineage.inputs["rewards"] == rewards.id
            compared = int(lineage.outputs["compared"])
            yield Audit(step, str(lineage.config["grader"]), compared, read_table(path, AUDIT), current)


def folded(table: pa.Table) -> list[Disagreement]:
    """Equal disagreements as one each, the most frequent first."""
    rows = table.to_pylist()
    kinds = [_kind(row) for row in rows]
    counts, first = Counter(kinds), dict(reversed(list(zip(kinds, rows, strict=True))))
    return [
        Disagreement(count, f"{first[kind]['group_id']}/{first[kind]['sample_index']}", *kind)
        for kind, count in counts.most_common()
    ]


def more_generous(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many completions a second grader gives more."""
    return sum((row["second_reward"] or 0) > (row["reward"] or 0) for row in rows)


def _kind(row: Mapping[str, Any]) -> tuple[str, str, tuple[float | None, str], tuple[float | None, str]]:
    verdicts = ((row["reward"], row["reward_status"]), (row["second_reward"], row["second_status"]))
    return row["ground_truth"], row["extracted_answer"] or "", *verdicts
