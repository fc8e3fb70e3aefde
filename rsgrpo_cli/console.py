"""What a user sees: data on stdout, everything else on stderr; rich on a terminal, plain text or JSON otherwise."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from rsgrpo_cli.errors import RsgrpoError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe, where there is no screen to fit."""


class Ticker(Protocol):
    """A progress display."""

    def advance(self, amount: int = 1) -> None:
        """Count so much as done."""

    def describe(self, text: str) -> None:
        """Say what is being done."""


class Output:
    """The one way to the user.

    Args:
        as_json: Results as one JSON object on stdout, in place of tables.
        quiet: No progress and no information, only results and errors.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def result(self, data: Mapping[str, Any], *tables: Table, lines: Sequence[str] = ()) -> None:
        """Print a result: `data` as JSON if asked for, else the tables and lines that say the same."""
        if self.as_json:
            print(json.dumps(_json_ready(data), ensure_ascii=False))
            return
        console = _console(sys.stdout)
        for table in tables:
            console.print(table)
        for line in lines:
            print(line)

    def info(self, text: str) -> None:
        """Say something on the way."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Say something that should not be missed."""
        _console(sys.stderr).print(f"[yellow]warning:[/yellow] {_escaped(text)}", soft_wrap=True)

    def error(self, error: RsgrpoError) -> None:
        """Say what went wrong and what to do next."""
        if self.as_json:
            print(json.dumps({"error": error.message, "hint": error.hint}, ensure_ascii=False))
        console = _console(sys.stderr)
        console.print(f"[red]error:[/red] {_escaped(error.message)}", soft_wrap=True)
        if error.hint:
            console.print(f"  {_escaped(error.hint)}", soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Ticker]:
        """A progress bar on a terminal; silence elsewhere, so that a log is not full of it."""
        console = _console(sys.stderr)
        if self.quiet or self.as_json or not console.is_terminal or total < 2:
            yield _Silent()
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            yield _Bar(bar, bar.add_task(what, total=total))


def table(*headers: str, title: str | None = None) -> Table:
    """An empty table in the house style: the first column to the left, numbers to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)
    for number, header in enumerate(headers):
        made.add_column(header, justify="right" if number else "left", no_wrap=True)
    return made


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; an empty cell for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}f}"
    return f"{value:.{max(digits - 2, 1)}e}"


def size(amount: int) -> str:
    """Bytes for people, in powers of a thousand: 19.9 GB, 622 MB."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if amount >= factor:
            digits = 0 if amount >= 100 * factor else 1
            return f"{amount / factor:.{digits}f} {unit}"
    return f"{amount} B"


def duration(seconds: float) -> str:
    """Seconds for people: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {seconds % 60:.0f} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class _Silent:
    def advance(self, amount: int = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self.bar, self.task = bar, task

    def advance(self, amount: int = 1) -> None:
        self.bar.advance(self.task, amount)

    def describe(self, text: str) -> None:
        self.bar.update(self.task, description=text)


def _console(stream: Any) -> Console:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _json_ready(value: Any) -> Any:
    """NaN and infinity have no JSON: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(item) for item in value]
    return value
