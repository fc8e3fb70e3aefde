"""Grades a step's completions by a second grader, and keeps what it decides otherwise: `score --audit-with`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli import activity
from rsgrpo_cli.artifacts import Lineage, read_table, write_table
from rsgrpo_cli.config import ScoreConfig
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.pipeline import preparation
from rsgrpo_cli.pipeline.grading import Grading, grading_of
from rsgrpo_cli.pipeline.regrading import key_of
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.rewards.shaping import CORRECTNESS
from rsgrpo_cli.schemas import AUDIT, KEYS, REWARDS, ROLLOUTS
from rsgrpo_cli.staleness import require_fresh
from rsgrpo_cli.step_dir import Parts, Step, rewards_of


def audit(session: Session, step: int, cfg: ScoreConfig, *, tag: str | None = None) -> pa.Table:
    """The completions of a step that a second grader judges otherwise than the rewards that are there.

    They are written beside the rewards, unless these have a tag. The rewards stay as they are.

    Args:
        session: The run.
        step: Of the rollouts.
        cfg: The second grader, its time limit and its workers.
        tag: Of the rewards that are compared with.

    Returns:
        A table of `schemas.AUDIT`.

    Raises:
        MissingError: If there are no rewards.
        UsageError: If the second grader cannot be loaded, or does not grade such problems.
    """
    run, found, made = session.run, Step(session.run, step), rewards_of(session.run, step, tag)
    found.complete_rollouts()
    rewards = made.table()
    if not tag:
        require_fresh(run, step, "rewards")
    try:
        preparation.require_columns(session, cfg)
    except UsageError as error:
        error.hint = error.hint.replace("--reward", "--audit-with")
        raise
    second = grading_of(session, found, cfg)
    second = replace(second, rules=replace(second.rules, shaping=None))
    _require_task(cfg.reward, second.prompts)
    rows = _disagreements(found.rollouts, rewards, second)
    table = pa.Table.from_pylist(rows, schema=AUDIT.schema)
    lineage = Lineage(
        "audit",
        {"grader": cfg.reward, "identity": second.reward.identity},
        {"rewards": made.id, "prompts": session.prompts_id},
        policy_version=step,
        outputs={"compared": str(len(rewards))},
    )
    if not tag:
        write_table(run.audit(step, cfg.reward), table, AUDIT, lineage)
    return table


def _require_task(grader: str, prompts: pa.Table) -> None:
    """Ask bare math-verify about mathematics alone: to it every other right answer is wrong."""
    tasks = set(prompts["task"].to_pylist())
    if grader == "bare" and tasks - {"math"}:
        raise UsageError(
            f"bare math-verify grades mathematics, and these prompts have the task {min(tasks - {'math'})}",
            "compare with a grader of your own: rsgrpo score --audit-with MODULE:FUNCTION",
        )


def _disagreements(rollouts: Parts, rewards: pa.Table, second: Grading) -> list[dict[str, Any]]:
    golds = dict(zip(*(second.prompts[name].to_pylist() for name in ("prompt_id", "ground_truth")), strict=True))
    first = {key_of(row): row for row in rewards.to_pylist()}
    rows = []
    with activity.doing("second grader", len(rollouts.paths), "parts") as bar:
        for path in rollouts.paths:
            rows += _of_part(path, first, second, golds)
            bar.advance()
    return sorted(rows, key=key_of)


def _of_part(
    path: Path, first: Mapping[tuple[Any, ...], dict[str, Any]], second: Grading, golds: Mapping[str, str]
) -> list[dict[str, Any]]:
    prompts = read_table(path, ROLLOUTS, [*KEYS, "prompt_id"]).to_pylist()
    judged = zip(prompts, second.grade(path).cast(REWARDS.schema).to_pylist(), strict=True)
    both = [(first[key_of(one)], other, one["prompt_id"]) for one, other in judged if key_of(one) in first]
    return [_row(one, other, golds[prompt]) for one, other, prompt in both if _correct(one) != _correct(other)]


def _correct(row: Mapping[str, Any]) -> float | None:
    """A reward without what was added for length or format."""
    value = dict(row["reward_breakdown"] or ()).get(CORRECTNESS, row["reward"])
    return None if value is None else float(value)


def _row(one: Mapping[str, Any], other: Mapping[str, Any], gold: str) -> dict[str, Any]:
    return {
        **{name: one[name] for name in KEYS},
        "ground_truth": gold,
        "extracted_answer": one["extracted_answer"],
        "reward": _correct(one),
        "reward_status": one["reward_status"],
        "second_reward": _correct(other),
        "second_status": other["reward_status"],
    }
