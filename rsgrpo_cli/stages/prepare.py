"""`prepare`: a dataset's problems as chats with reference answers, checked once so that nothing later has to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from rsgrpo_cli.config import PrepareConfig
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.types import RewardFn
from rsgrpo_cli.schemas import PROMPTS
from rsgrpo_cli.tasks.sources import Message, Problem, Source


@dataclass(frozen=True, slots=True)
class Preparation:
    """The prompts, and what was left out on the way.

    Args:
        prompts: The table of `schemas.PROMPTS`.
        without_answer: Problems dropped because the source has no answer to them.
        duplicates: Problems dropped because an earlier one has the same text.
        conflicting: Of these, how many have another answer than the one kept.
    """

    prompts: pa.Table
    without_answer: int
    duplicates: int
    conflicting: int


def prepare(source: Source, reward: RewardFn | None, cfg: PrepareConfig) -> Preparation:
    """Turn a dataset into prompts.

    Args:
        source: The problems.
        reward: Checks that each answer can be matched at all (matches itself); None where a user's own function
            decides, which need not have such a notion.
        cfg: Limit and system prompt.

    Raises:
        DataError: If nothing is left, or an answer does not verify against itself; the row is named.
    """
    answered = [problem for problem in source.problems if problem.answer]
    kept, duplicates, conflicting = _distinct(answered)
    kept = kept[: cfg.limit]
    if not kept:
        raise DataError(f"dataset {source.name} ({source.split}) has no problem with an answer")
    if reward is not None:
        _check_answers(kept, source, reward)
    rows = [_row(problem, source, cfg.system_prompt) for problem in kept]
    table = pa.Table.from_pylist(rows, schema=PROMPTS.schema).sort_by("prompt_id")
    return Preparation(table, len(source.problems) - len(answered), duplicates, conflicting)


def _distinct(problems: Sequence[Problem]) -> tuple[list[Problem], int, int]:
    """The first of every group of problems whose text is the same up to white space."""
    first: dict[str, Problem] = {}
    duplicates = conflicting = 0
    for problem in problems:
        key = " ".join(_plain_text(problem).split())
        if key in first:
            duplicates += 1
            conflicting += first[key].answer != problem.answer
        else:
            first[key] = problem
    return list(first.values()), duplicates, conflicting


def _check_answers(problems: Sequence[Problem], source: Source, reward: RewardFn) -> None:
    complaints = reward.check_ground_truth([problem.answer for problem in problems])
    bad = [(problem, complaint) for problem, complaint in zip(problems, complaints, strict=True) if complaint]
    if bad:
        problem, complaint = bad[0]
        more = f"; {len(bad) - 1} more like it" if len(bad) > 1 else ""
        raise DataError(
            f"row {problem.index} of {source.name}: the answer {problem.answer[:80]!r} cannot be verified: "
            f"{complaint}{more}",
            "correct or remove the row, or grade with a function of your own: --reward package.module:function",
        )


def _row(problem: Problem, source: Source, system_prompt: str | None) -> dict[str, object]:
    prompt_id = f"{source.name}-{source.split}-{problem.index:06d}"
    messages = _messages(problem, system_prompt)
    return {
        "prompt_id": prompt_id,
        "task": source.task,
        "split": source.split,
        "messages": messages,
        "ground_truth": problem.answer,
        "data_source": source.name,
        "prompt": messages,
        "ability": source.task,
        "reward_model": {"ground_truth": problem.answer, "style": "rule"},
        "extra_info": {"index": problem.index, "split": source.split, "prompt_id": prompt_id},
    }


def _messages(problem: Problem, system_prompt: str | None) -> list[Message]:
    chat = [{"role": "user", "content": problem.text}] if isinstance(problem.text, str) else list(problem.text)
    return [{"role": "system", "content": system_prompt}, *chat] if system_prompt else chat


def _plain_text(problem: Problem) -> str:
    if isinstance(problem.text, str):
        return problem.text
    return "\n".join(message["content"] for message in problem.text)
