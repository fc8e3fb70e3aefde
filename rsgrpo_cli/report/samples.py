"""Two completions of the newest step, one right and one wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import rewards_of
from rsgrpo_cli.schemas import KEYS, REWARDS, ROLLOUTS, key_of


@dataclass(frozen=True, slots=True)
class Sampled:
    """A completion with its reward.

    Args:
        step: The step that it is from.
        prompt_id: What it answers.
        completion: Its text, as the model wrote it.
        answer: What the verifier took from it, if anything.
        status: What the verifier said.
        reward: None where there is none.
    """

    step: int
    prompt_id: str
    completion: str
    answer: str | None
    status: str
    reward: float | None


def pair(run: RunDir, last: int) -> tuple[Sampled | None, Sampled | None]:
    """The completions with the highest and the lowest reward of a group in which they differ.

    Args:
        run: The run.
        last: The newest step that is done; the one after it counts where it has rewards.

    Returns:
        The same group's where one has both; else of different groups, where all rewards are equal only the first.
    """
    for step in (last + 1, last):
        rewards = rewards_of(run, step)
        parts = [path for path in rewards.paths if (run.rollouts(step) / path.name).is_file()]
        if parts:
            return _pair(run, step, read_table(parts[-1], REWARDS).to_pylist(), parts[-1].name)
    return None, None


def _pair(run: RunDir, step: int, graded: list[dict[str, Any]], part: str) -> tuple[Sampled | None, Sampled | None]:
    known = [row for row in graded if row["reward"] is not None]
    if not known:
        return None, None
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in known:
        groups.setdefault(row["group_id"], []).append(row)
    best, worst = next((ends for rows in groups.values() if _differ(ends := _ends(rows))), _ends(known))
    texts = _texts(run, step, part, (best, worst))
    right, wrong = (_sampled(step, row, texts) for row in (best, worst))
    if _differ((best, worst)):
        return right, wrong
    return (right, None) if best["reward"] > 0 else (None, wrong)


def _sampled(step: int, row: dict[str, Any], texts: dict[tuple[str, int], tuple[str, str]]) -> Sampled:
    prompt_id, completion = texts[key_of(row)]
    return Sampled(step, prompt_id, completion, row["extracted_answer"], row["reward_status"], row["reward"])


def _ends(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    return max(rows, key=lambda row: row["reward"]), min(rows, key=lambda row: row["reward"])


def _differ(ends: tuple[dict[str, Any], dict[str, Any]]) -> bool:
    return bool(ends[0]["reward"] > ends[1]["reward"])


def _texts(run: RunDir, step: int, part: str, rows: Iterable[dict[str, Any]]) -> dict[tuple[str, int], tuple[str, str]]:
    """Prompt and text of some completions of a part."""
    wanted = {key_of(row) for row in rows}
    table = read_table(run.rollouts(step) / part, ROLLOUTS, [*KEYS, "prompt_id", "completion"])
    keys = zip(*(table[key].to_pylist() for key in KEYS), strict=True)
    places = {key: place for place, key in enumerate(keys) if key in wanted}
    return {
        key: (table["prompt_id"][place].as_py(), table["completion"][place].as_py()) for key, place in places.items()
    }
