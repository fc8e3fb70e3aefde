"""`--audit-with` of `score` and `eval`, and what it prints: where a second grader disagrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.console import Output, table, visible
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

AuditOption = Annotated[
    str | None,
    typer.Option(
        "--audit-with",
        metavar="bare|MODULE:FUNCTION",
        help="Grade with a second grader too (bare is math-verify as it comes), and list where it disagrees. "
        "Rewards stay as they are; the list is also in the HTML report.",
    ),
]
SHOWN = 20
"""Different disagreements that are printed of each comparison."""


def say(out: Output, data: Mapping[str, Any], compared: Sequence[tuple[str, str, pa.Table]]) -> None:
    """Print comparisons: equal disagreements once, the most frequent first.

    Args:
        out: The way to the user.
        data: All of it, for JSON.
        compared: What was compared ("step 3"), the second grader, and a table of `schemas.AUDIT`, each.
    """
    lines = [f"{of}: {grader} agrees with every reward" for of, grader, found in compared if not len(found)]
    tables = []
    for of, grader, found in compared:
        if len(found):
            made, hidden = _table(of, grader, found)
            tables.append(made)
            lines += [f"{of}: {hidden} more such rows: --json has all completions"] if hidden > 0 else []
    out.result(data, *tables, lines=lines)


def _table(of: str, grader: str, found: pa.Table) -> tuple[Table, int]:
    """The most frequent disagreements, and how many more kinds there are."""
    from rsgrpo_cli.report.audits import folded, more_generous

    rows = found.to_pylist()
    more, many = more_generous(rows), counted(len(rows), "completion")
    told = f"{of}: {grader} disagrees on {many}: it gives more to {more}, less to {len(rows) - more}"
    made = table("times", "reference", "answer", "reward", grader, "first", title=told, text=("reference", "answer"))
    kinds = folded(found)
    for kind in kinds[:SHOWN]:
        verdicts = [_verdict(kind.verdict), _verdict(kind.second)]
        made.add_row(str(kind.count), visible(kind.ground_truth), visible(kind.answer), *verdicts, kind.completion)
    return made, len(kinds) - SHOWN


def _verdict(said: tuple[float | None, Any]) -> str:
    return f"{'-' if said[0] is None else f'{said[0]:g}'} {said[1]}"
