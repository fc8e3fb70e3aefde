"""`rsgrpo sweep`."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import Interrupted, RsgrpoError, UsageError
from rsgrpo_cli.helping import ListOf
from rsgrpo_cli.wording import AGAIN, counted

if TYPE_CHECKING:
    from rsgrpo_cli.studies.grid import Grid
    from rsgrpo_cli.studies.jobs import Job
    from rsgrpo_cli.studies.sweep import Sweep


@options.settings(*(name for name in options.TRAIN_FLAGS if name != "seed"), axes=True)
def sweep(
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The sweep's name: its runs are under runs/NAME.")
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", metavar=ListOf("0-7"), help="Seeds, each a run.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="TOML with name, seeds, line and the tables settings, axes and arms."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Runs at a time. By default 1; with --ray, as many as there is room for."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads per run.  \\[default: 1]")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="auto|HOST:PORT",
            help="Make the runs on a Ray cluster, each with --threads CPUs, and a GPU where there are some: the one "
            "that runs on this machine or RAY_ADDRESS names, or the one whose head is at HOST:PORT.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Leave a small result of each run in DIR/NAME; one there is done."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs; make nothing.")] = False,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Train and evaluate a grid of settings and seeds, each cell a run; run it again to finish what is left.

    Several values make an axis: --beta 0,2,4,8, or --set for what has no flag. Named arms go into a --config file.
    """
    from rsgrpo_cli.disk import require_way
    from rsgrpo_cli.pipeline.own_functions import with_functions
    from rsgrpo_cli.run.run_dir import RUNS, RunDir
    from rsgrpo_cli.studies.sweep import Sweep, as_begun

    out = Output(as_json=as_json)
    named, grid = _grid(config, seeds, overrides)
    chosen = name or named
    if chosen is None:
        raise UsageError(
            "the sweep has no name", "give --name NAME; what varies: --set advantage.beta=0,2 or --seeds 0-7"
        )
    place = RUNS / options.file_name(chosen, "--name")
    require_way(place / "run")
    if RunDir.is_there(place):
        raise UsageError(f"{place} is a run, and a sweep is a folder of runs", "give the sweep another --name")
    if keep is not None and keep.exists() and not keep.is_dir():
        raise UsageError(f"--keep {keep} is a file", "give a directory")
    kept = keep / chosen if keep else None
    begun = as_begun(place, grid.cells(), kept)
    whole = with_functions([cell.config for cell in begun])
    cells = [replace(cell, config=config) for cell, config in zip(begun, whole, strict=True)]
    planned = Sweep(place, cells, kept, line=tuple(grid.line))
    if dry_run:
        return _list(out, planned)
    _run(out, planned, jobs, threads, ray)


def _grid(config: Path | None, seeds: str | None, overrides: Overrides) -> tuple[str | None, Grid]:
    """What to vary: the file, with the flags laid over it."""
    from rsgrpo_cli.studies.grid import Grid, read_grid, read_seeds, split_axes

    name, grid = read_grid(config) if config else (None, Grid())
    settings, axes = split_axes(overrides)
    fixed = {axis: values for axis, values in grid.axes.items() if axis not in settings}
    chosen = read_seeds(seeds) if seeds else grid.seeds
    return name, Grid(grid.settings | settings, {**fixed, **axes}, grid.arms, chosen, grid.line, tuple(settings))


def _list(out: Output, planned: Sweep) -> None:
    done = {cell.name: planned.is_done(cell) for cell in planned.cells}
    cells = [{"cell": cell.name, "done": done[cell.name], **cell.varied} for cell in planned.cells]
    lines = [f"{'done   ' if done[cell.name] else 'to do  '} {cell.name}" for cell in planned.cells]
    lines += [f"{counted(len(cells), 'run')}, {sum(done.values())} done, in {planned.place}"]
    out.result({"sweep": str(planned.place), "cells": cells}, lines=lines)


def _run(out: Output, planned: Sweep, slots: int | None, threads: int, ray: str | None) -> None:
    from rsgrpo_cli.commands.sweep_display import SweepDisplay
    from rsgrpo_cli.studies import canary
    from rsgrpo_cli.studies.jobs import Jobs, Starter, start_here
    from rsgrpo_cli.trackers.registry import require

    require({name for cell in planned.cells for name in cell.config.train.tracker})
    starter: Starter = start_here
    room = 1
    if ray is not None:
        from rsgrpo_cli.pipeline.spread.ray_commands import RayCommands

        cluster = RayCommands(ray, threads, gpus=any(cell.config.model.device != "cpu" for cell in planned.cells))
        starter, room = cluster.start, cluster.room
    if planned.kept is not None and planned.jobs():
        planned = replace(planned, canary=canary.measure())
    left = planned.jobs()
    at_a_time = slots or room
    with planned.at_work() if left else nullcontext(), SweepDisplay(out, planned, left, at_a_time) as display:
        environment = {"OMP_NUM_THREADS": str(threads)}
        environment |= {name: value for name, value in os.environ.items() if name == "RSGRPO_TRUST"}  # for a cluster
        runner = Jobs(left, at_a_time, environment, display.say, starter, display.say_stopping)
        runner.run(display.tick)
    failed, skipped = ([job for job in left if job.state == state] for state in ("failed", "skipped"))
    data: dict[str, Any] = {
        "sweep": str(planned.place),
        "cells": len(planned.cells),
        "done": sum(planned.is_done(cell) for cell in planned.cells),
        "failed": {job.name: job.why for job in failed},
        "skipped": {job.name: job.why for job in skipped},
        "warnings": display.warnings,
    }
    if runner.stopping:
        raise Interrupted(
            f"stopped with {data['done']} of {counted(data['cells'], 'run')} done",
            "the same command again does what is left",
        )
    lines = _summary(planned, data, told=display.lists)
    out.result(data, lines=lines, failure=_failure(failed) if failed else None)


def _failure(failed: list[Job]) -> RsgrpoError:
    from rsgrpo_cli.studies.sweep import hint_of

    first = failed[0]
    many = counted(len(failed), "run")
    hint = hint_of(first)
    where = f"see {first.log}" if first.log.is_file() else ""
    rest = "" if AGAIN in hint else f"{AGAIN} repeats only what is not done"
    return RsgrpoError(
        f"{many} failed: {first.name}: {first.why}", "; ".join(part for part in (hint, where, rest) if part)
    )


def _summary(planned: Sweep, data: dict[str, Any], *, told: bool) -> list[str]:
    """How it ended; with what failed, unless that was told as it happened."""
    lines = [] if told else [f"{name} failed: {why}" for name, why in data["failed"].items()]
    for why in dict.fromkeys(data["skipped"].values()):
        count = list(data["skipped"].values()).count(why)
        lines.append(f"{counted(count, 'run')} skipped: {why}")
    return [*lines, f"{planned.place}: {data['done']} of {counted(data['cells'], 'run')} done"]
