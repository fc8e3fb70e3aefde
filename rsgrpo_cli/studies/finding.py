"""Results by name: of a run, a sweep, a file or a folder of results, and of one policy of them."""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.report.evaluations import require_line, split_label, split_line, split_on_line, split_place
from rsgrpo_cli.run.run_commands import for_each, place_by_fraction, to_measure
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.staleness import place_flags
from rsgrpo_cli.studies.kept import then_keep_anew
from rsgrpo_cli.studies.results import Place, Result, of_run, read
from rsgrpo_cli.wording import counted


def find(places: Sequence[str]) -> list[Result]:
    """The results that names mean: a run, a sweep (all of its runs), a result's file, or a folder of those.

    With "@POLICY" behind it, of that policy; of a folder, of those of its runs that were trained, and with "@0" of its
    base models. "@4at0.5" is of the weights halfway between the base model and policy 4.

    Raises:
        MissingError: If there is nothing of the kind, or no such policy.
    """
    return [result for place in places for result in _named(place)]


def _named(place: str) -> list[Result]:
    name, policy = split_place(place)
    if not policy:
        return _at(place)
    version, at = split_line(policy)
    if not version.isdecimal():
        _require_run(name, version)
        run, number, at = split_on_line(place)
        assert number is not None  # one is named
        found = [of_run(run)]
        _require_evaluated(found, number, at)
        return [_as_of(found[0], number, at)]
    found, wanted = _at(name), int(version)
    require_line(place, version, at)
    bases = [result for result in found if result.is_base]
    if len(found) > 1 and bases and not wanted:
        return bases
    meant = found if len(found) == 1 else [result for result in found if not result.is_base]
    _require_evaluated(meant, wanted, at)
    return [_as_of(_with_base(result, bases), wanted, at) for result in meant]


def _require_run(name: str, policy: str) -> None:
    """Refuse a policy with a tag where no single run is named.

    Raises:
        MissingError: If there is nothing of that name.
        UsageError: Saying what may be meant.
    """
    if RunDir.is_there(RunDir.locate_folder(name)):
        return
    newest = min((result.steps for result in _at(name) if not result.is_base), default=0)
    version, _, tag = policy.partition(".")
    meant = place_by_fraction(int(version), tag, newest)
    way = f"name one of its runs: {name}/RUN@{policy}"
    if meant:
        way = f"weights at {meant[1]:g} on the line to policy {meant[0]}: {name}@{meant[0]}at{meant[1]:g}"
    raise UsageError(f"{name} has no policy {policy}: an update with a tag is of a single run", way)


def _with_base(result: Result, bases: Sequence[Result]) -> Result:
    """A result of a sweep with the evaluation of its base model, as a run has that was not forked from another."""
    start = (result.config.seed, result.config.model.name)
    mine = [base for base in bases if (base.config.seed, base.config.model.name) == start]
    if result.is_base or not all(one.policy for one in result.evaluations):
        return result
    mine = [base for base in mine if base.config.eval == result.config.eval] or mine
    own = [one for base in mine for one in base.evaluations]
    stale = {place: error for base in mine for place, error in base.stale.items()}
    return replace(result, evaluations=[*own, *result.evaluations], stale={**stale, **result.stale})


def _require_evaluated(found: Sequence[Result], policy: int, at: float) -> None:
    """Refuse results of which one has no evaluation of a policy, or on the line to it.

    Raises:
        MissingError: Saying what there is, and how to measure all that lack it.
    """
    lacking = [one for one in found if (policy, at) not in {place[:2] for place in _places(one)}]
    if not lacking:
        return
    first, many = lacking[0], f" and {counted(len(lacking) - 1, 'other')}" if len(lacking) > 1 else ""
    unknown = next((one for one in lacking if one.steps < policy), None)
    if unknown is not None:
        trained = f"it has trained {counted(unknown.steps, 'step')}" if unknown.steps else "it is a base model"
        raise MissingError(f"{unknown.name} has no policy {policy}: {trained}", f"evaluated: {_evaluated(unknown)}")
    where = "" if at == WHOLE else f" at {at:g}"
    has = "have" if many else "has"
    again = for_each("eval", [(one.run, one.eval_flags(policy, None, *place_flags(at))) for one in lacking])
    raise MissingError(
        f"{first.name}{many} {has} no evaluation of policy {policy}{where}; evaluated: {_evaluated(first)}",
        then_keep_anew(to_measure(again, "them" if many else "it"), lacking),
    )


def _places(result: Result) -> list[Place]:
    """Where its evaluations are, the stale ones too."""
    return [*((one.policy, one.interpolation, one.benchmark) for one in result.evaluations), *result.stale]


