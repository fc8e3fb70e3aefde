"""What a user sees: data on stdout, everything else on stderr; rich on a terminal, plain text or JSON otherwise.

What is printed may come from a model, a dataset or a stranger's run directory. `visible` is what keeps it from being a
command to the terminal, and everything goes through it: text here, cells and titles in `_Console`, JSON in `_json`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.errors import Interrupted, RsgrpoError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\xad\u061c\u070f\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
    "|(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])"
)
"""Characters that a terminal obeys, or that nobody sees: C0 except tab and line break, DEL, C1; those that change the
direction of text, have no width or format it otherwise. Joiners stay where they join: in emoji, in Persian, in Hindi.
"""

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe, where there is no screen to fit."""


class Output:
    """The one way to the user.

    Args:
        as_json: Results as one JSON object on stdout, instead of tables.
        quiet: No progress and no information, only results and errors.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.log: Callable[[str], None] | None = None
        """Told all that is said on the way, for the log of a run."""
        self.said_at = time.monotonic()
        """When something was said last."""
        self._screen: Console | None = None
        """What is drawn on, if anything: only it can print above its own drawing."""

    def result(
        self,
        data: Mapping[str, Any],
        *tables: Table,
        lines: Sequence[str] = (),
        before: Sequence[str] = (),
        failure: RsgrpoError | None = None,
    ) -> None:
        """Print a result: `data` as JSON if asked for, else the tables and lines that say the same.

        Args:
            data: The whole result.
            tables: The same for people.
            lines: What comes after the tables.
            before: What comes before them.
            failure: What the command fails with although it has a result: raised behind it, and one object with it
                as JSON.
        """
        if failure is None or not self.as_json:
            self._print(data, tables, lines, before)
        if failure is not None:
            failure.result = data
            raise failure

    def _print(
        self, data: Mapping[str, Any], tables: Sequence[Table], lines: Sequence[str], before: Sequence[str]
    ) -> None:
        with writing():
            if self.as_json:
                print(_json(data))
                return
            for line in before:
                print(_fitted(line, sys.stdout))
            console = _console(sys.stdout)
            for table in tables:
                console.print(table)
            for line in lines:
                print(_fitted(line, sys.stdout))

    def item(self, data: Mapping[str, Any]) -> None:
        """One of several results as a line of JSON, if that was asked for."""
        if self.as_json:
            with writing():
                print(_json(data), flush=True)

    def info(self, text: str) -> None:
        """Say something on the way."""
        self.note(text)
        if not self.quiet:
            print(_fitted(text, sys.stderr), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Say something that should not be missed."""
        self.note(f"warning: {text}")
        console = self._screen or _console(sys.stderr)
        console.print(_marked("warning: ", "yellow", text), soft_wrap=True)

    def note(self, text: str) -> None:
        """Write something into the log of the run, if there is one."""
        self.said_at = time.monotonic()
        if self.log is not None:
            self.log(visible(text))

    def error(self, error: RsgrpoError) -> None:
        """Say what went wrong, or that it was stopped, and what to do next."""
        stopped = isinstance(error, Interrupted)  # which was asked for, and so went right
        if self.as_json:
            told = {"stopped" if stopped else "error": error.message, "hint": error.hint}
            _try_to_print(_json({**error.result, **told}))
        console = _console(sys.stderr)
        marked = _marked("", "", error.message) if stopped else _marked("error: ", "red", error.message)
        console.print(marked, soft_wrap=True)
        if error.hint:
            console.print(_marked("", "", f"  {error.hint}"), soft_wrap=True)

    @property
    def draws(self) -> bool:
        """Whether there is a terminal to draw on: one that can go back to where it was."""
        console = _console(sys.stderr)
        return not (self.quiet or self.as_json) and console.is_terminal and not console.is_dumb_terminal

    def live(self, *, transient: bool = True) -> Live | None:
        """A place on the terminal that is drawn again and again; None where there is no terminal to draw on.

        Args:
            transient: Whether it is gone at the end.
        """
        from rich.live import Live

        if not self.draws:
            return None
        self._screen = _console(sys.stderr)
        return Live(console=self._screen, auto_refresh=False, transient=transient, vertical_overflow="crop")


def show(text: Text) -> None:
    """Print a text that is laid out already."""
    with writing():
        _console(sys.stdout).print(text, soft_wrap=True, end="")


def print_lines(lines: Iterable[str]) -> None:
    """Print data as it comes: lines that end in a line break."""
    with writing():
        for line in lines:
            print(visible(line), end="")


