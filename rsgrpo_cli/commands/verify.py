"""`rsgrpo verify`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    from rsgrpo_cli.pipeline.verify.verification import Verification


def verify(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN...", autocompletion=options.complete_run, help="The runs; the newest one unless given."
        ),
    ] = None,
    run: options.RunOption = None,
    load: Annotated[
        bool,
        typer.Option(
            "--load/--no-load", help="Also load the newest checkpoint, on the CPU. The default is to load it."
        ),
    ] = True,
    as_json: options.JsonOption = False,
) -> None:
    """Check all files of runs: content, keys, joins, what was made from what, and that the newest checkpoint loads.

    A finding is one line: what is wrong, and what to do about it. With any, the exit code is 1. Nothing is changed.
    """
    from rsgrpo_cli.pipeline.verify.verification import Verification
    from rsgrpo_cli.run.run_dir import RunDir

    names = [options.one_run(place, run) for place in places] if places else [run]
    done = [Verification(RunDir.open(name)) for name in names]
    for one in done:
        one.all(load=load)
    data = [
        {
            "run": str(one.run.path),
            "tables": one.tables,
            "checkpoints": one.checkpoints,
            "findings": [{"what": found.what, "hint": found.hint} for found in one.in_order()],
        }
        for one in done
    ]
    lines = [line for one in done for line in _lines(one)]
    Output(as_json=as_json).result({"runs": data}, lines=lines, failure=_failure(done))


def _failure(done: Sequence[Verification]) -> RsgrpoError | None:
    """How many findings there are, and the command that looks again; None where there are none."""
    unsound = [one for one in done if one.in_order()]
    if not unsound:
        return None
    count = sum(len(one.in_order()) for one in unsound)
    names = [str(one.run.path) for one in unsound]
    where = names[0] if len(names) == 1 else counted(len(names), "run")
    again = shlex.join(["rsgrpo", "verify", *names])
    return RsgrpoError(f"{counted(count, 'finding')} in {where}", f"do what each says, then: {again}")


def _lines(one: Verification) -> list[str]:
    if not one.in_order():
        checkpoints = counted(one.checkpoints, "checkpoint")
        return [f"{one.run.path}: {counted(one.tables, 'table')} and {checkpoints} are as they were made"]
    return [f"{found.what}: {found.hint}" for found in one.in_order()]
