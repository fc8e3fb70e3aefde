"""Which policies of a run can be had: those with a checkpoint, and those that can be rebuilt from what is on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from rsgrpo_cli.errors import ArtifactError, MissingError, RsgrpoError, StaleError
from rsgrpo_cli.run.departures import ways_out
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.staleness import stale_links
from rsgrpo_cli.run.step_dir import Step, has_policy


def there(run: RunDir) -> list[int]:
    """All policies that can be had, in order; 0 is the base model."""
    kept, found = {0, *run.versions()}, [0]
    for version in count(1):
        if version in kept or (found[-1] == version - 1 and _can_be_made_again(run, version)):
            found.append(version)
        elif version > max(kept):
            return found
    raise AssertionError("unreachable")


def told(run: RunDir) -> str:
    """The policies that can be had, as a next step for whoever asked for another one."""
    found = there(run)
    if found == [0]:
        return "it has only policy 0, the base model, so far"
    if len(found) == found[-1] + 1:
        return f"it has any policy up to {found[-1]}; 0 is the base model"
    return f"it has policies {ranges(found)}; 0 is the base model"


def require_known(run: RunDir, version: int) -> None:
    """Refuse a policy that a run never had; one that is only gone is another matter.

    Raises:
        MissingError: Saying which there are.
    """
    if not has_policy(run, version):
        raise MissingError(f"run {run.name} has no policy {run.policy_name(version)}", told(run))


def updates_with_tags(run: RunDir) -> list[tuple[int, str]]:
    """Step and tag of every update that was made beside the run's own, as far as anything of it is left."""
    found = {(step, path.name.split(".", 1)[1].removesuffix(".parquet")) for step, path in _tagged_metrics(run)}
    for path in (run.path / "checkpoints").glob("*.*"):
        named = _TAGGED.fullmatch(path.name)
        if named and path.is_dir() and int(named[1]):
            found.add((int(named[1]) - 1, named[2]))
    return sorted(found)


def _tagged_metrics(run: RunDir) -> list[tuple[int, Path]]:
    return [(step, path) for step in run.steps() for path in run.step(step).glob("update_metrics.?*.parquet")]


def evaluated_places(run: RunDir) -> Iterator[tuple[RunDir, int, float]]:
    """Every policy that has a directory of evaluations, and every place on the line to one from the base model.

    Yields:
        The run, looked at so that the policy is its own; the policy; the place.
    """
    for path in sorted((run.path / "evals").glob("*")):
        named = _EVALUATED.fullmatch(path.name)
        if not named or not path.is_dir():
            continue
        version, tag, at = int(named[1]), named[2], named[3]
        if at and tag and _is_update(run, version, f"{tag}at{at}"):  # a tag may end like a place
            tag, at = f"{tag}at{at}", None
        if not tag or version:
            seen = run.with_update(version - 1, tag) if tag else run
            yield seen, version, float(at) if at else WHOLE


def _is_update(run: RunDir, version: int, tag: str) -> bool:
    """Whether anything is left of an update with a tag that made a policy."""
    seen = run.with_update(version - 1, tag)
    return seen.update_metrics(version - 1).is_file() or seen.checkpoint(version).is_dir()


def every_evaluation(run: RunDir) -> Iterator[tuple[RunDir, int, float, str]]:
    """Every evaluation with a summary, as of `evaluated_places`, with its name: the benchmark's, and its tag."""
    for seen, version, at in evaluated_places(run):
        for path in sorted(seen.evaluations(version, at).glob("*/summary.parquet")):
            yield seen, version, at, path.parent.name


_VERSION = r"([0-9]{6}|[1-9][0-9]{6,8})"
_TAGGED = re.compile(rf"{_VERSION}\.([A-Za-z0-9_][A-Za-z0-9_.-]*)")
_EVALUATED = re.compile(rf"{_VERSION}(?:\.([A-Za-z0-9_][A-Za-z0-9_.-]*?))?(?:at(0\.[0-9]{{1,6}}))?")


def _can_be_made_again(run: RunDir, version: int) -> bool:
    try:
        require_whole(run, version, version - 1)
    except RsgrpoError:
        return False
    return True


def require_whole(run: RunDir, version: int, step: int) -> None:
    """Refuse a route to a policy over a step that cannot be made again.

    Raises:
        MissingError: If something of the step is gone.
        StaleError: If something that it was made from has been replaced.
    """
    gone = _gone(Step(run, step))
    if gone:
        raise MissingError(
            f"run {run.name} has no checkpoint {version}, and it cannot be rebuilt: the {gone} of step {step} are not "
            "all there",
            "--checkpoint-every 1 --keep-checkpoints N keep more checkpoints",
        )
    for stale in stale_links(run, step):
        raise StaleError(
            f"policy {version} of run {run.name} cannot be rebuilt: {stale.sentence}",
            ways_out(run, step, {stale.role}),
        )


def _gone(step: Step) -> str | None:
    try:
        gone = next((what for what in ("updates", "advantages", "rollouts") if not step.artifact(what)), None)
        if gone is None:
            step.complete_rollouts()
    except (ArtifactError, MissingError):
        return "rollouts"
    return gone


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order, with those in a row put together: 0, 3-5, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
