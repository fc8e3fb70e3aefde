"""The columns of a dataset beside the problem and its answer, for a reward function that takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.tasks.sources import Source

_PART_OF_A_PROBLEM = re.compile(
    r"(?:answer_)?(?:options?|choices?)(?:_?[a-z0-9])?|alternatives|candidates|endings|[a-f]"
    r"|contexts?|passages?|paragraphs?|premises?|input|table|background"
)
"""How a column is called that a problem cannot be solved without, where its text is not in the problem as well."""
LONGEST_TEXT = 1000
"""Characters. A column with a longer text in it is read where a function names it, not for the sake of **columns."""


def columns_of(source: Source) -> tuple[str, ...]:
    """All columns that a dataset has, as far as they can be had."""
    return tuple(source.table.shape) if source.table is not None else ()


def unasked(source: Source, beside: Collection[str | None]) -> list[str]:
    """The columns whose names say that they belong to the question, and whose first text is in no problem's text.

    Args:
        source: The dataset.
        beside: Columns that were chosen for the problem and the answer.
    """
    table = source.table
    if table is None or not source.problems:
        return []
    names = [name for name in table.shape if name not in beside and _PART_OF_A_PROBLEM.fullmatch(name.lower())]
    single = [name for name in names if len(name) == 1]
    names = [name for name in names if len(name) > 1 or len(single) > 1]  # A beside B, C and D; not x and y's a
    row = next(iter(table.read(names)), {}) if names else {}
    asked = source.problems[0].text
    said = asked if isinstance(asked, str) else "\n".join(message["content"] for message in asked)
    return [name for name in names if any(text not in said for text in _texts(row.get(name)))]


def _texts(value: Any) -> list[str]:
    """All that is written in a value."""
    if isinstance(value, Mapping):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [] if value is None or value == "" else [str(value).strip()]


def read_columns(
    source: Source, rows: Collection[int], named: Sequence[str], *, everything: bool
) -> Mapping[int, dict[str, Any]]:
    """Some rows of some columns; nothing else is read, or stays in memory.

    Args:
        source: The dataset.
        rows: Row numbers, from 0.
        named: Columns, whatever is in them; those that the dataset does not have are left out.
        everything: Further all columns of numbers, truth values and short texts.

    Returns:
        Row number -> column -> value.

    Raises:
        DataError: If a named column holds what JSON cannot: bytes.
    """
    table = source.table
    if table is None:
        return {}
    plain = [name for name, shape in table.shape.items() if everything and not isinstance(shape, (list, Mapping))]
    names = [name for name in table.shape if name in named or name in plain]
    if not names:
        return {}
    wanted, found = set(rows), dict[int, dict[str, Any]]()
    last = max(wanted, default=-1)
    too_long: set[str] = set()
    for number, row in enumerate(islice(table.read(names), last + 1)):
        if number in wanted:
            own = {name: row.get(name) for name in names if name not in too_long}
            too_long |= {name for name, value in own.items() if name not in named and not _is_small(value)}
            found[number] = {
                name: _storable(value, source, name) for name, value in own.items() if name not in too_long
            }
    return {
        number: {name: value for name, value in row.items() if name not in too_long} for number, row in found.items()
    }


def _is_small(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and len(value) <= LONGEST_TEXT)
    )


def _storable(value: Any, source: Source, column: str) -> Any:
    """A value as JSON has it: dates and decimals as text."""
    try:
        return json.loads(json.dumps(value, default=_as_text))
    except TypeError as error:
        raise DataError(
            f"column {column} of {source.name} holds {error}, which no reward function can be given",
            "store it as text or numbers, or let the function read it from a file",
        ) from error


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        raise TypeError("bytes")
    return str(value)
