"""Multiple choice whose answers are numbers of options: what no completion would give is not an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rsgrpo_cli.tasks.problems import Problem
from rsgrpo_cli.tasks.sources import Source

_COLUMN = re.compile(r"(?:answer_)?(?:options?|choices?)|alternatives|candidates|endings")
_NUMBER = re.compile(r"[0-9]{1,2}")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Numbered:
    """A data set whose answers are numbers of options.

    Args:
        problem: One whose answer is none of its options.
        column: With the options.
        options: Of this problem.
        first: The number of the first option, 0 or 1; None where the data does not tell.
    """

    problem: Problem
    column: str
    options: Sequence[str]
    first: int | None

    def told(self) -> str:
        """The same in words, behind the row."""
        shown = ", ".join(self.options[:_SHOWN]) + (", ..." if len(self.options) > _SHOWN else "")
        base = "" if self.first is None else f", counted from {self.first}"
        what = f"the number of an option{base}: the column {self.column} has {shown}"
        return f"the answer {self.problem.answer} seems to be {what}"


def numbered(source: Source, problems: Sequence[Problem]) -> Numbered | None:
    """Whether the answers are numbers of options that stand in another column.

    They are where each is a whole number that an option of its row may have, most stand in no option of theirs, and the
    problems do not number the options themselves.

    Args:
        source: The dataset.
        problems: Those with an answer, as it is graded.
    """
    table = source.table
    column = next((name for name in (table.shape if table else ()) if _COLUMN.fullmatch(name.lower())), None)
    if table is None or column is None or not all(_NUMBER.fullmatch(problem.answer) for problem in problems):
        return None
    by_row = {problem.index: problem for problem in problems}
    rows = enumerate(islice(table.read([column]), max(by_row, default=-1) + 1))
    found = [(by_row[number], _listed(row.get(column))) for number, row in rows if number in by_row]
    if not all(len(options) > 1 and int(problem.answer) <= len(options) for problem, options in found):
        return None
    odd = [(problem, options) for problem, options in found if not _stands(problem, options)]
    if len(odd) * 2 <= len(found):
        return None
    numbers = [(int(problem.answer), len(options)) for problem, options in found]
    first = 0 if any(n == 0 for n, _ in numbers) else 1 if any(n == count for n, count in numbers) else None
    return Numbered(odd[0][0], column, odd[0][1], first)


def _listed(value: Any) -> list[str]:
    """The options in a value: a list, or an object with a list of texts, as ARC has it."""
    if isinstance(value, Mapping):
        value = value.get("text")
    return [str(option) for option in value] if isinstance(value, list) else []


def _stands(problem: Problem, options: Sequence[str]) -> bool:
    """Whether an answer is a number in one of the options, or numbers one in the problem's text."""
    number = rf"(?<![\d.]){problem.answer}(?![\d.]*\d)"
    asked = problem.text if isinstance(problem.text, str) else "\n".join(turn["content"] for turn in problem.text)
    labelled = re.search(rf"(?:^|[\s(\[]){problem.answer}[.):\]]", asked) and all(option in asked for option in options)
    return bool(labelled) or any(re.search(number, option) for option in options)
