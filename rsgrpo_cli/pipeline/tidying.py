"""What of a run may go to save space, and its removal.

Nothing that resuming needs is ever offered: the newest checkpoint, the problems, the rewards and the metrics of all
steps, and all of a step that is not done. The best evaluated checkpoint stays too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rsgrpo_cli.artifacts import read_json, read_lineage, write_json
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import ArtifactError, MissingError, RsgrpoError
from rsgrpo_cli.pipeline.keeping import best, remove_checkpoint
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.locks import free
from rsgrpo_cli.run.policies import require_whole, updates_with_tags
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import part_files, with_policy
from rsgrpo_cli.schemas import POLICY_LOGPROBS, ROLLOUTS
from rsgrpo_cli.wording import counted, plural


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may go.

    Args:
        kind: "log-probabilities", "checkpoints" or "rollouts".
        what: What it is, in words.
        lost: What cannot be done any more without it; empty if nothing.
        paths: Its files; of a checkpoint, its directory.
        bytes: What its removal frees: files that another run has too free nothing.
    """

    kind: str
    what: str
    lost: str
    paths: Sequence[Path]
    bytes: int


def candidates(run: RunDir, out: Output, *, rollouts: bool = False, logprobs: bool = False) -> list[Candidate]:
    """What may go.

    Args:
        run: The run.
        out: Told of a checkpoint that cannot be read, and stays.
        rollouts: Offer the completions of the steps that are done, and what was said of their tokens; checkpoints then
            stay, as they cannot be rebuilt without these.
        logprobs: Offer what was said of their tokens alone.
    """
    done = [step for step in run.steps() if step < run.newest_version()]
    found = _logprobs(run, done) if rollouts or logprobs else []
    found += _rollouts(run, done) if rollouts else [*_checkpoints(run, out), *_tagged(run, out)]
    return found


def remove(chosen: Sequence[Candidate]) -> int:
    """Remove what was offered; the caller holds their run.

    Returns:
        How many bytes that frees.
    """
    for candidate in chosen:
        for path in candidate.paths:
            if candidate.kind != "checkpoints":
                path.unlink(missing_ok=True)
            elif manifests.is_complete(path) and free(path / manifests.NAME):
                remove_checkpoint(path)
        if candidate.kind == "rollouts":
            _note_removal({path.parent for path in candidate.paths})
    return sum(candidate.bytes for candidate in chosen)


def _note_removal(folders: set[Path]) -> None:
    """Say in the manifests that the completions went on purpose: `verify` would miss them."""
    for folder in folders:
        if (folder / manifests.NAME).is_file():
            write_json(folder / manifests.NAME, {**read_json(folder / manifests.NAME, parts=dict), "removed": True})


def _logprobs(run: RunDir, done: Sequence[int]) -> list[Candidate]:
    """What the policy said of the completions before an update, which nothing is made from once the update is done."""
    paths = [run.policy_logprobs(step) for step in done if _is_ours(run.policy_logprobs(step), POLICY_LOGPROBS)]
    if not paths:
        return []
    what = f"token log-probabilities of {len(paths)} finished {plural(len(paths), 'step')}"
    lost = "show --tokens, report and view have no entropies and no trainer minus sampler of these steps"
    return [Candidate("log-probabilities", what, lost, paths, _freed(paths))]


def _checkpoints(run: RunDir, out: Output) -> list[Candidate]:
    """All but the newest and the best, of those that can be rebuilt from what stays."""
    stay = {run.newest_version(), *best(run, out.warn)}
    found = []
    for version in run.versions():
        start = max((kept for kept in stay if kept <= version), default=0)
        if version in stay or not _can_be_rebuilt(run, start, version):
            continue
        found.append(_checkpoint(run, start, version))
    return found


def tagged_policies(run: RunDir) -> list[str]:
    """The policies that updates with a tag made, as far as they have a checkpoint: 4.beta8."""
    names = [f"{step + 1}.{tag}" for step, tag in updates_with_tags(run)]
    return [name for name in names if _is_complete(run, name)]


def _is_complete(run: RunDir, name: str) -> bool:
    try:
        beside, version = with_policy(run, name)
    except MissingError:
        return False
    return manifests.is_complete(beside.checkpoint(version))


def _tagged(run: RunDir, out: Output) -> list[Candidate]:
    """The checkpoints of tagged policies that can be rebuilt from what stays."""
    stay = {run.newest_version(), *best(run, out.warn)}
    found = []
    for name in tagged_policies(run):
        beside, version = with_policy(run, name)
        start = max((kept for kept in stay if kept < version), default=0)
        if _can_be_rebuilt(beside, start, version):
            found.append(_checkpoint(beside, start, version))
    return found


def kept(run: RunDir, offered: Sequence[Candidate]) -> dict[str, int]:
    """Tagged policies that are not offered -> the bytes of their checkpoints."""
    going = {path for one in offered for path in one.paths}
    found = {name: RunDir.checkpoint(*with_policy(run, name)) for name in tagged_policies(run)}
    return {name: _freed(_files_of(folder)) for name, folder in found.items() if folder not in going}


def _checkpoint(run: RunDir, start: int, version: int) -> Candidate:
    folder, origin = run.checkpoint(version), f"checkpoint {start}" if start else "the base model"
    lost = f"eval, fork and export rebuild it from {origin}: {counted(version - start, 'update')}"
    name = run.policy_name(version)
    return Candidate("checkpoints", f"checkpoint {name}", lost, [folder], _freed(_files_of(folder)))


def _files_of(checkpoint: Path) -> list[Path]:
    return [checkpoint / name for name in manifests.files_of(checkpoint / manifests.NAME)]


def _can_be_rebuilt(run: RunDir, start: int, version: int) -> bool:
    try:
        for step in range(start, version):
            require_whole(run, version, step)
    except RsgrpoError:
        return False
    return True


def _rollouts(run: RunDir, done: Sequence[int]) -> list[Candidate]:
    parts = [path for step in done for path in part_files(run.rollouts(step)) if _is_ours(path, ROLLOUTS)]
    if not parts:
        return []
    lost = "show, report and view have no completions of these steps; policies without a checkpoint cannot be rebuilt"
    steps = {path.parent for path in parts}
    what = f"completions of {len(steps)} finished {plural(len(steps), 'step')}"
    return [Candidate("rollouts", what, lost, parts, _freed(parts))]


def _is_ours(path: Path, kind: object) -> bool:
    """Whether a file is what its name says: another one is not removed."""
    try:
        read_lineage(path, kind)  # type: ignore[arg-type]
    except (ArtifactError, MissingError):
        return False
    return not path.is_symlink()


def _freed(paths: Sequence[Path]) -> int:
    stats = [path.stat() for path in paths if path.is_file()]
    return sum(stat.st_size for stat in stats if stat.st_nlink == 1)
