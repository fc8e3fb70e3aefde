"""Removing runs and sweeps: only what rsgrpo itself writes, never through a link, never under a process at work.

A fork shares files with the run that it came from by hard links. Removing one name of a file leaves the other.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rsgrpo_cli.disk import remove_if_empty
from rsgrpo_cli.errors import LockedError, UsageError
from rsgrpo_cli.run.layout import half_built, kind_of
from rsgrpo_cli.run.locks import LOCKS, free, holders
from rsgrpo_cli.run.run_dir import RUNS, RunDir
from rsgrpo_cli.run.run_names import is_base
from rsgrpo_cli.studies.sweep import LOCK, LOGS

_CELL = re.compile(r"(?:.+-)?seed[0-9]+")


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to go.

    Args:
        runs: Run directories.
        logs: Log files of sweeps.
        sweeps: Folders of sweeps; they go if nothing else is in them.
        files: Every file, the configuration of each run last: what is killed half-way is still a run.
        kept: What lies among them and is not rsgrpo's.
        size: Bytes of the files.
        freed: Bytes of those that have no other name, for instance in a fork.
    """

    runs: list[Path]
    logs: list[Path]
    sweeps: list[Path]
    files: list[Path]
    kept: list[Path]
    size: int
    freed: int


def plan(places: Sequence[str]) -> Removal:
    """What removing runs and sweeps would take.

    Raises:
        MissingError: If there is nothing at a place.
        UsageError: If it is something else, or a symbolic link.
        LockedError: If a process holds one of the runs, or a sweep is at work on them.
    """
    runs: dict[Path, None] = {}
    logs: dict[Path, None] = {}
    sweeps: dict[Path, None] = {}
    kept: dict[Path, None] = {}
    for place in places:
        folder = RunDir.locate(place)
        if _is_run(folder, place):
            runs[folder] = None
            continue
        sweeps[folder] = None
        for entry in sorted(folder.iterdir()):
            if entry.name == LOGS and entry.is_dir() and not entry.is_symlink():
                logs |= dict.fromkeys(path for path in sorted(entry.glob("*.log")) if _is_plain(path))
            elif _is_named_by_a_sweep(entry) and not entry.is_symlink() and RunDir.is_there(entry):
                runs[entry] = None
            else:
                kept[entry] = None
    _require_all_free([*sweeps], [*runs])
    found = [_sorted(run) for run in runs]
    files = [*logs, *(path for own, _ in found for path in own)]
    kept |= dict.fromkeys(path for _, others in found for path in others)
    return Removal(list(runs), list(logs), list(sweeps), files, list(kept), *_sizes(files))


def _is_named_by_a_sweep(run: Path) -> bool:
    return is_base(run.name) or _CELL.fullmatch(run.name) is not None


def _is_run(folder: Path, place: str) -> bool:
    """Whether a place is a run; else it is a sweep."""
    if folder.is_symlink():
        raise UsageError(f"{folder} is a symbolic link", f"name what it points to: {folder.resolve()}")
    if RunDir.is_there(folder):
        return True
    if not folder.exists():
        RunDir.open(place)  # which says what is there instead
    is_sweep = (folder / LOGS).is_dir() or any(is_base(path.parent.name) for path in folder.glob("*/config.json"))
    if not is_sweep or folder.resolve() == RUNS.resolve() or not any(folder.glob("*/config.json")):
        raise _neither(folder, place)
    return False


def _neither(folder: Path, place: str) -> UsageError:
    """That what is at a place is neither a run nor a sweep, and what to name instead."""
    within = next((parent for parent in folder.parents if RunDir.is_there(parent)), None)
    if within is not None:
        run = shlex.quote(str(within))
        hint = f"remove the run: rsgrpo rm {run}; to free space in it: rsgrpo gc {run}"
        return UsageError(f"{place} is a part of run {within.name}", hint)
    if any(RunDir.is_there(path) for path in folder.glob("*/")):
        hint = f"rsgrpo ls {shlex.quote(place)} lists the runs in it; name these"
    else:
        hint = "only these are removed; rsgrpo ls lists what is there"
    return UsageError(f"{place} is neither a run nor a sweep", hint)


def _require_all_free(sweeps: Sequence[Path], runs: Sequence[Path]) -> None:
    for sweep in dict.fromkeys([*sweeps, *(run.parent for run in runs)]):
        lock = sweep / LOGS / LOCK
        if _is_plain(lock) and not free(lock):
            raise LockedError(f"sweep {sweep.name} is at work; nothing was removed", "wait for it or stop it")
    for run in runs:
        _require_free(RunDir(run))


def _require_free(run: RunDir) -> None:
    user = next((one.owner for one in holders(run.path)), None)
    if user is None and not all(map(free, half_built(run.path))):  # an export holds nothing but what it builds
        user = "another process"
    if user:
        raise LockedError(f"run {run.name} is in use by {user}; nothing was removed", "wait for it or stop it")


def _sorted(run: Path) -> tuple[list[Path], list[Path]]:
    """The files of a run that are rsgrpo's, its locks and its configuration last; and what else is in it."""
    own: list[Path] = []
    others: list[Path] = []
    for path in _walk(run):
        (own if _is_own(run, path) else others).append(path)
    last = [run / name for name in (*reversed(LOCKS), "config.json")]
    return [path for path in own if path not in last] + [path for path in last if path in own], others


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is not a directory; links are not followed."""
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        yield from (Path(root) / name for name in sorted([*files, *links]))


def _is_own(run: Path, path: Path) -> bool:
    name = path.relative_to(run)
    of_tracker = path.is_symlink() and name.parts[:2] == ("trackers", "wandb")  # only the link itself goes
    return kind_of(name) is not None and (of_tracker or _is_plain(path))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _sizes(files: Sequence[Path]) -> tuple[int, int]:
    """Bytes of files, each counted once; and of those that have no name but these."""
    found = [path.lstat() for path in files]
    names = Counter((one.st_dev, one.st_ino) for one in found)
    once = {(one.st_dev, one.st_ino): one for one in found}
    freed = sum(one.st_size for key, one in once.items() if names[key] >= one.st_nlink)
    return sum(one.st_size for one in once.values()), freed


def carry_out(planned: Removal, say: Callable[[str], None]) -> None:
    """Remove what was planned, and then the folders that are empty.

    Raises:
        LockedError: If a process has taken one of the runs meanwhile; nothing is removed then.
    """
    with ExitStack() as held:
        _require_all_free(planned.sweeps, planned.runs)
        for run in planned.runs:
            held.enter_context(RunDir(run).lock(say))
        for path in planned.files:
            path.unlink(missing_ok=True)
        for run in planned.runs:
            (run / LOCKS[0]).unlink(missing_ok=True)  # which holding it has made, where there was none
            _remove_empty(run)
    for folder in planned.sweeps:
        if (folder / LOGS).is_dir():
            (folder / LOGS / LOCK).unlink(missing_ok=True)
            remove_if_empty(folder / LOGS)
        remove_if_empty(folder)


def _remove_empty(folder: Path) -> None:
    for root, _, _ in os.walk(folder, topdown=False):
        if not Path(root).is_symlink():
            remove_if_empty(Path(root))
