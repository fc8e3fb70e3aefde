"""Tables and lines that a narrow screen cuts nothing of.

A table that is too wide wraps its headings and its columns of text at spaces. If that is not enough it is folded: it
goes on below, with its first column again. If not even two columns fit, it is turned: each row becomes a few lines.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

TEXT_WIDTH = 24
"""A column of text is made no narrower than this, or than its longest word."""
_EDGES = 2


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as it is printed.

    Args:
        header: Its heading.
        cells: Its cells.
        text: Whether it is text, to the left, that may be wrapped; else it is numbers, or the first column.
        right: Whether it is to the right.
    """

    header: Text
    cells: list[Text]
    text: bool
    right: bool

    @property
    def widest(self) -> int:
        """Columns of the screen that it takes as it is."""
        return max(map(_width, [self.header, *self.cells]), default=0)

    @property
    def narrowest(self) -> int:
        """Columns of the screen that it needs: its heading is wrapped, and its cells are if they are text."""
        words = [_longest_word(text) for text in [self.header, *(self.cells if self.text else [])]]
        cells = min(TEXT_WIDTH, self.widest) if self.text else max(map(_width, self.cells), default=0)
        return max(*words, cells)


class FoldingTable(Table):
    """A table in the house style: the first column to the left, numbers to the right, text to the left.

    Args:
        headers: The headings. The most important columns come first: they stay together when it is folded.
        title: Stands above it.
        text: Headings of the columns that hold text.
    """

    def __init__(self, headers: Sequence[str], title: str | None, text: Iterable[str]) -> None:
        super().__init__(box=box.SIMPLE_HEAD, pad_edge=False, title=title)
        self.text = {*text}
        for number, header in enumerate(headers):
            left = number == 0 or header in self.text
            self.add_column(header, justify="left" if left else "right", no_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        """What is printed where there are `options.max_width` columns."""
        if self.title:
            yield Text(wrapped(_rendered(console, self.title).plain, options.max_width), style="bold", overflow="fold")
        columns = [self._column(console, number) for number in range(len(self.columns))]
        parts = list(_folded(columns, options.max_width))
        if any(_fitting(part, options.max_width) is None for part in parts):
            yield from _turned(columns, options.max_width)
            return
        for part in parts:
            yield self._part(part, _fitting(part, options.max_width) or [])

    def _column(self, console: Console, number: int) -> _Column:
        column = self.columns[number]
        cells = [_rendered(console, cell) for cell in column._cells]
        header = _rendered(console, column.header)
        return _Column(header, cells, str(column.header) in self.text, column.justify == "right")

    def _part(self, columns: Sequence[_Column], widths: Sequence[int]) -> Table:
        """Some of the columns as a plain table."""
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column, width in zip(columns, widths, strict=True):
            made.add_column(column.header, justify="right" if column.right else "left", width=width, overflow="fold")
        for number, row in enumerate(self.rows):
            made.add_row(*(column.cells[number] for column in columns), style=row.style)
        return made


def _rendered(console: Console, cell: Any) -> Text:
    return console.render_str(cell) if isinstance(cell, str) else Text(str(cell))


def _folded(columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """The columns in parts that fit, each with the first column."""
    part = [columns[0]]
    for column in columns[1:]:
        if len(part) > 1 and _fitting([*part, column], width) is None:
            yield part
            part = [columns[0]]
        part.append(column)
    yield part


def _fitting(columns: Sequence[_Column], width: int) -> list[int] | None:
    """The width of each column where all fit side by side; None if they do not."""
    between = 3 * len(columns) - 3 + _EDGES
    widths = [column.narrowest for column in columns]
    left = width - between - sum(widths)
    if left < 0:
        return None
    for number, column in enumerate(columns):
        more = min(left, column.widest - widths[number])
        widths[number] += more
        left -= more
    return widths


def _turned(columns: Sequence[_Column], width: int) -> Iterator[Text]:
    """Each row as lines of its own: its first cell, then what each other column says."""
    headings = max((_width(column.header) for column in columns[1:]), default=0)
    for number in range(len(columns[0].cells)):
        yield Text(f"\n{columns[0].cells[number].plain}", overflow="fold")
        for column in columns[1:]:
            line = f"  {column.header.plain:<{headings}}  {column.cells[number].plain}"
            yield Text(wrapped(line, width, indent=headings + 4), overflow="fold")


def wrapped(text: str, width: int, *, indent: int | None = None, commands: bool = False) -> str:
    """A text with its lines broken at spaces; commands in it stay whole, to be copied, however long they are.

    Args:
        text: One or more lines.
        width: Columns of the screen.
        indent: Spaces before a continued line; as many as before the line itself unless given.
        commands: Break commands, too.
    """
    whole = text if commands else _COMMAND.sub(lambda found: found[0].replace(" ", _NO_BREAK), text)
    lines = (_wrapped_line(line, width, indent) for line in whole.split("\n"))
    return "\n".join(lines).replace(_NO_BREAK, " ")


def _wrapped_line(line: str, width: int, indent: int | None) -> str:
    if len(line) <= width:
        return line
    own = len(line) - len(line.lstrip())
    after = " " * (own if indent is None else indent)
    return textwrap.fill(
        line,
        width,
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
        expand_tabs=False,
    )


_NO_BREAK = "\x00"
"""Stands for a space that is not broken at; no text that is printed has one."""
_WORD = r"""(?:'[^']*'|"[^"]*"|[^\s'"])+"""
_FLAG = rf"--?[a-z][\w-]*(?:[= ](?!-){_WORD})?"
_NAME = r"""'[^']*'|"[^"]*"|\S*[A-Z0-9/@.=_]\S*"""
_COMMAND = re.compile(rf"(?:\$ )?\b(?:rsgrpo [a-z]+|pip install)(?: (?:{_FLAG}|{_NAME}))*")
"""A command with its flags, their values, and words that are names or places: plain words behind it are text."""


def _width(text: Text) -> int:
    return max((line.cell_len for line in text.split("\n")), default=0)


def _longest_word(text: Text) -> int:
    return max((Text(word).cell_len for word in text.plain.split()), default=0)
