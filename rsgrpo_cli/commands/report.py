"""`rsgrpo report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import options, typed
from rsgrpo_cli.console import Output, size
from rsgrpo_cli.errors import UsageError

if TYPE_CHECKING:
    from rsgrpo_cli.report.evaluations import Evaluation

Places = Annotated[
    list[str],
    typer.Argument(
        metavar="[LABEL=]RUN[@POLICY]...",
        autocompletion=options.complete_run,
        help="Runs, or policies of them; a sweep stands for its runs.",
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="LABEL",
        help="What the page compares the others with, by its label; by default the first that was trained.",
    ),
]


def report(
    runs: Places,
    benchmark: options.EvaluatedOn = None,
    k: options.K = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Draw pass@k: .svg, .png, .pdf.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write a page with all there is to see: one file that needs no network."
        ),
    ] = None,
    baseline: BaselineOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Put evaluations of one benchmark side by side: a table, a figure of pass@k against k, or a page with everything.

    The page takes runs that have not been evaluated too, and says which command evaluates them.
    """
    out = Output(as_json=as_json)
    if html is not None:
        if figure is not None or k is not None:
            what = "--figure" if figure is not None else "--k"
            raise UsageError(f"{what} belongs to the table, not to the page", f"leave {what} out, or give two commands")
        _page(runs, benchmark, baseline, html, out)
        return
    if baseline is not None:
        raise UsageError("--baseline belongs to the page", "add --html FILE, or leave --baseline out")
    _table(runs, benchmark, k, figure, out)


def _page(runs: list[str], benchmark: str | None, baseline: str | None, path: Path, out: Output) -> None:
    """Write the page."""
    from rsgrpo_cli.disk import write_atomically
    from rsgrpo_cli.report.html.collect import page

    if path.suffix not in (".html", ".htm"):
        raise UsageError(f"{path} would not open as a page", "give a file that ends in .html")
    made = page(runs, benchmark, baseline)
    write_atomically(path, lambda file: file.write(made))
    out.result({"html": str(path), "bytes": len(made)}, lines=[f"page: {path} ({size(len(made))})"])


def _table(runs: list[str], benchmark: str | None, k: str | None, figure: Path | None, out: Output) -> None:
    """Print the table, and draw the figure."""
    from rsgrpo_cli.report.comparison import require_same_problems, unlike
    from rsgrpo_cli.report.sweeps import each_run
    from rsgrpo_cli.report.tables import passk_table
    from rsgrpo_cli.studies.figures import passk

    found = _told_apart([_labelled(text, benchmark) for text in each_run(runs)])
    require_same_problems([evaluation for _, evaluation in found])
    differences = unlike(found)
    ks = typed.ks(k) if k else found[0][1].asked_ks()
    if figure is not None:
        passk.draw(passk.of_evaluations(found), figure)
    data: dict[str, Any] = {
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
    out.result(data, passk_table(found, ks), lines=lines)


def _labelled(text: str, benchmark: str | None) -> tuple[str, Evaluation]:
    """What "LABEL=RUN@POLICY" names; a stale evaluation is marked as one, in the table and in the figure."""
    from rsgrpo_cli.report import evaluations

    label, place = evaluations.split_label(text)
    evaluation = evaluations.find(place, benchmark, stale=True)
    return (label or evaluation.label) + (" (stale)" if evaluation.stale else ""), evaluation


def _told_apart(found: list[tuple[str, Evaluation]]) -> list[tuple[str, Evaluation]]:
    """The same, where a label of several runs of a sweep has the name of each behind it."""
    labels = [label for label, _ in found]
    return [(f"{label}, {one.run.name}" if labels.count(label) > 1 else label, one) for label, one in found]


def _stale(found: list[tuple[str, Evaluation]]) -> list[str]:
    """Why evaluations are stale, and how to measure again."""
    from rsgrpo_cli.run.staleness import stale_evaluation

    sentences = [stale_evaluation(one.run, one.version, one.benchmark, one.at) for _, one in found if one.stale]
    return [f"stale: {sentence}" for sentence in dict.fromkeys(sentences)]
