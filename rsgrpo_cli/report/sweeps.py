"""A sweep, or another folder of runs, where runs are asked for: it stands for its runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.report.evaluations import split_label, split_place
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.run_names import is_base

_SEED = re.compile(r"[-_.]?seed[-_]?[0-9]+$")


def each_run(names: Sequence[str]) -> list[str]:
    """The same places, with the runs of a sweep in place of the sweep.

    A label is that of all runs of a sweep where they differ in their seed alone; else it stands before their own names.

    Args:
        names: "[LABEL=]PLACE[@POLICY]" each.

    Raises:
        MissingError: If a folder has results of runs, but no runs.
    """
    return [text for name in names for text in _each(name)]


def _each(text: str) -> list[str]:
    label, where = split_label(text)
    name, policy = split_place(where)
    folder = RunDir.locate_folder(name)
    if RunDir.is_there(folder) or not folder.is_dir():
        return [text]
    runs = _cells(folder)
    if not runs and any(folder.glob("*.parquet")):
        what = f"{folder} has results of runs, and this needs the runs themselves"
        raise MissingError(what, f"the results are shown by: rsgrpo compare {folder}")
    alike = len({_without_seed(run.config()) for run in runs}) == 1
    at = f"@{policy}" if policy else ""
    labels = [label if alike or not label else f"{label} {_SEED.sub('', run.name)}" for run in runs]
    return [f"{own}{'=' if own else ''}{run.path}{at}" for own, run in zip(labels, runs, strict=True)] or [text]


def _cells(folder: Path) -> list[RunDir]:
    """The runs of a folder that were trained or are going to be, and those that were only evaluated.

    A sweep measures the base model once for each seed and forks its cells from there; the cells have that too.
    """
    runs = [RunDir(path.parent) for path in sorted(folder.glob("[!.]*/config.json")) if RunDir.is_there(path.parent)]
    origins = [run.origin() for run in runs]
    used = {Path(str(origin["run"])).name for origin in origins if origin is not None}
    return [
        run
        for run, origin in zip(runs, origins, strict=True)
        if origin is not None or run.newest_version() or (run.name not in used and _has_something_of_its_own(run))
    ]


def _has_something_of_its_own(run: RunDir) -> bool:
    """Whether there is more in a run than the base model of an earlier try of a sweep, which no cell comes from."""
    return not is_base(run.name) and bool(run.steps() or run.evaluated())


def _without_seed(config: RunConfig) -> str:
    return config.model_copy(update={"seed": 0}).model_dump_json()
