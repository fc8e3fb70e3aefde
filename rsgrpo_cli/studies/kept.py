"""Small results that are older than their runs: whether a run has more by now, and how that comes into a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies.results import Counts, Result, of_run

ANEW = "the sweep's command with another --keep"
GONE = "make the runs again (only their results are here): the sweep's command without --keep"


def as_it_is(run: RunDir) -> Result:
    """What would be kept of a run now; the evaluations of the base model that it was forked from are not its own."""
    return of_run(run, since=1 if run.newest_version() else 0)


def adds_to(new: Result, kept: Result) -> bool:
    """Whether a result has all that was kept, and more evaluations or samples."""
    has, had = ({_which(one): one for one in result.evaluations} for result in (new, kept))
    if new.steps != kept.steps or not all(which in has and _extends(has[which], had[which]) for which in had):
        return False
    return any(which not in had or (has[which].n_M > had[which].n_M).any() for which in has)


def _which(one: Counts) -> tuple[int, float, str, str, tuple[str, ...]]:
    return one.policy, one.interpolation, one.benchmark, one.benchmark_id, one.prompt_ids


def _extends(new: Counts, kept: Counts) -> bool:
    """Whether the samples of an evaluation may be those that were kept, and others."""
    drawn_M, right_M = new.n_M - kept.n_M, new.correct_M - kept.correct_M
    return bool(((right_M >= 0) & (right_M <= drawn_M)).all())


def then_keep_anew(hint: str, members: Sequence[Result], instead: str = "", flags: str = "") -> str:
    """A hint that measures what results lack; with what is left to do where they were read from kept files.

    Args:
        hint: The hint.
        members: The results that lack something.
        instead: What can be done without measuring, where the runs of kept files are gone.
        flags: What the sweep's command has to have beside, where they are made again.
    """
    if any(member.file and not RunDir.is_there(Path(member.run)) for member in members):
        gone = f"{GONE}, with {flags}" if flags else GONE
        return f"{instead}; or {gone}" if instead else gone
    kept = [member for member in members if member.file and RunDir.is_there(Path(member.run))]
    if not kept:
        return hint
    folders = dict.fromkeys(str(Path(member.run).parent) for member in kept)
    way = f"compare the runs themselves, {' '.join(folders)}, or keep them anew: {ANEW}"
    if len(kept) == len(members) and all(adds_to(as_it_is(RunDir(Path(one.run))), one) for one in kept):
        return f"the runs of these files have more by now: {way}"
    return f"{hint}; then {way}"
