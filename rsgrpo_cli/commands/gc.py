"""`rsgrpo gc`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, size, table
from rsgrpo_cli.run import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from rsgrpo_cli.pipeline.tidying import Candidate


def gc(
    name: Annotated[str | None, typer.Argument(metavar="RUN", help="The run; the newest one unless given.")] = None,
    run: options.RunOption = None,
    rollouts: Annotated[
        bool,
        typer.Option("--rollouts", help="Also the completions of finished steps; checkpoints then stay."),
    ] = False,
    logprobs: Annotated[
        bool,
        typer.Option("--logprobs", help="Also the trainer's log-probabilities and entropies of finished steps."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what may go.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """List what can be deleted from a run to save space, and delete it when told to.

    By default only checkpoints that can be rebuilt are listed, so that nothing is lost. What resuming needs is never
    offered. Without a terminal to ask, nothing is removed without --yes.
    """
    from rsgrpo_cli.pipeline import tidying
    from rsgrpo_cli.run.run_dir import RunDir

    out, target = Output(as_json=as_json), RunDir.open(options.one_run(name, run))
    found = tidying.candidates(target, out, rollouts=rollouts, logprobs=logprobs)
    listed = [{"kind": one.kind, "what": one.what, "lost": one.lost, "bytes": one.bytes} for one in found]
    total = sum(one.bytes for one in found)
    kept = tidying.kept(target, found)
    data = {"run": str(target.path), "candidates": listed, "bytes": total, "removed": False, "kept": kept}
    stays = [f"policy {name} stays, {size(amount)}: {_why(rollouts)}" for name, amount in kept.items()]
    if not found:
        return out.result(data, lines=[_nothing(rollouts, logprobs), *stays])
    if dry_run or not (yes or _asked(out, found, total)):
        more = "" if dry_run else "; --yes removes it"
        return out.result(data, _table(found), lines=[*stays, f"nothing was removed{more}"])
    with target.lock(out.warn):
        tidying.remove(found)
        events.write_line(target.log, f"rsgrpo gc removed {', '.join(one.what for one in found)}")
    lines = [f"removed {', '.join(one.what for one in found)}: {size(total)}", *stays]
    out.result(data | {"removed": True}, lines=lines)


def _nothing(rollouts: bool, logprobs: bool) -> str:
    asked = rollouts or logprobs
    return "nothing may go" + ("" if asked else "; --rollouts offers the completions of finished steps too")


def _why(rollouts: bool) -> str:
    """Why the policy of an update with a tag is not offered."""
    return "with --rollouts, checkpoints stay" if rollouts else "what it was made from is not all there"


def _asked(out: Output, found: Sequence[Candidate], total: int) -> bool:
    """Ask, where there is somebody to ask."""
    if out.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    for one in found:
        out.info(f"{one.what}, {size(one.bytes)}{f': without it, {one.lost}' if one.lost else ''}")
    return typer.confirm(f"Remove {size(total)}?", err=True)


def _table(found: Sequence[Candidate]) -> Table:
    made = table("what", "size", "what is lost", text=("what is lost",))
    for one in found:
        made.add_row(one.what, size(one.bytes), one.lost or "nothing")
    return made
