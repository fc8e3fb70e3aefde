"""`rsgrpo rm`."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, size
from rsgrpo_cli.errors import Interrupted, UsageError
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    from pathlib import Path

    from rsgrpo_cli.studies.removal import Removal

SHOWN = 10


def rm(
    places: Annotated[
        list[str],
        typer.Argument(metavar="RUN|SWEEP...", autocompletion=options.complete_run, help="What to remove."),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Delete runs and sweeps: lists what goes and how large it is, then asks.

    Only what rsgrpo wrote is removed, exports in the run's folder among it, and no run that another process works on.
    Forks of a run stay whole.
    """
    from rsgrpo_cli.studies import removal

    out = Output(as_json=as_json)
    planned = removal.plan(places)
    if not yes:
        _ask(out, planned)
    removal.carry_out(planned, out.warn)
    data = {
        "removed": [str(path) for path in [*planned.runs, *planned.sweeps]],
        "bytes": planned.size,
        "freed_bytes": planned.freed,
        "kept": [str(path) for path in planned.kept],
    }
    out.result(data, lines=[f"removed {_told(planned)}", *_kept(planned)])


def _ask(out: Output, planned: Removal) -> None:
    """Go on only if a person says so.

    Raises:
        UsageError: If there is nobody to ask.
        Interrupted: If the answer is no.
    """
    if out.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"this would remove {_told(planned)}", "nobody can be asked here: give --yes")
    names = [str(path) for path in planned.sweeps or planned.runs]
    for name in names[:SHOWN]:
        out.info(name)
    if len(names) > SHOWN:
        out.info(f"and {len(names) - SHOWN} more")
    if not typer.confirm(f"Remove {_told(planned)}?", err=True):
        raise Interrupted("nothing was removed")


def _told(planned: Removal) -> str:
    """For instance: 33 runs (120 MB, of which 20 MB stay in forks)."""
    count = len(planned.runs)
    shared = planned.size - planned.freed
    stays = f", of which {size(shared)} stay in other runs" if shared else ""
    return f"{counted(count, 'run')} ({size(planned.size)}{stays})"


def _kept(planned: Removal) -> list[str]:
    lines = [f"kept {path}, {_why_kept(path)}" for path in planned.kept[:SHOWN]]
    return lines + ([f"and {len(planned.kept) - SHOWN} more"] if len(planned.kept) > SHOWN else [])


def _why_kept(path: Path) -> str:
    from rsgrpo_cli.run.run_dir import RunDir

    if RunDir.is_there(path):
        return f"a run, but no cell of the sweep; to remove it: {shlex.join(['rsgrpo', 'rm', str(path)])}"
    return "which is not rsgrpo's"
