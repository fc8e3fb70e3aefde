"""What a run takes on the disk, and for what."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rsgrpo_cli.checked_steps import CheckedSteps
from rsgrpo_cli.run_dir import RunDir


def bytes_used(run: RunDir, checked: CheckedSteps | None = None) -> int:
    """Bytes of all files of a run.

    Of the steps that were checked before, the sizes are as noted then: a long run has tens of thousands of files.

    Args:
        run: The run.
        checked: Its checked steps, where they have been read.
    """
    noted = (checked or CheckedSteps.read(run)).table
    known = {f"{run.path}/steps/{step:06d}" for step in {*noted["step"].to_pylist()}}
    total = sum(noted["size"].to_pylist()) + sum(size for _, size in _files(run.path, skip=known))
    return int(total)


def by_kind(run: RunDir) -> dict[str, tuple[int, int]]:
    """What the files are -> how many there are and how many bytes they take; the most bytes first."""
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for path, length in _files(run.path):
        kind = kind_of(Path(path).relative_to(run.path))
        count[kind] += 1
        size[kind] += length
    return {kind: (count[kind], size[kind]) for kind, _ in size.most_common()}


def kind_of(path: Path) -> str:
    """What a file of a run is.

    Args:
        path: Relative to the run's directory.
    """
    top, inner = path.parts[0], path.parts[2] if len(path.parts) > 2 else ""
    if top == "steps":
        known = ("rollouts", "rewards", "advantages", "update_metrics", "policy_logprobs")
        return next((name.replace("_", " ") for name in known if inner.startswith(name)), "other")
    if top == "checkpoints":
        return "trainer states" if inner == "trainer" else "checkpoints"
    return {"evals": "evaluations", "benchmarks": "problems", "prompts.parquet": "problems"}.get(top, "other")


def _files(folder: Path | str, skip: set[str] = frozenset()) -> Iterator[tuple[str, int]]:  # type: ignore[assignment]
    """Files below a folder with their sizes; links are not followed, and what goes meanwhile is left out."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.path not in skip:
                        yield from _files(entry.path, skip)
                else:
                    yield entry.path, entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return
