"""`rsgrpo report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output

if TYPE_CHECKING:
    from rsgrpo_cli.report.evaluations import Evaluation


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
    from rsgrpo_cli.report.comparison import require_same_problems, unlike
    from rsgrpo_cli.report.figures import passk_figure
    from rsgrpo_cli.report.tables import passk_table

    found = [_labelled(text, benchmark) for text in runs]
    require_same_problems([evaluation for _, evaluation in found])
    differences = unlike(found)
    ks = options.ks(k) if k else found[0][1].asked_ks()
    if figure is not None:
        passk_figure(found, figure)
    data = {
        "benchmark": found[0][1].benchmark,
        "policies": [
            {"label": label, "num_samples": one.num_samples, "pass": one.curve(), "stale": one.stale}
            | ({"reward": one.value("reward")} if one.is_graded else {})
            for label, one in found
        ],
        "unlike": differences,
        "figure": str(figure) if figure else None,
    }
    lines = _stale(found) + [f"different: {told}" for told in differences] + ([f"figure: {figure}"] if figure else [])
    Output(as_json=as_json).result(data, passk_table(found, ks), lines=lines)


def _labelled(text: str, benchmark: str | None) -> tuple[str, Evaluation]:
    """What "LABEL=RUN@POLICY" names; a stale evaluation is marked as one, in the table and in the figure."""
    from rsgrpo_cli.report import evaluations

    label, equals, place = text.rpartition("=")
    evaluation = evaluations.find(place, benchmark, stale=True)
    return (label if equals else evaluation.label) + (" (stale)" if evaluation.stale else ""), evaluation


def _stale(found: list[tuple[str, Evaluation]]) -> list[str]:
    """Why evaluations are stale, and how to measure again."""
    from rsgrpo_cli.staleness import stale_evaluation

    sentences = [stale_evaluation(one.run, one.version, one.benchmark) for _, one in found if one.stale]
    return [f"stale: {sentence}" for sentence in dict.fromkeys(sentences)]
