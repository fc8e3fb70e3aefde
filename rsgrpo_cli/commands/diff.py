"""`rsgrpo diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import options, typed
from rsgrpo_cli.console import Output, number, table

if TYPE_CHECKING:
    from rich.table import Table


def diff(
    one: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    other: Annotated[str, typer.Argument(metavar="RUN", help="Another run.")],
    as_json: options.JsonOption = False,
) -> None:
    """Show which settings two runs differ in, and the results of each.

    Differences of pass@k with intervals, problem by problem: rsgrpo compare.
    """
    from rsgrpo_cli.report.differences import differences

    data = differences(one, other)
    settings = table("setting", data["runs"][0], data["runs"][1])
    for name, values in data["settings"].items():
        settings.add_row(name, *map(typed.shown, values))
    tables = [settings] if data["settings"] else []
    lines = [] if data["settings"] else ["the settings are the same"]
    Output(as_json=as_json).result(data, *tables, _results(data), before=lines, lines=data["notes"])


def _results(data: dict[str, Any]) -> Table:
    made = table("result", data["runs"][0], data["runs"][1])
    for name, values in data["results"].items():
        made.add_row(name, *(_shown(value) for value in values))
    return made


def _shown(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else number(value)
