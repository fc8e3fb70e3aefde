"""`rsgrpo bandit`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rsgrpo_cli import activity
from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.live import shown
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import StaleError, UsageError
from rsgrpo_cli.helping import ListOf

if TYPE_CHECKING:
    import pyarrow as pa

Number = TypeVar("Number", int, float)
LARGEST_BETA = 1e6
MOST_ARMS, MOST_SAMPLES, MOST_CELLS = 1_000_000, 10**10, 30_000_000
"""Beyond these a run takes days, and arms times runs more than a few gigabytes."""
LARGEST_SEED = 2**32 - 2  # numpy's streams are seeded with one more


def bandit(
    arms: Annotated[int, typer.Option("--arms", min=2, help="How many; the paper has 100.")] = 100,
    betas: Annotated[
        str, typer.Option("--betas", metavar=ListOf("0,2,..."), help="Risk sensitivities.")
    ] = "0,2,4,8,16,32,64",
    seeds: Annotated[str, typer.Option("--seeds", metavar=ListOf("42,43,..."), help="A run each.")] = "42,43,44,45,46",
    samples: Annotated[int, typer.Option("--samples", min=16, help="Arms that a run draws, 16 an update.")] = 400_000,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the tables go.")] = Path("bandit"),
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure", metavar="FILE", help="A .svg, .png or .pdf; bandit.svg beside the tables if not given."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace runs with other settings.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Play the paper's bandit: a policy that starts at a local optimum, and the beta it takes to leave (its Figure 3).

    Writes runs, curves and policies as Parquet, and the figure. With the same settings again it only draws.
    """
    settings = {
        "arms": arms,
        "betas": _numbers("--betas", betas, float, lambda beta: abs(beta) <= LARGEST_BETA, "numbers up to 1e6"),
        "seeds": _numbers("--seeds", seeds, int, lambda seed: 0 <= seed <= LARGEST_SEED, "whole numbers from 0 on"),
        "samples": samples,
    }
    _check_size(settings)
    output = Output(as_json=as_json)
    figure = _figure_path(figure, out, output)
    tables = _saved(out, settings, force) or _play(out, settings, output)
    from rsgrpo_cli.report.bandit import bandit_figure, bandit_table, summary

    if figure is not None:
        bandit_figure(tables["runs"], tables["curves"], tables["policies"], figure)
    rows = summary(tables["runs"])
    data = {"betas": rows, "samples": samples, "out": str(out), "figure": str(figure) if figure else None}
    lines = [f"tables: {out}/{{runs,curves,policies}}.parquet", *([f"figure: {figure}"] if figure else [])]
    output.result(data, bandit_table(rows, samples), lines=lines)


def _numbers(
    flag: str, text: str, kind: Callable[[str], Number], accept: Callable[[Number], bool], wanted: str
) -> list[Number]:
    """The different numbers of a list such as "0,2,4", in rising order."""
    try:
        values = sorted({kind(part) for part in text.split(",")})
    except ValueError:
        values = []
    if not values or not all(map(accept, values)):
        raise UsageError(f"{flag} {text!r} is not a list of {wanted}", f"write for example {flag} 0,2,4")
    return values


def _check_size(settings: dict[str, Any]) -> None:
    """Refuse what no machine could play.

    Raises:
        UsageError: Naming what is too large.
    """
    runs = len(settings["betas"]) * len(settings["seeds"])
    for flag, value, most in (("arms", settings["arms"], MOST_ARMS), ("samples", settings["samples"], MOST_SAMPLES)):
        if value > most:
            raise UsageError(f"--{flag} {value:,} is too many", f"at most {most:,}")
    if settings["arms"] * runs > MOST_CELLS:
        hint = f"at most {MOST_CELLS:,} in all: fewer --arms, --betas or --seeds"
        raise UsageError(f"{settings['arms']:,} arms in {runs:,} runs are too many", hint)


def _figure_path(figure: Path | None, out: Path, output: Output) -> Path | None:
    """Where to draw: a bad name or a missing matplotlib is found before anything is computed."""
    from rsgrpo_cli.report.figures import check_drawable, pyplot

    if figure is None and find_spec("matplotlib") is None:
        output.info("no figure: matplotlib is not installed (pip install 'rsgrpo[report]')")
        return None
    path = figure or out / "bandit.svg"
    check_drawable(path)
    pyplot()
    return path


def _kinds() -> dict[str, Any]:
    """The artifacts in the order they are written; the runs, which are looked at first, come last."""
    from rsgrpo_cli import schemas

    return {
        "policies": schemas.BANDIT_POLICIES,
        "curves": schemas.BANDIT_CURVES,
        "runs": schemas.BANDIT_RUNS,
    }


def _saved(out: Path, settings: dict[str, Any], force: bool) -> dict[str, pa.Table] | None:
    """What an earlier call with these settings left, None where there is something to do.

    Raises:
        StaleError: If there are runs with other settings, which would be lost.
        UsageError: If `out` is a file.
    """
    from rsgrpo_cli.artifacts import read_lineage, read_table

    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file", "give a directory")
    if force:
        return None
    paths = {name: out / f"{name}.parquet" for name in _kinds()}
    present = {name: read_lineage(path, _kinds()[name]).config for name, path in paths.items() if path.exists()}
    for config in present.values():
        changed = [f"{name} {_plain(config[name])}" for name in settings if config.get(name) != settings[name]]
        if changed:
            hint = "give another --out, or --force to replace them"
            raise StaleError(f"{out} holds runs with other settings: {', '.join(changed)}", hint)
    if len(present) < len(paths):
        return None
    return {name: read_table(path, _kinds()[name]) for name, path in paths.items()}


def _play(out: Path, settings: dict[str, Any], output: Output) -> dict[str, pa.Table]:
    import numpy as np

    from rsgrpo_cli.artifacts import Lineage, read_table, write_table
    from rsgrpo_cli.experiments.bandit import GROUP_SIZE, LEARNING_RATE, Bandit, play, play_exactly, tables

    played = Bandit.of(settings["arms"])
    betas, seeds, samples = settings["betas"], settings["seeds"], settings["samples"]
    with shown(output), activity.doing("playing", samples, "samples") as bar:
        runs = play(played, betas, seeds, samples, bar.advance)
    exact = np.repeat(play_exactly(played, betas, samples // GROUP_SIZE), len(seeds), axis=0)
    lineage = Lineage("bandit", settings | {"group_size": GROUP_SIZE, "learning_rate": LEARNING_RATE}, inputs={})
    made = tables(runs, exact)
    for name, kind in _kinds().items():
        write_table(out / f"{name}.parquet", made[name], kind, lineage)
    return {name: read_table(out / f"{name}.parquet", kind) for name, kind in _kinds().items()}


def _plain(value: object) -> str:
    return ",".join(f"{item:g}" for item in value) if isinstance(value, list) else str(value)
