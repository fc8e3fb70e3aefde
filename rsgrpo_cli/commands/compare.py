"""`rsgrpo compare`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output

SHOWN = 20


def compare(
    before: Annotated[str, typer.Argument(metavar="RUN_A[@POLICY]", help="The one to compare with.")],
    after: Annotated[str, typer.Argument(metavar="RUN_B[@POLICY]", help="The one that is compared.")],
    benchmark: options.EvaluatedOn = None,
    k: options.K = None,
    as_json: options.JsonOption = False,
) -> None:
    """Compare two evaluations problem by problem: the difference at each k, what was newly solved and newly lost."""
    from rsgrpo_cli.report import comparison
    from rsgrpo_cli.report.evaluations import find
    from rsgrpo_cli.report.tables import comparison_table

    found = [find(place, benchmark) for place in (before, after)]
    result = comparison.compare(found[0], found[1], list(options.ks(k)) if k else None)
    lines = [_named(result, "newly_solved"), _named(result, "newly_lost")]
    lines += _fewer_samples(result) + [f"different: {told}" for told in result["unlike"]]
    Output(as_json=as_json).result(result, comparison_table(result), lines=lines)


def _fewer_samples(result: dict[str, Any]) -> list[str]:
    """Notes on evaluations that have more samples than are compared."""
    names, fewer = (result["before"], result["after"]), result["compared_samples"]
    return [
        f"compared at {fewer} samples per problem: the first {fewer} of the {count} of {name}"
        for name, count in zip(names, result["samples"], strict=True)
        if count > fewer
    ]


def _named(result: dict[str, list[str]], what: str) -> str:
    names = result[what]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what.replace('_', ' ')} ({len(names)}): {', '.join(names[:SHOWN]) or 'none'}{more}"
