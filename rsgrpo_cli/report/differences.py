"""In what two runs differ: their settings, and what they came to."""

from __future__ import annotations

import shlex
from typing import Any

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.config import changed_fields
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.report.evaluations import split_place
from rsgrpo_cli.report.snapshot import Reader, Snapshot
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import part_files
from rsgrpo_cli.schemas import ROLLOUTS

SHOWN = ("reward_mean", "pass@1", "pass@G", "cumulative_solve_rate", "entropy", "truncated_fraction", "seconds_step")
"""What is shown of a step's metrics."""


def differences(one: str, other: str) -> dict[str, Any]:
    """Settings that differ, and results side by side.

    Args:
        one: A run.
        other: Another.

    Returns:
        "runs", their names; "settings" and "results", name -> the value of each, None where one has none; "notes",
        sentences on what makes them hard to compare.
    """
    _refuse_policies(one, other)
    runs = [RunDir.open(name) for name in (one, other)]
    seen = [Reader(run).read(everything=False) for run in runs]
    names = [run.name for run in runs]
    if names[0] == names[1]:
        names = [str(run.path) for run in runs]
    changed = changed_fields(seen[0].config, seen[1].config)
    return {
        "runs": names,
        "settings": {name: list(values) for name, values in changed.items()},
        "results": _results(runs, seen),
        "notes": _notes(runs, seen),
    }


def _refuse_policies(*places: str) -> None:
    """Refuse policies of runs: their settings are those of their runs, and `compare` has their results.

    Raises:
        UsageError: Naming the command to give instead.
    """
    for place in places:
        if split_place(place)[1] and not RunDir.is_there(RunDir.locate(place)):
            raise UsageError(
                f"{place} is a policy, and diff is of whole runs",
                f"two policies: {shlex.join(['rsgrpo', 'compare', *places])}",
            )


def _results(runs: list[RunDir], seen: list[Snapshot]) -> dict[str, list[Any]]:
    """The steps done, the metrics of the newest step that both have, and the newest evaluation of each."""
    found: dict[str, list[Any]] = {"steps done": [one.done for one in seen]}
    step = min((one.last.get("step", -1) for one in seen), default=-1)
    rows = [next(iter(Reader(run).whole_rows(step)), {}) if step >= 0 else {} for run in runs]
    for name in SHOWN:
        values = [row.get(name) for row in rows]
        if any(value is not None for value in values):
            found[f"{name} of step {step}"] = values
    for at, one in enumerate(seen):
        for metric, value, _, _ in one.measured.values if one.measured else ():
            assert one.measured is not None
            name = f"{metric} of policy {one.measured.policy} on {one.measured.benchmark}"
            found.setdefault(name, [None, None])[at] = value
    return found


def _notes(runs: list[RunDir], seen: list[Snapshot]) -> list[str]:
    notes = []
    versions = [_versions(run) for run in runs]
    packages = sorted({name for one in versions for name in one})
    unlike = [name for name in packages if versions[0].get(name) != versions[1].get(name)]
    if all(versions) and unlike:
        told = (f"{name} {versions[0].get(name, 'none')} and {versions[1].get(name, 'none')}" for name in unlike)
        notes.append(f"made with other versions: {', '.join(told)}")
    if all(one.measured for one in seen):
        places = " ".join(str(run.path) for run in runs)
        notes.append(f"with intervals, problem by problem: rsgrpo compare {places}")
    return notes


def _versions(run: RunDir) -> dict[str, Any]:
    """The packages that the first rollouts were made with."""
    parts = [part for step in run.steps()[:1] for part in part_files(run.rollouts(step))]
    return dict(read_lineage(parts[0], ROLLOUTS).versions) if parts else {}
