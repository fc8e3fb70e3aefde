"""One process at a time: a lock that the system releases when its process ends, however it ends.

It is flock on a file. Some file systems have none (some Lustre and NFS mounts); then a warning says so and the command
runs without. A lock made of a file that exists or not would outlive a killed process or a lost node, and the run could
not be resumed. That is worse than what two commands at once can do, since each file is written whole.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsgrpo_cli.disk import NO_LOCKS, make_directory, open_own
from rsgrpo_cli.errors import LockedError

Note = Callable[[Mapping[str, Any]], None]
"""Writes into a lock that is held what its process is doing, for `holder`."""
LOCKS = ("lock", "evals.lock")
"""The lock files in a run's own directory: of the run, and of the problems of its evaluations."""
IN_USE = "in use by"
"""What stands before the process that holds a lock in the error of the one that wants it."""
ATTEMPTS, BETWEEN_SECONDS = 5, 0.01
"""How often a lock is tried: `holder` has it for some microseconds."""


@contextmanager
def held(path: Path, what: str, hint: str, say: Callable[[str], None]) -> Iterator[Note]:
    """Hold a lock file for this process; what it yields writes into it what the process is doing.

    Args:
        path: The file; it is made if it is not there, and stays.
        what: What is in use if another process holds it, for the error.
        hint: What to do then.
        say: Told where the file system has no locks.

    Raises:
        LockedError: If another live process holds it.
        ArtifactError: If it is a symbolic link, or no plain file.
    """
    descriptor = open_own(path, os.O_RDWR)
    try:
        try:
            _take(descriptor)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                owner = _first_line(descriptor) or "another process"
                verb = "are" if what.startswith("the evaluations") else "is"
                raise LockedError(f"{what} {verb} {IN_USE} {owner}", hint) from error
            if error.errno not in NO_LOCKS:
                raise
            say(
                f"the file system of {path.parent} has no locks ({error.strerror}): "
                f"nothing will stop a second command from using {what}; start one at a time"
            )
        owner, since = f"process {os.getpid()} on {socket.gethostname()}", time.strftime("%Y-%m-%dT%H:%M:%S%z")

        def note(doing: Mapping[str, Any]) -> None:
            text = f"{owner}\n{json.dumps({'since': since, **doing})}".encode()
            os.ftruncate(descriptor, os.pwrite(descriptor, text, 0))

        note({})
        yield note
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    for attempt in range(ATTEMPTS):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK or attempt == ATTEMPTS - 1:
                raise
            time.sleep(BETWEEN_SECONDS)


def _first_line(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace").partition("\n")[0].strip()


@dataclass(frozen=True, slots=True)
class Holder:
    """The living process that holds a lock.

    Args:
        owner: "process 17 on host".
        since: When it took the lock, as ISO 8601; "" where it does not say.
        doing: What it wrote with its `Note`.
        age: Seconds since it wrote that.
    """

    owner: str
    since: str
    doing: Mapping[str, Any]
    age: float


MOST_BYTES = 10_000
"""A lock file is shorter; a run directory may come from anyone."""


def holder(path: Path) -> Holder | None:
    """Who holds a lock; None if nobody does, or the file system has no locks. Changes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # not there, a link, not to be read: nobody whom we could know of
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        owner, _, rest = os.pread(descriptor, MOST_BYTES, 0).decode(errors="replace").partition("\n")
        doing = _read_note(rest)
        age = max(0.0, time.time() - os.fstat(descriptor).st_mtime)
        return Holder(owner, str(doing.pop("since", "")), doing, age)
    finally:
        os.close(descriptor)


def holders(run: Path) -> Iterator[Holder]:
    """The living processes that hold a run, the problems of its evaluations, or the evaluations of a policy."""
    locks = (*(run / name for name in LOCKS), *sorted(run.glob("evals/*.lock")))
    return (found for found in map(holder, locks) if found is not None)


def _read_note(text: str) -> dict[str, Any]:
    """What a process is doing; nothing where it is being written this moment."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def hold_run(
    path: Path, name: str, say: Callable[[str], None], *, evaluating: tuple[str, str] | None = None
) -> Iterator[Note]:
    """Hold a run for this process, or only the evaluations of one policy, which goes beside a train; yields as `held`.

    Args:
        path: The run's directory.
        name: What it is called.
        say: Told where the file system has no locks.
        evaluating: Hold the evaluations of this policy: its name, and that of its directories.

    Raises:
        LockedError: If another live process holds it.
    """
    if evaluating is not None:
        what, hint = f"the evaluations of policy {evaluating[0]} of run {name}", "wait for it or stop it"
        make_directory(path / "evals")
        lock = path / "evals" / f"{evaluating[1]}.lock"
    else:
        lock, what = path / LOCKS[0], f"run {name}"
        hint = "wait for it or stop it; rsgrpo status, eval, export and fork work beside it"
    with held(lock, what, hint, say) as note:
        yield note


@contextmanager
def hold_benchmarks(path: Path, name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the problems of a run's evaluations, which all of these share; arguments and errors as of `hold_run`."""
    with held(path / LOCKS[1], f"the evaluations of run {name}", "wait for it or stop it", say):
        yield


@contextmanager
def held_together(path: Path) -> Iterator[None]:
    """Hold a lock file that any number of processes may hold at once, and that is not `free` meanwhile.

    Args:
        path: The file; it is made if it is not there, and stays.

    Raises:
        ArtifactError: If it is a symbolic link, or no plain file.
    """
    descriptor = open_own(path, os.O_RDWR)
    try:
        with _or_none():
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # `free` has it for some microseconds
        yield
    finally:
        os.close(descriptor)


@contextmanager
def in_use(path: Path) -> Iterator[bool]:
    """Keep a file from being removed by `free`, which other processes ask first.

    Yields:
        Whether the file is there and held. Where the file system has no locks, it counts as held.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield (
            _locked(descriptor, fcntl.LOCK_SH) and path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
        )
    finally:
        os.close(descriptor)


def free(path: Path) -> bool:
    """Whether no other process uses a file, as of `in_use`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _locked(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def wait_for(descriptor: int) -> None:
    """Lock an open file as soon as no other process holds it; where the file system has no locks, go on without."""
    with _or_none():
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextmanager
def _or_none() -> Iterator[None]:
    """Go on where the file system has no locks."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _locked(descriptor: int, how: int) -> bool:
    """Whether a lock was got; where the file system has none, nobody is in the way."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno not in NO_LOCKS:
            raise
    return True
