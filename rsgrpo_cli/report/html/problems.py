"""The problems of a benchmark, hardest first: what each arm made of them, with completions where there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.report.evaluations import Evaluation
from rsgrpo_cli.report.html.passk import REWARD, Measured
from rsgrpo_cli.report.html.room import Room, Texts, cost, cut
from rsgrpo_cli.report.html.samples import Folded, Problem, fold, is_right
from rsgrpo_cli.schemas import PROMPTS
from rsgrpo_cli.wording import plural, verb

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
    order = sorted(range(len(rows)), key=lambda at: (-_change(rows[at], baseline), _ease(rows[at]), at))[:MOST_ROWS]
    order = [at for at in order if room.take(cost(rows[at]))]
    prompts = _prompts(measured.first)
    for few in (True, False):  # a few completions of as many problems as possible, then all of them
        for at in order:
            own = [arm.get(rows[at]["id"], Problem()) for arm in folded]
            rows[at] |= _shown(own, prompts.get(rows[at]["id"], ""), few, texts, room, statuses) or {}
    less, without = len(rows) - len(order), sum("samples" not in rows[at] for at in order)
    of_all = f"{less:,} of {len(rows):,} {plural(len(rows), 'problem')}"
    notes = [f"{of_all} {verb(less, 'is')} left out: the easiest without a change"] if less else []
    of_some = f"{without:,} {plural(without, 'problem')}"
    notes += [f"the completions of {of_some} are left out, of the easiest without a change first"] if without else []
    return {"rows": [rows[at] for at in sorted(order)], "total": len(rows), "notes": notes}


def _rows(measured: Measured, folded: Sequence[Mapping[str, Problem]]) -> list[dict[str, Any]]:
    """A row per problem: what is shown of it in the list."""
    golds = measured.first.problems["ground_truth"].to_pylist()
    right = None if measured.graded else [measured.right(arm) for arm in range(len(measured.arms))]
    value = [measured.values(arm, REWARD if measured.graded else 1)[0] for arm in range(len(measured.arms))]
    rows = []
    for at, prompt_id in enumerate(measured.ids):
        own = [arm.get(prompt_id, Problem()) for arm in folded]
        row: dict[str, Any] = {
            "id": prompt_id,
            "gold": cut(golds[at], GOLD_SHOWN, 0),
            "truncated": [problem.cut for problem in own],
            "unreadable": [sum(problem.statuses[name] for name in UNREADABLE) for problem in own],
        }
        row["right"] = [counts[at] for counts in right] if right else None
        row["value"] = None if right else [None if one[at] != one[at] else round(float(one[at]), 6) for one in value]
        rows.append(row)
    return rows


def _change(row: Mapping[str, Any], baseline: int) -> int:
    """How many right answers stand against none, where an arm solves what the baseline does not or the other way."""
    counts = row["right"] or []
    return max((abs(count - counts[baseline]) for count in counts if not count or not counts[baseline]), default=0)


def _ease(row: Mapping[str, Any]) -> float:
    """How often it is solved, over all arms."""
    return float(sum(row["right"])) if row["right"] is not None else float(sum(one or 0 for one in row["value"]))


def _shown(
    own: Sequence[Problem], prompt: str, few: bool, texts: Texts, room: Room, statuses: list[str]
) -> dict[str, Any] | None:
    """The problem's prompt and each arm's completions; None where there is no room for them."""
    chosen = [_few(problem.shown) if few else problem.shown for problem in own]
    completions = [one for listed in chosen for one in listed]
    beside = sum(cost(["123456", one.count, "12", _short(one.answer), 0]) for one in completions) + 20 * len(own)
    numbers = texts.add([prompt, *(one.text for one in completions)], room, beside)
    if numbers is None:
        return None
    at = iter(numbers[1:])
    return {
        "prompt": numbers[0],
        "samples": [[_entry(one, next(at), statuses) for one in listed] for listed in chosen],
        "distinct": [problem.distinct for problem in own],
    }


def _few(shown: Sequence[Folded]) -> list[Folded]:
    """The most frequent right completion, and the most frequent other one."""
    right, wrong = ([one for one in shown if is_right(one.status) == wanted] for wanted in (True, False))
    return right[:1] + wrong[:1]


def _entry(one: Folded, text: int, statuses: list[str]) -> list[Any]:
    """Text, count, verdict, extracted answer, whether it was cut at the token limit."""
    return [text, one.count, status_number(one.status, statuses), _short(one.answer), int(one.is_cut)]


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
