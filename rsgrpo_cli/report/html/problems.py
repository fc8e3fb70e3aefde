"""The problems of a benchmark, hardest first: what each arm made of them, with completions where there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.report.evaluations import Evaluation
from rsgrpo_cli.report.html.passk import REWARD, Measured
from rsgrpo_cli.report.html.room import Room, Texts, cost, cut
from rsgrpo_cli.report.html.samples import Folded, Problem, fold
from rsgrpo_cli.schemas import PROMPTS

MOST_ROWS = 3000
"""Problems that the page lists; the hardest, and those that changed."""
GOLD_SHOWN = 300
"""Characters of a reference answer."""
UNREADABLE = ("unparsable", "too_long", "no_box", "think_unclosed", "timeout", "error")
"""Verdicts that say that no answer could be compared, though the completion had ended."""


def problems(measured: Measured, baseline: int, texts: Texts, room: Room, statuses: list[str]) -> dict[str, Any]:
    """Rows of the problems, and notes on what was left out.

    Args:
        measured: The arms.
        baseline: The number of the arm that the others are compared with.
        texts: The texts of the page.
        room: What there is for the completions.
        statuses: The verdicts of the page; those that are new are appended.
    """
    folded = [fold(arm.evaluations[: measured.seeds], measured.samples) for arm in measured.arms]
    rows = _rows(measured, folded)
    order = sorted(range(len(rows)), key=lambda at: (not _changed(rows[at], baseline), _ease(rows[at]), at))
    listed, prompts = sorted(order[:MOST_ROWS]), _prompts(measured.first)
    without = 0
    for at in order[:MOST_ROWS]:
        row = rows[at]
        own = [arm.get(row["id"], Problem()) for arm in folded]
        shown = _shown(own, prompts.get(row["id"], ""), texts, room, statuses)
        row |= shown or {}
        without += shown is None
    notes = []
    if len(rows) > MOST_ROWS:
        notes.append(f"{len(rows) - MOST_ROWS:,} of {len(rows):,} problems are left out: the easiest without a change")
    if without:
        notes.append(f"the completions of {without:,} problems are left out, of the easiest first")
    return {"rows": [rows[at] for at in listed], "total": len(rows), "notes": notes}


def _rows(measured: Measured, folded: Sequence[Mapping[str, Problem]]) -> list[dict[str, Any]]:
    """A row per problem: what is shown of it in the list."""
    golds = measured.first.problems["ground_truth"].to_pylist()
    right = None if measured.graded else [measured.right(arm) for arm in range(len(measured.arms))]
    value = [measured.values(arm, REWARD if measured.graded else 1)[0] for arm in range(len(measured.arms))]
    rows = []
    for at, prompt_id in enumerate(measured.ids):
        own = [arm.get(prompt_id, Problem()).statuses for arm in folded]
        row: dict[str, Any] = {
            "id": prompt_id,
            "gold": cut(golds[at], GOLD_SHOWN, 0),
            "truncated": [statuses["truncated"] for statuses in own],
            "unreadable": [sum(statuses[name] for name in UNREADABLE) for statuses in own],
        }
        row["right"] = [counts[at] for counts in right] if right else None
        row["value"] = None if right else [None if one[at] != one[at] else round(float(one[at]), 6) for one in value]
        rows.append(row)
    return rows


def _changed(row: Mapping[str, Any], baseline: int) -> bool:
    """Whether an arm solves what the baseline does not, or the other way round."""
    counts = row["right"] or []
    return any((count > 0) != (counts[baseline] > 0) for count in counts)


def _ease(row: Mapping[str, Any]) -> float:
    """How often it is solved, over all arms."""
    return float(sum(row["right"])) if row["right"] is not None else float(sum(one or 0 for one in row["value"]))


def _shown(own: Sequence[Problem], prompt: str, texts: Texts, room: Room, statuses: list[str]) -> dict[str, Any] | None:
    """The problem's prompt and each arm's completions; None where there is no room for them."""
    completions = [one for problem in own for one in problem.shown]
    beside = sum(cost(["123456", one.count, "12", one.answer]) for one in completions) + 20 * len(own)
    numbers = texts.add([prompt, *(one.text for one in completions)], room, beside)
    if numbers is None:
        return None
    at = iter(numbers[1:])
    return {
        "prompt": numbers[0],
        "samples": [[_entry(one, next(at), statuses) for one in problem.shown] for problem in own],
        "distinct": [problem.distinct for problem in own],
    }


def _entry(one: Folded, text: int, statuses: list[str]) -> list[Any]:
    """Text, count, verdict, extracted answer."""
    return [text, one.count, status_number(one.status, statuses), _short(one.answer)]


def _short(answer: str | None) -> Any:
    return None if answer is None else cut(answer, GOLD_SHOWN, 0)


def status_number(status: str, statuses: list[str]) -> int:
    """The number of a verdict in the page's list."""
    if status not in statuses:
        statuses.append(status)
    return statuses.index(status)


def _prompts(one: Evaluation) -> dict[str, str]:
    path = one.run.benchmark(one.benchmark)
    if not path.is_file():
        return {}
    table = read_table(path, PROMPTS, ["prompt_id", "messages"])
    return {row["prompt_id"]: asked(row["messages"]) for row in table.to_pylist()}


def asked(messages: Sequence[Mapping[str, str]]) -> str:
    """The text of a chat: its last message, with those before it where there is more than one."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
