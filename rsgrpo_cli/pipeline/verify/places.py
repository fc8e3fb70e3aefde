"""Steps whose folders hold the files of another step: exchanged, shifted, or copied one over the other."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from rsgrpo_cli.artifacts import Lineage
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.pipeline.verify.findings import Findings
from rsgrpo_cli.pipeline.verify.steps import saved_policy
from rsgrpo_cli.run.departures import own_settings
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import CHAIN, Step, rewards_of, stage_command


def check_places(found: Findings) -> None:
    """Note folders with the files of another step, all in one finding: they are put right together.

    Nothing else can be told of these steps before that.
    """
    run = found.run
    held = {folder: of for folder in run.steps() if (of := _held(run, folder)) not in (None, folder)}
    if not held:
        return
    own = {*run.steps()} - {*held}
    found.misplaced = frozenset({*held, *held.values()} - own)
    back = _back(run, held, own)
    commands = [*_moves(run, held, back)]
    for step in sorted(found.misplaced - {*back.values()}):
        if step < max(run.newest_version(), *own, 0):  # what was made later is made from it
            commands += _made_again(run, step)
    found.at = min(held)
    what = ", ".join(f"{run.step(folder)} has the files of step {step}" for folder, step in held.items())
    found.add(what, f"put it right: {' && '.join(commands)}")


def _held(run: RunDir, folder: int) -> int | None:
    """The step that all files of a folder are of; None where they tell nothing, or not the same."""
    step = Step(run, folder)
    steps = {made.policy_version for made in _footers(step)}
    return steps.pop() if len(steps) == 1 else None


def _footers(step: Step) -> Iterator[Lineage]:
    """The footers of a folder's files, as far as they can be read."""
    parts = [rewards_of(step.run, step.number), *(step.artifact(what) for what in ("advantages", "updates"))]
    with suppress(RsgrpoError):  # of the manifest
        parts.append(step.rollouts)
    for artifact in parts:
        for path in artifact.paths:
            with suppress(RsgrpoError):  # a finding of its own, once the folder is where it belongs
                yield artifact.lineage(path)


def _back(run: RunDir, held: Mapping[int, int], own: Collection[int]) -> dict[int, int]:
    """The folders that can be moved to where their files belong, and where that is.

    That is where nothing else belongs, of a step that the run has made, and where they fit in: the files of another
    run have the same numbers.
    """
    back: dict[int, int] = {}
    for folder, step in held.items():
        if step <= run.newest_version() and step not in own and step not in back.values():
            back[folder] = step
    put = {step: Step(run, step) for step in own} | {step: Step(run, folder) for folder, step in back.items()}
    return {folder: step for folder, step in back.items() if _fits(run, put, step)}


def _fits(run: RunDir, put: Mapping[int, Step], number: int) -> bool:
    """Whether a step is of the policy that the one before it made, and made the one that the run has.

    Args:
        run: The run.
        put: The steps as they would be then, each with the folder that has its files.
        number: The step.
    """
    step, before = put[number], put.get(number - 1)
    with suppress(RsgrpoError):
        made = before.updates.first.outputs.get("policy") if before and before.updates else None
        used = step.rollouts.first.inputs.get("policy") if step.rollouts else None
        if None not in (made, used) and made != used:
            return False
    with suppress(RsgrpoError):
        made = step.updates.first.outputs.get("policy") if step.updates else None
        there = saved_policy(run, number + 1)
        return None in (made, there) or made == there
    return True


def _made_again(run: RunDir, step: int) -> Iterator[str]:
    """The commands that make a step; the policy that its update made tells the settings of that."""
    for what in CHAIN:
        yield stage_command(run, step, what, *(own_settings(run, step, what) if what == "updates" else ()))


def _moves(run: RunDir, held: Mapping[int, int], back: Mapping[int, int]) -> Iterator[str]:
    """The commands that set aside what belongs nowhere, and put back the rest, each when its place is free.

    A ring of them begins with one that is set aside.
    """
    for folder in (folder for folder in held if folder not in back):
        yield shlex.join(["mv", str(run.step(folder)), str(_aside(run.step(folder)))])
    waiting = {run.step(folder): run.step(step) for folder, step in back.items()}
    while waiting:
        place = next((place for place, to in waiting.items() if to not in waiting), None)
        if place is None:
            place = next(iter(waiting))
            to = _aside(place)
            waiting[to] = waiting.pop(place)
        else:
            to = waiting.pop(place)
        yield shlex.join(["mv", str(place), str(to)])


def _aside(place: Path) -> Path:
    """A place beside one that is free."""
    names = (f"{place.name}.aside{number}" for number in ("", *range(2, 1000)))
    return next(place.with_name(name) for name in names if not place.with_name(name).exists())
