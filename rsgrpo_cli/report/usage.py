"""What a run takes on the disk, and for what."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from rsgrpo_cli.run.checked_steps import CheckedSteps
from rsgrpo_cli.run.layout import OTHER, kind_of
from rsgrpo_cli.run.run_dir import RunDir


def bytes_used(run: RunDir, checked: CheckedSteps | None = None, untouched: set[int] | None = None) -> int:
    """Bytes of all files of a run.

    Of the steps that are as they were checked before, the sizes are as noted then: a long run has tens of thousands of
    files.

    Args:
        run: The run.
        checked: Its checked steps, where they have been read.
        untouched: Those of them that are as they were, where that is known.
    """
    checked = checked or CheckedSteps.read(run)
    untouched = checked.untouched() if untouched is None else untouched
    sizes = zip(checked.table["step"].to_pylist(), checked.table["size"].to_pylist(), strict=True)
    noted = sum(size for step, size in sizes if step in untouched)
    known = {f"{run.path}/steps/{step:06d}" for step in untouched}
    return int(noted + sum(size for _, size in _files(run.path, skip=known)))


def bytes_on_disk(folders: Iterable[Path]) -> int:
    """Bytes of all files below some folders; one that has several names there counts once."""
    sizes = {(stat.st_dev, stat.st_ino): stat.st_size for folder in folders for _, stat in _stats(folder)}
    return sum(sizes.values())


def by_kind(run: RunDir) -> dict[str, tuple[int, int]]:
    """What the files are -> how many there are and how many bytes they take; the most bytes first."""
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for path, length in _files(run.path):
        kind = kind_of(Path(path).relative_to(run.path)) or OTHER
        count[kind] += 1
        size[kind] += length
    return {kind: (count[kind], size[kind]) for kind, _ in size.most_common()}


def _files(folder: Path, skip: Container[str] = ()) -> Iterator[tuple[str, int]]:
    """Files below a folder with their sizes, except in some of its folders."""
    return ((path, stat.st_size) for path, stat in _stats(folder, skip))


def _stats(folder: Path | str, skip: Container[str] = ()) -> Iterator[tuple[str, os.stat_result]]:
    """The same with all that the system says; links are not followed, and what goes meanwhile is left out."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.path, entry.stat(follow_symlinks=False)
                elif entry.path not in skip:
                    yield from _stats(entry.path, skip)
    except FileNotFoundError:
        return
