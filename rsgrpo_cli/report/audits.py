"""What second graders decided otherwise than a run's rewards, as `--audit-with` of `score` and `eval` wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.run.run_commands import eval_command
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.staleness import GRADED, evaluations, place_flags, policy_at
from rsgrpo_cli.run.step_dir import rewards_of, stage_command
from rsgrpo_cli.schemas import AUDIT, SUMMARY


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
    """One comparison of the rewards of a step, or of an evaluation, with a second grader.

    Args:
        of: What was compared: "step 3", or "policy 4 on math500".
        again: The command that compares it again.
        grader: The second grader.
        compared: Completions that were compared.
        table: Those that it judges otherwise, a table of `schemas.AUDIT`.
        current: Whether the rewards that are there now were compared.
    """

    of: str
    again: str
    grader: str
    compared: int
    table: pa.Table
    current: bool


def audits_of_evaluations(run: RunDir) -> Iterator[Audit]:
    """All comparisons of a run's evaluations: the newest policy first, then by place on its line and by name."""
    places = [(version, WHOLE, name) for version, name in evaluations(run)] + run.interpolated()
    for version, at, name in sorted(places, key=lambda place: (-place[0], -place[1], place[2])):
        folder, of = run.evaluation(version, name, at), f"{policy_at(run, version, at)} on {name}"
        summed_up = read_lineage(folder / "summary.parquet", SUMMARY).inputs[GRADED]
        yield from _in(folder, of, summed_up, partial(eval_command, run, version, name, *place_flags(at)))


def audits_of_steps(run: RunDir) -> Iterator[Audit]:
    """All comparisons of a run's steps, the newest first."""
    for step in reversed(run.steps()):
        rewards = rewards_of(run, step)
        made = rewards.id if rewards else None
        yield from _in(run.step(step), f"step {step}", made, partial(stage_command, run, step, "rewards"))


def _in(folder: Path, of: str, rewards: str | None, command: Callable[..., str]) -> Iterator[Audit]:
    """The comparisons in a folder, by grader, of what has these rewards now."""
    for path in sorted(folder.glob("audit.*.parquet")):
        lineage = read_lineage(path, AUDIT)
        grader, compared = str(lineage.config["grader"]), int(lineage.outputs["compared"])
        again, current = command("--audit-with", grader), lineage.inputs["rewards"] == rewards
        yield Audit(of, again, grader, compared, read_table(path, AUDIT), current)


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
