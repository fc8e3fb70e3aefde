"""The evaluations of a run checked: of every policy, those with a tag and those on the line to it among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.pipeline.verify.findings import Again, Findings
from rsgrpo_cli.run.policies import evaluated_places, updates_with_tags
from rsgrpo_cli.run.run_commands import benchmark_flags, eval_command, given_benchmark, sampling_flags
from rsgrpo_cli.run.run_dir import WHOLE, RunDir, is_on_line
from rsgrpo_cli.run.staleness import GRADED, SAMPLED, evaluation_parts, place_flags, why_stale
from rsgrpo_cli.run.step_dir import has_policy
from rsgrpo_cli.schemas import PROBLEMS, PROMPTS, REWARDS, ROLLOUTS, SUMMARY
from rsgrpo_cli.tasks.sources import flags_of_benchmark


def check_benchmarks(found: Findings) -> None:
    """Read the problems of the evaluations through."""
    for path in sorted((found.run.path / "benchmarks").glob("*.parquet")):
        found.table(path, PROMPTS, Again(_prepared_by(found, path.stem)))


def check_evaluations(found: Findings) -> None:
    """Read every evaluation through, and compare it with the policy and the problems that it is of."""
    for run, version, at in evaluated_places(found.run):
        for folder in sorted(path for path in run.evaluations(version, at).glob("*") if path.is_dir()):
            found.at = version - 1
            _check(found, run, version, at, folder)
    for event in found.run.recorded():
        if event["stage"] == "eval":
            _require(found, event)


def _check(found: Findings, run: RunDir, version: int, at: float, folder: Path) -> None:
    command, before = _again(run, version, at, folder.name), len(found.findings)
    graded = {path.stem: path for path in evaluation_parts(folder / GRADED)}
    for path in evaluation_parts(folder / SAMPLED):
        rollouts = found.table(path, ROLLOUTS, Again(command))
        if path.stem in graded:
            rewards = found.table(graded[path.stem], REWARDS, Again(command))
            found.same_keys(rewards, rollouts, graded[path.stem], "its rollouts", Again(command))
    for name, kind in (("problems.parquet", PROBLEMS), ("summary.parquet", SUMMARY)):
        if (folder / name).is_file():
            found.table(folder / name, kind, Again(command))
    for path in sorted(folder.glob("audit.*.parquet")):
        found.audit(path, _summed_up(folder))
    if (folder / "problems.parquet").is_file() and not (folder / "summary.parquet").is_file():
        found.add(f"{folder / 'summary.parquet'} is gone", f"sum it up again: {command}")
    sound_policy = run.beside or version not in found.unsure
    if sound_policy and len(found.findings) == before and (folder / "summary.parquet").is_file():
        with found.noting(f"measure again: {command} --force"):
            why = why_stale(run, version, folder.name, at)
            if why:
                raise ArtifactError(f"{folder}: it {why}")


def _require(found: Findings, event: Mapping[str, Any]) -> None:
    """Note that an evaluation is gone which the log says was finished. No command removes one."""
    places = [*_places(found.run, event)]
    folders = [run.evaluation(version, name, at) for run, version, name, at in places]
    if not places or any((folder / "summary.parquet").exists() for folder in folders):
        return
    (run, version, name, at), folder = places[0], folders[0]
    found.at = version - 1
    if not has_policy(run, version) or found.names(folder / "summary.parquet"):
        return
    command = _again(run, version, at, name)
    if evaluation_parts(folder / SAMPLED):
        found.add(f"{folder / 'summary.parquet'} is gone", f"sum it up again: {command}")
    else:
        what = f"{folder} is gone, which {found.run.events.name} says was finished"
        found.add(what, f"measure again, or take its line out of {found.run.events}: {command}")


def _places(run: RunDir, event: Mapping[str, Any]) -> Iterator[tuple[RunDir, int, str, float]]:
    """Where an evaluation may be: a tag in the log is the evaluation's own, or the policy's, or both have it."""
    version, name, tag = event.get("policy"), event.get("benchmark"), event.get("tag")
    try:
        at = float(event.get("interpolation", WHOLE))
    except (TypeError, ValueError):
        return
    if type(version) is not int or not 0 <= version < _MOST or not is_on_line(at):
        return
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(tag, str | None):
        return
    tags = {used for step, used in updates_with_tags(run) if step == version - 1}
    own = tag is not None and name.endswith(f".{tag}")
    if own or tag is None:
        yield run, version, name, at
    for used in sorted(tags if own else tags & {tag}):
        yield run.with_update(version - 1, used), version, name, at


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MOST = 10**9


def _summed_up(folder: Path) -> str | None:
    """The id of the verdicts that were summed up; None where that cannot be told."""
    try:
        return read_lineage(folder / "summary.parquet", SUMMARY).inputs.get(GRADED)
    except (ArtifactError, MissingError):  # a finding of its own
        return None


def _again(run: RunDir, version: int, at: float, name: str) -> str:
    """The command that made an evaluation, as far as what is left tells; FILE stands for problems of the user's own."""
    drawn = sampling_flags(run, version, name, run.config(), at)
    if given_benchmark(run, version, name, at) is None:
        on = benchmark_flags(run, version, name, at)
        on = [*flags_of_benchmark(run.config(), on[1]), *on[2:]]
        return eval_command(run, version, None, *on, *place_flags(at), *drawn)
    return eval_command(run, version, name, *place_flags(at), *drawn, at=at)


def _prepared_by(found: Findings, name: str) -> str:
    """The command that prepares the problems of the evaluations with a name again: one of these."""
    for run, version, at in evaluated_places(found.run):
        if run.evaluation(version, name, at).is_dir():
            return _again(run, version, at, name)
    return found.command("eval", "--benchmark", name)
