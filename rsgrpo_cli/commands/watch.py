"""`rsgrpo watch`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, screen_width
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    from rsgrpo_cli.report.snapshot import Reader, Snapshot

WIDTH = 80
"""Columns of a screen that goes to a file or a pipe."""


def watch(
    name: options.RunArgument = None,
    run: options.RunOption = None,
    once: Annotated[bool, typer.Option("--once", help="Print the screen once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics of each step as a line of JSON.")] = False,
) -> None:
    """Watch a run from another terminal: the screen that train draws, or a line per step. Reads only.

    Ends when no process works on the run any more. Ctrl-C ends it earlier and does nothing to the run.
    """
    from rsgrpo_cli.report.snapshot import Reader
    from rsgrpo_cli.run.run_dir import RunDir

    out, reader = Output(as_json=as_json), Reader(RunDir.open(options.one_run(name, run)))
    try:
        if once and not as_json:
            _print(out, reader.read())
        elif out.draws:
            _draw(out, reader)
        else:
            _list(out, reader, once=once)
    except KeyboardInterrupt:
        return


def _print(out: Output, snapshot: Snapshot) -> None:
    from rsgrpo_cli.report.screen import screen as drawn

    width = screen_width(sys.stdout) or WIDTH
    plain = "utf" not in (sys.stdout.encoding or "utf-8").lower()
    out.result({}, lines=drawn(snapshot, width, ascii_only=plain).plain.split("\n"))


def _draw(out: Output, reader: Reader) -> None:
    from rsgrpo_cli.commands.live import EVERY_SECONDS, screen_of

    live = out.live(transient=False)
    assert live is not None  # the caller has asked
    with live:
        while True:
            snapshot = reader.read()
            live.update(screen_of(live.console, snapshot), refresh=True)
            if not snapshot.at_work:
                return
            time.sleep(EVERY_SECONDS)


def _list(out: Output, reader: Reader, *, once: bool) -> None:
    """A line, or an object, per step: those that are there, then each new one."""
    from rsgrpo_cli.commands.live import EVERY_SECONDS, StepLines
    from rsgrpo_cli.report.remaining import Clock

    lines = StepLines(out, Clock(reader.run, reader.run.config()).left_after)
    seen = -1
    while True:
        now = reader.read()  # asked first: what is written after this is not missed
        for row in reader.whole_rows(seen + 1):
            lines.show(row)
            seen = row["step"]
        if once:
            return
        if not now.at_work:
            return out.info(f"{reader.run.path}: {now.state}, {now.done} of {counted(now.wanted, 'step')}")
        time.sleep(EVERY_SECONDS)
