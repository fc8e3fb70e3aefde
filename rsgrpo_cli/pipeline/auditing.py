"""Grades completions by a second grader, and keeps what it decides otherwise: `--audit-with` of `score` and `eval`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli import activity
from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table, write_table
from rsgrpo_cli.config import ScoreConfig
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.pipeline import evaluation, preparation
from rsgrpo_cli.pipeline.evaluation import Request
from rsgrpo_cli.pipeline.grading import Grading, Rules, grading_of
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.rewards.registry import ONLY_TASK
from rsgrpo_cli.rewards.shaping import CORRECTNESS
from rsgrpo_cli.run.run_commands import eval_command, to_measure
from rsgrpo_cli.run.staleness import (
    GRADED,
    SAMPLED,
    evaluation_parts,
    place_flags,
    policy_at,
    require_fresh,
    require_own,
)
from rsgrpo_cli.run.step_dir import Step, rewards_of
from rsgrpo_cli.schemas import AUDIT, KEYS, PROMPTS, REWARDS, ROLLOUTS, SUMMARY, key_of


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
    with _named_by_its_flag():
        preparation.require_columns(session, cfg)
    second = grading_of(session, found, cfg)
    second = replace(second, rules=replace(second.rules, shaping=None), policy_version=step)
    return _compared(second, found.rollouts.paths, rewards, made.id, None if tag else run.audit(step, cfg.reward))


def audit_evaluation(session: Session, version: int, cfg: ScoreConfig, request: Request) -> pa.Table:
    """The samples of an evaluation that a second grader judges otherwise, of those that were summed up.

    They are written beside its summary. The verdicts stay as they are, and nothing is sampled.

    Args:
        session: The run; its `at` chooses a place on the line to the policy.
        version: The policy.
        cfg: The second grader, its time limit and its workers.
        request: The benchmark, and the tag of the evaluation.

    Returns:
        A table of `schemas.AUDIT`.

    Raises:
        MissingError: If there is no such evaluation.
        StaleError: If it is not of this policy any more.
        UsageError: If the second grader cannot be loaded, or does not grade such problems.
    """
    run, at = session.run, session.at
    folder = run.evaluation(version, request.name, at)
    if not (folder / "summary.parquet").is_file():
        named = {"--benchmark": request.benchmark, "--tag": request.tag}
        named |= {"--prompt-column": request.prompt_column, "--answer-column": request.answer_column}
        flags = [word for flag, value in named.items() if value for word in (flag, value)]
        measure = eval_command(run, version, None, *flags, *place_flags(at))
        what = f"run {run.name} has no evaluation of {policy_at(run, version, at)} on {request.name}"
        raise MissingError(what, to_measure(measure, "it first"))
    require_own(run, version, request.name, at)
    with _named_by_its_flag():
        path = run.benchmark(request.name)
        preparation.give_columns(session, cfg, path, lambda: evaluation.benchmark_prompts(session, request, cfg))
    summary, prompts = read_lineage(folder / "summary.parquet", SUMMARY), read_table(path, PROMPTS)
    sampled = evaluation_parts(folder / SAMPLED, summary.config["num_samples"])
    rewards = pa.concat_tables([read_table(folder / GRADED / part.name, REWARDS) for part in sampled])
    rewards = rewards.filter(pc.less(rewards["sample_index"], summary.config["num_samples"]))
    rules = Rules(cfg, path)
    second = Grading(rules, rules.open(session, cfg.workers), {}, prompts, read_lineage(path, PROMPTS).id, version)
    target = run.evaluation_audit(version, request.name, cfg.reward, at)
    return _compared(second, sampled, rewards, summary.inputs[GRADED], target)


@contextmanager
def _named_by_its_flag() -> Iterator[None]:
    """What is wrong with a second grader is told with the flag that it was given by."""
    try:
        yield
    except UsageError as error:
        error.hint = error.hint.replace("--reward", "--audit-with")
        raise


def _compared(
    second: Grading, parts: Sequence[Path], rewards: pa.Table, rewards_id: str, target: Path | None
) -> pa.Table:
    """Where a second grader disagrees with rewards, a table of `schemas.AUDIT`; written unless there is no target."""
    grader = second.rules.score.reward
    _require_task(grader, second.prompts)
    table = pa.Table.from_pylist(_disagreements(parts, rewards, second), schema=AUDIT.schema)
    lineage = Lineage(
        "audit",
        {"grader": grader, "identity": second.identity},
        {"rewards": rewards_id, "prompts": second.prompts_id},
        policy_version=second.policy_version,
        outputs={"compared": str(len(rewards))},
    )
    if target:
        write_table(target, table, AUDIT, lineage)
    return table


def _require_task(grader: str, prompts: pa.Table) -> None:
    """Ask a grader of one task about that alone: to it every right answer of another is wrong."""
    only = ONLY_TASK.get(grader)
    others = {*prompts["task"].to_pylist()} - {only}
    if only and others:
        raise UsageError(
            f"{grader} grades the task {only}, and these prompts have the task {min(others)}",
            "compare with a grader of your own: --audit-with MODULE:FUNCTION",
        )


def _disagreements(parts: Sequence[Path], rewards: pa.Table, second: Grading) -> list[dict[str, Any]]:
    golds = dict(zip(*(second.prompts[name].to_pylist() for name in ("prompt_id", "ground_truth")), strict=True))
    first = {key_of(row): row for row in rewards.to_pylist()}
    rows = []
    with activity.doing("second grader", len(parts), "parts") as bar:
        for path in parts:
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
