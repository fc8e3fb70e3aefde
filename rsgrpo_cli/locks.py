"""One process at a time: a lock that the system releases when its process ends, however it ends.

It is flock on a file. Some file systems have none (some Lustre and NFS mounts); then a warning says so and the command
runs without. A lock made of a file that exists or not would outlive a killed process or a lost node, and the run could
not be resumed. That is worse than what two commands at once can do, since each file is written whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rsgrpo_cli.disk import NO_LOCKS, open_own
from rsgrpo_cli.errors import LockedError


@contextmanager
def held(path: Path, what: str, hint: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock file for this process.

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
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
                verb = "are" if what.startswith("the evaluations") else "is"
                raise LockedError(f"{what} {verb} in use by {owner}", hint) from error
            if error.errno not in NO_LOCKS:
                raise
            say(
                f"the file system of {path.parent} has no locks ({error.strerror}): "
                f"nothing will stop a second command from using {what}; start one at a time"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


LOCKS = ("lock", "evals.lock")
"""The lock files of a run: of the run itself, and of its evaluations."""


@contextmanager
def hold_run(path: Path, name: str, say: Callable[[str], None], *, evaluating: bool = False) -> Iterator[None]:
    """Hold a run for this process, or only its evaluations, which goes beside a train.

    Args:
        path: The run's directory.
        name: What it is called.
        say: Told where the file system has no locks.
        evaluating: Hold its evaluations.

    Raises:
        LockedError: If another live process holds it.
    """
    if evaluating:
        lock, what, hint = LOCKS[1], f"the evaluations of run {name}", "wait for it or stop it"
    else:
        lock, what = LOCKS[0], f"run {name}"
        hint = "wait for it or stop it; rsgrpo status, eval, export and fork work beside it"
    with held(path / lock, what, hint, say):
        yield
