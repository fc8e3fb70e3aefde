"""`rsgrpo doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, table
from rsgrpo_cli.errors import RsgrpoError

SIGNS = {"ok": "ok", "absent": "-", "warning": "look", "problem": "PROBLEM"}


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Do not try to reach the Hugging Face Hub.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Check this installation: Python, packages against the pins, GPU, vLLM, memory, disk, the Hub, and a short run.

    Ends with an error only where something that rsgrpo needs does not work.
    """
    from rsgrpo_cli.commands.live import shown
    from rsgrpo_cli.planning.checks import all_checks

    out = Output(as_json=as_json)
    with shown(out):
        found = list(all_checks(offline=offline))
    made = table("check", "", "found", "what to do", text=("found", "what to do"))
    for check in found:
        made.add_row(check.name, SIGNS[check.state], check.found, check.advice)
    broken = [check for check in found if check.state == "problem"]
    failure = RsgrpoError(f"{broken[0].name}: {broken[0].found}", broken[0].advice) if broken else None
    out.result({"checks": [asdict(check) for check in found]}, made, failure=failure)