def visible(text: str) -> str:
    r"""A text in which what a terminal would obey can be seen: an escape as \x1b, a change of direction as \u202e."""
    return _CONTROLS.sub(lambda found: _escape(found[0]), text)


def open_streams() -> None:
    """Make stdout and stderr take whatever is printed: a terminal's encoding, or one that is closed, stops nothing."""
    if sys.stdout is None or sys.stderr is None:
        # Closed ones are opened on nothing, or the next file to be opened would be taken for them.
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
        sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:  # what prints a warning that nobody else takes
        logging.lastResort.setFormatter(_Visible())


class _Visible(logging.Formatter):
    """Of log lines: they may quote what a user's function raised, or a file."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


@contextmanager
def writing() -> Iterator[None]:
    """Around what goes to stdout.

    Raises:
        RsgrpoError: If the disk is full, for example. A reader that has ended stays a BrokenPipeError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        close_stdout()
        hint = "what was made is kept; send the output somewhere else"
        raise RsgrpoError(f"cannot write to stdout: {error.strerror}", hint) from error


def close_stdout() -> None:
    """Flush what was printed; drop it if that fails (a full disk, a reader that has ended)."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(*headers: str, title: str | None = None, text: Sequence[str] = ()) -> Table:
    """An empty table in the house style, of which no cell is cut on a narrow screen; see `folding`.

    Args:
        headers: The headings, the most important ones first.
        title: Stands above it.
        text: Headings of the columns that hold text, which is put to the left and may be wrapped.
    """
    from rsgrpo_cli.folding import FoldingTable

    return FoldingTable(headers, title, text)


def error_in(printed: str) -> tuple[str, str]:
    """The last error in what a command printed to stderr, and its hint, as `Output.error` says them; empty if none."""
    lines = printed.splitlines()
    at = max((at for at, line in enumerate(lines) if line.startswith("error: ")), default=None)
    if at is None:
        return "", ""
    following = "".join(lines[at + 1 : at + 2])
    return lines[at].removeprefix("error: "), following.strip() if following.startswith("  ") else ""


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table, as people write it; an empty cell for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:z.{digits}f}"
    if 1e5 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    mantissa, _, exponent = f"{value:.{max(digits - 2, 1)}e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def p_value(value: float | None) -> str:
    """A p-value as people write it: 0.34, 0.012, 0.0005, < 0.0001."""
    if value is None or math.isnan(value):
        return ""
    if value < 1e-4:
        return "< 0.0001"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}" if value >= 1e-3 else f"{value:.4f}"


def size(amount: int) -> str:
    """Bytes for people, in powers of a thousand: 19.9 GB, 622 MB."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if amount >= factor:
            digits = 0 if amount >= 100 * factor else 1
            return f"{amount / factor:.{digits}f} {unit}"
    return f"{amount} B"


def duration(seconds: float) -> str:
    """Seconds for people: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _console(stream: Any) -> Console:
    from rich.console import Console

    class _Console(Console):
        """Without markup: what is in brackets is text. All strings that it renders come through `render_str`."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(visible(text), **options)

        def show_cursor(self, show: bool = True) -> bool:
            """Leave the cursor as it is: whoever is killed cannot bring it back."""
            return False

    width = screen_width(stream) or PLAIN_WIDTH
    return _Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def screen_width(stream: Any) -> int | None:
    """Columns of the terminal that a stream goes to; None where it goes to a file or a pipe."""
    if not stream.isatty():
        return None
    try:
        return int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _fitted(text: str, stream: Any) -> str:
    """A text as it is printed: on a terminal, long lines are broken between words."""
    width, text = screen_width(stream), visible(text)
    if width is None or max(map(len, text.split("\n"))) <= width:
        return text
    from rsgrpo_cli.folding import wrapped

    return wrapped(text, width)


def _marked(word: str, colour: str, text: str) -> Text:
    """A word in colour and a text, which is fitted as `_fitted` does it."""
    from rich.text import Text

    found = Text(_fitted(word + text, sys.stderr))
    found.stylize(colour, 0, len(word))
    return found


def _try_to_print(text: str) -> None:
    """Print where that is possible: stdout may be what went wrong."""
    try:
        print(text, flush=True)
    except OSError:
        close_stdout()


def _json(data: Mapping[str, Any]) -> str:
    """A line of JSON, in ASCII where stdout cannot take more; what a terminal would obey is escaped."""
    plain = "utf" not in (sys.stdout.encoding or "utf-8").lower()
    text = json.dumps(_json_ready(data), ensure_ascii=plain)
    return _CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f"), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_ready(value: Any) -> Any:
    """NaN and infinity have no JSON: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(item) for item in value]
    return value
