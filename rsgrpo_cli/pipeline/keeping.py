"""Checkpoints on the disk: written whole or not at all, replaced, and removed when there are enough newer ones.

A checkpoint is built under another name and renamed. It is removed by the list in its own manifest: what a user put
beside our files stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rsgrpo_cli import activity, disk
from rsgrpo_cli.artifacts import Lineage, read_table
from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.locks import free
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import why_stale
from rsgrpo_cli.schemas import SUMMARY

if TYPE_CHECKING:
    from rsgrpo_cli.policy.policy import Policy

REMOVED = "removed.json"
"""The list of a checkpoint's files, which makes it count; and the same list once it is being removed."""


@contextmanager
def new_checkpoint(policy: Policy, folder: Path, lineage: Lineage) -> Iterator[None]:
    """Save a policy; its checkpoint appears at the end of the block, in one step.

    Args:
        policy: Opened for training.
        folder: The checkpoint's directory; what is there is replaced.
        lineage: Of the update that made the policy.

    Raises:
        ArtifactError: If the disk is full; nothing is left behind then.
    """
    from rsgrpo_cli.policy.checkpoints import save_checkpoint

    with checkpoint_made(
        lambda folder: save_checkpoint(policy, folder), f"saving policy {policy.version}", folder, lineage
    ):
        yield


@contextmanager
def checkpoint_made(save: Callable[[Path], object], what: str, folder: Path, lineage: Lineage) -> Iterator[None]:
    """`new_checkpoint` of a policy that is written in another way: `save` is given an empty directory.

    Args:
        save: Writes all files but the manifest.
        what: It does, in a few words.
        folder: The checkpoint's directory; what is there is replaced.
        lineage: Of the update that made the policy.
    """
    with disk.explain_full_disk(folder), disk.workshop(folder) as partial:
        with activity.doing(what):
            save(partial)
            manifests.seal(partial, lineage)
        names = manifests.files_of(partial / manifests.NAME)
        yield
        _publish(partial, folder)
    disk.clear_leftovers(folder, [*names, manifests.NAME])


def _publish(partial: Path, folder: Path) -> None:
    """Give a complete checkpoint its name, in place of what has it now."""
    if manifests.is_complete(folder):
        remove_checkpoint(folder)
    elif (folder / REMOVED).is_file():
        _finish_removal(folder)
    elif folder.is_dir() and any(folder.iterdir()):
        disk.set_aside(folder)  # without a manifest nothing tells whose files these are
    if folder.exists() and any(folder.iterdir()):
        _move_into(partial, folder)
    else:
        os.replace(partial, folder)
    disk.sync_directory(folder.parent)


def _move_into(partial: Path, folder: Path) -> None:
    """Move a checkpoint's files to where a user's own lie; the manifest last, which makes them count."""
    files = [path.relative_to(partial) for path in sorted(partial.rglob("*")) if path.is_file()]
    for name in sorted(files, key=lambda name: name == Path(manifests.NAME)):
        if os.path.lexists(folder / name):
            disk.set_aside(folder / name)
        disk.make_directory((folder / name).parent)
        os.replace(partial / name, folder / name)


def remove_checkpoint(folder: Path) -> None:
    """Remove the files that a checkpoint's manifest names; the directory if nothing else is in it.

    The manifest is renamed first: from then on the checkpoint does not count, and a removal that is cut short can be
    finished.

    Raises:
        ArtifactError: If the manifest cannot be read.
    """
    manifests.files_of(folder / manifests.NAME)
    os.replace(folder / manifests.NAME, folder / REMOVED)
    _finish_removal(folder)


def _finish_removal(folder: Path) -> None:
    names = manifests.files_of(folder / REMOVED)
    disk.remove_named(folder, names)
    (folder / REMOVED).unlink()
    disk.remove_if_empty(folder)


def prune(run: RunDir, *, keep: int, warn: Callable[[str], None]) -> None:
    """Remove all checkpoints but the newest `keep` and the best evaluated one, and those that an `eval` is reading.

    Args:
        run: The run.
        keep: How many stay.
        warn: Told of a checkpoint that stays because nothing tells what belongs to it.
    """
    versions = run.versions()
    stay = {*versions[-keep:], *best(run, warn)}
    for version in run.checkpoint_folders():
        folder = run.checkpoint(version)
        try:
            if version in versions and version not in stay and free(folder / manifests.NAME):
                remove_checkpoint(folder)
            elif version not in versions and (folder / REMOVED).is_file():
                _finish_removal(folder)
        except ArtifactError as error:
            warn(f"{error.message}; checkpoint {version} stays where it is")


def best(run: RunDir, warn: Callable[[str], None]) -> set[int]:
    """The checkpoints that were evaluated best, by pass@1 or mean reward over their benchmarks; those not readable.

    Only those that were evaluated on the same benchmarks can be compared: of each such set the best stays.
    """
    alike: dict[frozenset[str], dict[int, float]] = {}
    unknown = set()
    for version in run.versions():
        try:
            scores = _scores(run, version)
        except ArtifactError as error:
            warn(f"{error.message}; checkpoint {version} is kept, as it may be the best")
            unknown.add(version)
            continue
        if scores:
            alike.setdefault(frozenset(scores), {})[version] = sum(scores.values()) / len(scores)
    return unknown | {max(means, key=lambda version: means[version]) for means in alike.values()}


def _scores(run: RunDir, version: int) -> dict[str, float]:
    """The pass@1 of a policy on each benchmark, or the mean reward where there are only grades."""
    names = [name for name in run.benchmarks_of(version) if why_stale(run, version, name) is None]
    scores = {name: _score(run.evaluation(version, name)) for name in names}
    return {name: score for name, score in scores.items() if score is not None}


def _score(folder: Path) -> float | None:
    rows = read_table(folder / "summary.parquet", SUMMARY).to_pylist()
    wanted = (("pass", 1), ("reward", None))
    return next((float(row["value"]) for row in rows if (row["metric"], row["k"]) in wanted), None)
