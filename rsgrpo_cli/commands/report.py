"""`rsgrpo report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output


def report(
    runs: Annotated[list[str], typer.Argument(metavar="[LABEL=]RUN[@POLICY]...", help="Evaluated policies.")],
    benchmark: options.EvaluatedOn = None,
    k: options.K = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Draw pass@k: .svg, .png, .pdf.")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Put evaluations of one benchmark side by side, as a table and a figure of pass@k against k."""
    from rsgrpo_cli.report import evaluations
    from rsgrpo_cli.report.figures import passk_figure
    from rsgrpo_cli.report.tables import passk_table

    found = []
    for text in runs:
        label, equals, place = text.rpartition("=")
        evaluation = evaluations.find(place, benchmark)
        found.append((label if equals else evaluation.label, evaluation))
    evaluations.require_same_problems([evaluation for _, evaluation in found])
    unlike = evaluations.unlike(found)
    ks = options.ks(k) if k else found[0][1].asked_ks()
    if figure is not None:
        passk_figure(found, figure)
    data = {
        "benchmark": found[0][1].benchmark,
        "policies": [
            {"label": label, "num_samples": evaluation.num_samples, "pass": evaluation.curve()}
            | ({"reward": evaluation.value("reward")} if evaluation.is_graded else {})
            for label, evaluation in found
        ],
        "unlike": unlike,
        "figure": str(figure) if figure else None,
    }
    lines = [f"different: {told}" for told in unlike] + ([f"figure: {figure}"] if figure else [])
    Output(as_json=as_json).result(data, passk_table(found, ks), lines=lines)
