"""Rows of a table as problems: the columns that hold the problem and its answer, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.tasks.chats import Message, asked, media_columns
from rsgrpo_cli.tasks.files import Rows
from rsgrpo_cli.tasks.golds import read_gold
from rsgrpo_cli.tasks.registry import Split

PROMPT_COLUMNS = ("problem", "question", "prompt", "messages", "conversations")
ANSWER_COLUMNS = ("answer", "final_answer", "expected_answer", "ground_truth", "solution", "reward_model.ground_truth")
"""Tried in this order, in capitals too; a dot goes into an object, as in verl's files."""
Columns = tuple[str | None, str | None]
"""The names of the columns with the problem and with the answer; None where none is given."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as its source states it.

    Args:
        index: Its row in the source, from 0.
        text: The problem, or a chat that ends with it; empty where the source has none.
        answer: The reference answer as text; empty where the source has none.
        media: Whether an image, a sound or a video belongs to it.
        answered: Whether its chat went on with an answer, which is left out of `text`.
        stored: The answer as a user's own reward function gets it, where that is something else: a list as JSON.
        complaint: Why the answer is not valid mathematics (an object, for example); empty if it may be.
    """

    index: int
    text: str | tuple[Message, ...]
    answer: str
    media: bool = False
    answered: bool = False
    stored: str = ""
    complaint: str = ""


def columns_in(table: Rows, split: Split, asked_for: Columns, first: Columns) -> tuple[str, str]:
    """The columns of a table with the problem and with the answer."""
    flags = ("--prompt-column", "--answer-column")
    if split == "test":  # train and plan have these flags for the problems to train on
        flags = ("rsgrpo eval --prompt-column NAME", "rsgrpo eval --answer-column NAME")
    usual = [
        (own, *names) if own else names for own, names in zip(first, (PROMPT_COLUMNS, ANSWER_COLUMNS), strict=True)
    ]
    prompt, answer = (_column(table.first, *one, table.where) for one in zip(asked_for, usual, flags, strict=True))
    return prompt, answer


def problems_of(
    table: Rows, prompt_column: str, answer_column: str, most: int | None = None
) -> tuple[list[Problem], bool]:
    """The problems of a table; of its other columns no more is read than whether there are images.

    Args:
        table: The rows.
        prompt_column: The column with the problem.
        answer_column: The column with the answer.
        most: How many rows are read; all unless given.

    Returns:
        The problems, and whether there are further rows.
    """
    rows = table.read(list(dict.fromkeys((prompt_column, answer_column))))
    problems = read_problems(islice(rows, most), prompt_column, answer_column, table.place)
    goes_on = next(rows, None) is not None
    seen = [name for name in media_columns(table.shape) if name not in (prompt_column, answer_column)]
    if not seen:
        return problems, goes_on
    shown = zip(problems, islice(table.filled(seen), most), strict=True)
    return [replace(problem, media=True) if filled else problem for problem, filled in shown], goes_on


def _column(row: Mapping[str, Any], asked: str | None, usual: Sequence[str], flag: str, where: str) -> str:
    if asked is not None:
        if not _has(row, asked):
            raise UsageError(f"{where} has no column {asked!r}", f"columns: {', '.join(row)}; choose one: {flag}")
        return asked
    for name in usual:
        if _has(row, name):
            return name
        if other := next((own for own in row if own.lower() == name), None):
            return other
    raise UsageError(
        f"{where} has none of the columns {', '.join(usual)}", f"columns: {', '.join(row)}; choose one: {flag}"
    )


def _has(row: Mapping[str, Any], column: str) -> bool:
    outer, dot, inner = column.partition(".")
    return column in row or bool(dot and isinstance(row.get(outer), Mapping) and inner in row[outer])


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """What a row has in a column; "a.b" is `b` of the object `a`."""
    outer, dot, inner = column.partition(".")
    if column in row or not dot:
        return row.get(column)
    return row[outer].get(inner) if isinstance(row.get(outer), Mapping) else None


def read_problems(
    rows: Iterable[Mapping[str, Any]], prompt_column: str, answer_column: str, place: Callable[[int], str]
) -> list[Problem]:
    """Rows as problems.

    Args:
        rows: From the first one on.
        prompt_column: The column with the problem.
        answer_column: The column with the answer.
        place: Where a row is, for errors.

    Raises:
        DataError: If a row has something else than a problem there.
    """
    found = []
    for index, row in enumerate(rows):
        try:
            found.append(_problem(index, row, prompt_column, answer_column))
        except DataError as error:
            raise DataError(f"{place(index)}: {error.message}", error.hint) from error
    return found


def _problem(index: int, row: Mapping[str, Any], prompt_column: str, answer_column: str) -> Problem:
    found = asked(value_of(row, prompt_column), f"column {prompt_column!r}")
    gold = read_gold(value_of(row, answer_column))
    stored = "" if gold.stored == gold.text else gold.stored
    return Problem(index, found.text, gold.text, found.media, found.answered, stored, gold.complaint)
