"""`rsgrpo figure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsgrpo_cli.commands import options, typed
from rsgrpo_cli.console import Output


def figure(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="passk, training, diversity, frontier, transitions or weights.")
    ],
    places: options.Places,
    target: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A .svg, .png or .pdf.  \\[default: KIND.svg]")
    ] = None,
    benchmark: options.EvaluatedOn = None,
    k: options.K = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="LABEL", help="Of transitions: from it.  \\[default: the base model]"),
    ] = None,
    along: Annotated[
        str | None,
        typer.Option(
            "--along", metavar="SECTION.FIELD", help="Of frontier: groups that differ in this alone are one line."
        ),
    ] = None,
    smooth: Annotated[
        int | None,
        typer.Option(
            "--smooth",
            metavar="N",
            min=1,
            help="Of training: running means over this many steps.  \\[default: a tenth, at most 10]",
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            envvar="RSGRPO_TRUST",
            help="Of weights: call the estimators of your own that the runs' configurations name.",
        ),
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Draw a figure of groups of runs: runs that differ only in their seed are one group.

    passk: pass@k against k. training: solve rates and rewards against the step. diversity: distinct answers. frontier:
    pass@k at a small against a large k. transitions: how often problems are solved by the base model and each group.
    weights: what the estimators give to a group of answers.
    """
    from dataclasses import asdict, replace

    from rsgrpo_cli.report.figures import check_drawable
    from rsgrpo_cli.studies.figures.kinds import kind_of
    from rsgrpo_cli.studies.finding import not_trained
    from rsgrpo_cli.studies.groups import find_groups

    out = Output(as_json=as_json)
    chosen = kind_of(kind)
    path = target or Path(f"{kind}.svg")
    check_drawable(path)
    choices = chosen.choose(
        benchmark=benchmark, k=typed.ks(k) if k else None, baseline=baseline, along=along, smooth=smooth
    )
    found = chosen.collect(find_groups(places), replace(choices, trust=trust))
    chosen.draw(found, path)
    if told := not_trained(places):
        out.info(told)
    out.result({"figure": str(path), "kind": kind} | asdict(found), lines=[found.caption, f"figure: {path}"])
