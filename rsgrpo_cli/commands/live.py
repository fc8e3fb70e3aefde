"""A command at work as one sees it: one screen, a bar, or plain lines; drawn by a thread, so that no step waits."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rsgrpo_cli import activity
from rsgrpo_cli.console import Output, duration, number, screen_width
from rsgrpo_cli.wording import raised

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from rsgrpo_cli.report.snapshot import Snapshot
    from rsgrpo_cli.run.locks import Note
    from rsgrpo_cli.run.run_dir import RunDir

EVERY_SECONDS = 1.0
"""How often there is a new drawing."""
MOST_SHARE, MOST_PAUSE = 0.01, 5.0
"""Of the time that drawing may take: what takes long is drawn less often, but every so many seconds."""
SILENCE_SECONDS = 30.0
"""Off a terminal, something is said at least this often."""

Draw = Callable[[], None]


class Pulse:
    """Says every second what is being done, and draws it, from a thread of its own; use as a context manager.

    Args:
        note: Told what is being done, for `rsgrpo watch`.
        draw: Draws it. It is called once more at the end.
        failed: Told once where one of them raises: that must not stop the work, nor go unseen.
    """

    def __init__(self, note: Note, draw: Draw, failed: Callable[[str], None]) -> None:
        self._note, self._draw, self._failed = note, draw, failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rsgrpo-screen", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due, before = 0.0, 0.0
        try:
            while not self._stop.wait(EVERY_SECONDS):
                self._note({"stack": activity.as_data()})
                started = time.perf_counter()
                if started >= due:
                    self._draw()
                    took = time.perf_counter() - started
                    # Of two drawings the mean: new completions are read in few of them only.
                    due = started + min(MOST_PAUSE, (took + before) / 2 / MOST_SHARE)
                    before = took
            self._note({"stack": [], "ending": True})
            self._draw()
        except Exception as error:
            self._failed(f"progress is not shown any more ({raised(type(error).__name__, error)}); the work goes on")


@contextmanager
def shown(out: Output, note: Note | None = None, run: RunDir | None = None) -> Iterator[None]:
    """Show what is done in the block.

    Args:
        out: The way to the user.
        note: Told every second what is being done, for `rsgrpo watch`.
        run: Draw this run on one screen, not only a bar.
    """
    with ExitStack() as open_until_end:
        draw = _drawing(out, run, open_until_end)
        open_until_end.enter_context(Pulse(note or _to_nobody, draw, out.warn))
        yield


def _to_nobody(doing: Mapping[str, Any]) -> None:
    pass


def _drawing(out: Output, run: RunDir | None, open_until_end: ExitStack) -> Draw:
    live = out.live(transient=run is None)
    if live is None:
        return lambda: _say_after_silence(out)
    open_until_end.enter_context(live)
    if run is None:
        return lambda: live.update(_bar_line(), refresh=True)
    from rsgrpo_cli.report.snapshot import Reader

    reader = Reader(run)
    return lambda: live.update(screen_of(live.console, reader.read()), refresh=True)


def screen_of(console: Console, snapshot: Snapshot) -> RenderableType:
    """The screen of a run, as wide as the terminal is by now."""
    from rsgrpo_cli.report.screen import screen as drawn

    console.width = screen_width(sys.stderr) or console.width
    return drawn(snapshot, console.width, ascii_only=console.options.ascii_only)


def _say_after_silence(out: Output) -> None:
    now = activity.progress(activity.as_data())
    if now is not None and time.monotonic() - out.said_at >= SILENCE_SECONDS:
        out.info(told(now))


def told(now: activity.Progress) -> str:
    """What is being done, as a line."""
    left = f", {duration(now.seconds / now.fraction - now.seconds)} left" if now.fraction else ""
    detail = f"; {now.detail}" if now.detail else ""
    return f"{now.what}{': ' if now.count else ''}{now.count}, {duration(now.seconds)}{left}{detail}"


def _bar_line() -> RenderableType:
    from rich.text import Text

    now = activity.progress(activity.as_data())
    if now is None:
        return Text("")
    width = 24
    full = round((now.fraction or 0.0) * width)
    bar = "" if now.fraction is None else f"{'#' * full}{'-' * (width - full)} "
    return Text(f"{bar}{told(now)}", "cyan", no_wrap=True, overflow="ellipsis")


# -- a line per step --------------------------------------------------------------------------------------------------


COLUMNS = (
    ("reward", "reward_mean", 3),
    ("±", "reward_error", 3),
    ("pass@G", "pass@G", 3),
    ("solved", "cumulative_solve_rate", 3),
    ("adv rms", "advantage_rms", 3),
    ("loss", "loss", 4),
    ("grad", "grad_norm", 3),
    ("entropy", "entropy", 3),
    ("cut off", "truncated_fraction", 3),
    ("tokens", "completion_length_mean", 1),
    ("seconds", "seconds_step", 2),
)
"""Heading, metric, digits; those on the left stay where there is no room for all."""
HEADING_EVERY = 40
WIDTH, ENDS = 8, 19
"""Of a column with a number, with its gap two more; of the step on the left and the time left on the right."""


class StepLines:
    """Says a line per step, or prints an object per step; where there is a screen, the line goes into the log alone.

    Args:
        out: The way to the user.
        left: The seconds that are left after a step.
    """

    def __init__(self, out: Output, left: Callable[[Mapping[str, Any]], float | None]) -> None:
        self.out, self.left, self.shown = out, left, 0
        self.say = out.note if out.draws else out.info
        width = None if out.draws else screen_width(sys.stderr)
        self.columns = COLUMNS[: max(1, (width - ENDS) // (WIDTH + 2))] if width else COLUMNS
        self.last: dict[str, Any] = {}

    def show(self, row: dict[str, Any]) -> None:
        """Say a step's row of metrics; what it has a value for stays in `last`."""
        self.last = {name: value for name, value in row.items() if value is not None}
        self.out.item(self.last)
        if self.shown % HEADING_EVERY == 0:
            self.say("  ".join(["   step", *(f"{heading:>{WIDTH}}" for heading, *_ in self.columns), "      left"]))
        self.shown += 1
        left = self.left(row)
        # What a step has no number for: pass@G where rewards are grades, their mean where all of them are None.
        cells = [f"{number(row.get(name), digits) or '-':>{WIDTH}}" for _, name, digits in self.columns]
        self.say("  ".join([f"{row['step']:>7}", *cells, f"{'-' if left is None else duration(left):>10}"]))