def _evaluated(result: Result) -> str:
    """The policies, and the places on a line, that were evaluated: 0, 2, 4, 4at0.5."""
    found = sorted({(policy, at == WHOLE, at) for policy, at, _ in _places(result)})
    names = [str(policy) if whole else f"{policy}at{at:g}" for policy, whole, at in found]
    return ", ".join(names) or "none"


def _as_of(result: Result, policy: int, at: float = WHOLE) -> Result:
    """A result as it stood at an evaluated policy, or on the line to one from the base model.

    What is on the line counts as an evaluation of the policy itself, beside that of the base model. A benchmark on
    which only others were evaluated says nothing of it.
    """
    rows = [row for row in result.metrics if row["step"] < policy]
    on = {name for version, where, name in _places(result) if (version, where) == (policy, at)}
    kept = [one for one in result.evaluations if one.policy <= policy and one.benchmark in on]
    if at != WHOLE:
        own = [replace(one, interpolation=WHOLE) for one in kept if (one.policy, one.interpolation) == (policy, at)]
        kept = [one for one in kept if not one.policy] + own
    stale = {place: error for place, error in result.stale.items() if place[0] <= policy and place[2] in on}
    return replace(result, evaluations=kept, metrics=rows, steps=policy, policy=policy, at=at, stale=stale)


def _at(place: str) -> list[Result]:
    path = Path(place)
    if path.suffix == ".parquet" and path.is_file():
        return read(path)
    folder = RunDir.locate_folder(place)
    if RunDir.is_there(folder):
        return [of_run(RunDir(folder))]
    if folder.is_dir():
        return _in_folder(folder)
    raise MissingError(f"no run, sweep or results at {place}", "rsgrpo ls lists what is there")


def _in_folder(folder: Path) -> list[Result]:
    files = sorted(folder.rglob("*.parquet")) if not any(folder.glob("*/config.json")) else []
    found = _each_once([result for file in files for result in read(file)] if files else list(_runs_in(folder)))
    if not found and any(RunDir.is_there(path) for path in folder.glob("[!.]*/")):
        raise MissingError(
            f"no run in {folder} was evaluated yet", f"let it finish; rsgrpo ls {folder} says how far it is"
        )
    if not found:
        raise MissingError(f"{folder} has no runs and no results in it", "rsgrpo ls lists what is there")
    return found


def not_trained(places: Sequence[str]) -> str:
    """A sentence that names the runs of sweeps that `find` leaves out, as nothing was trained; "" if there are none."""
    folders = [RunDir.locate_folder(split_place(split_label(place)[1])[0]) for place in places]
    sweeps = [folder for folder in folders if folder.is_dir() and not RunDir.is_there(folder)]
    runs = [RunDir(path.parent) for folder in sweeps for path in sorted(folder.glob("[!.]*/config.json"))]
    begun = [str(run.path) for run in runs if run.origin() is not None and not run.newest_version()]
    if not begun:
        return ""
    more = f" and {counted(len(begun) - 1, 'other')}" if len(begun) > 1 else ""
    folder = Path(begun[0]).parent
    return f"{begun[0]}{more} left out: nothing was trained there yet; rsgrpo ls {shlex.quote(str(folder))} shows more"


def _each_once(found: Sequence[Result]) -> list[Result]:
    """Without base models measured twice alike: as of cells that differ in rollout.group_size, or in a new setting."""
    kept, seen = [], set()
    for result in found:
        measured = (result.sweep, as_measured(result))
        if result.is_base and measured in seen:
            continue
        kept.append(result)
        seen.add(measured)
    return kept


def as_measured(result: Result) -> Hashable:
    """What two results of one base model share that were measured alike: their seed, and every count."""
    counts = [(one.benchmark_id, one.n_M.tobytes(), one.correct_M.tobytes()) for one in result.evaluations]
    return result.config.seed, result.config.model.name, tuple(counts)


def _runs_in(folder: Path) -> Iterable[Result]:
    runs = [RunDir(path.parent) for path in sorted(folder.glob("[!.]*/config.json")) if RunDir.is_there(path.parent)]
    trained = [run for run in runs if run.newest_version()]
    origins = [run.origin() for run in trained]
    for run, origin in zip(trained, origins, strict=True):
        yield of_run(run, sweep=folder.name, since=0 if origin is None else 1)
    used = {Path(str(origin["run"])).name for origin in origins if origin is not None}
    seeds = {run.config().seed for run in runs if run.name in used}
    for run in runs:
        # Not of interest: a cell that has not begun, and the base model of an earlier try with other settings.
        left_over = run.origin() is not None or (run.name not in used and run.config().seed in seeds)
        if run in trained or left_over:
            continue
        result = of_run(run, sweep=folder.name)
        if result.evaluations or result.stale:
            yield result
