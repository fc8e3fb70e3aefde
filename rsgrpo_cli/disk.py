"""Files and directories that appear whole, and which of them this process made.

What gets its name is complete: it is built under another name and renamed. What is removed was made
by this process, or is named by a list of our own; a user's file beside ours is never touched. Nothing is written
through a symbolic link: a run directory may come from a stranger.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO

from rsgrpo_cli.errors import ArtifactError, MissingError, UsageError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF)
"""What a file system says that has no locks."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM = (*_NO_SPACE, errno.EFBIG)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""Errors when a file cannot have a second name: another file system, or one without hard links."""
_TEMPORARY = re.compile(r"\.rsgrpo-[0-9a-f]{8}\.tmp")
PARTIAL = r"\.[0-9a-f]{8}\.partial"
"""How the name of a directory ends that `workshop` makes; before it stands a dot and what is being built."""


# -- what this process made -------------------------------------------------------------------------------------------

_made: list[Path] = []
"""Files and directories that were not there before, in the order made; absolute."""


def mark() -> int:
    """A moment, for `take_back`."""
    return len(_made)


def note(path: Path) -> None:
    """Remember that this process made a file or a directory that was not there."""
    _made.append(path.absolute())


def make_directory(path: Path) -> None:
    """`mkdir -p`, remembering what was not there.

    Raises:
        OSError: If it cannot be made, or is something else.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except FileExistsError:  # another process was faster
            continue
        note(folder)
    path.mkdir(exist_ok=True)


def take_back(root: Path, since: int) -> None:
    """Remove what this process has made at and below `root` since a moment; directories only if they are empty then."""
    root = root.absolute()
    for path in reversed(_made[since:]):
        if path != root and root not in path.parents:
            continue
        if path.is_dir() and not path.is_symlink():
            remove_if_empty(path)
        else:
            path.unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a directory in which nothing is."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


# -- one file ---------------------------------------------------------------------------------------------------------


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Give `path` its new content in one step: a reader sees the old file or the new one, a crash leaves the old one.

    Raises:
        ArtifactError: If the disk is full, or the file too large for it; nothing is left behind or overwritten.
    """
    make_directory(path.parent)
    with explain_full_disk(path), _temporary(path, write) as temporary:
        fresh = not os.path.lexists(path)
        # The name itself is not synced: after a power cut a file may be missing, never half there.
        os.replace(temporary, path)
        if fresh:
            note(path)


def write_exclusively(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """The same for a file that must not be there yet, whoever else tries at the same moment.

    Raises:
        FileExistsError: If it is there.
        ArtifactError: If the disk is full.
    """
    make_directory(path.parent)
    with explain_full_disk(path), _temporary(path, write) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            os.replace(temporary, path)
        note(path)


@contextmanager
def _temporary(path: Path, write: Callable[[IO[bytes]], object]) -> Iterator[Path]:
    """A file beside `path` with the content on the disk; gone at the end unless it was renamed."""
    temporary = path.with_name(f".rsgrpo-{secrets.token_hex(4)}.tmp")
    try:
        # A name that nobody could know, opened only if it is new: what a stranger left there is not written through.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: PurePath) -> bool:
    """Whether a file has a name that `write_atomically` gives for a moment."""
    return _TEMPORARY.fullmatch(path.name) is not None


def open_own(path: Path, flags: int) -> int:
    """Open a file that is written into, never through a symbolic link; it is made if it is not there.

    Raises:
        ArtifactError: If it is a link, or no plain file.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    if not os.path.lexists(path):
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            pass
        else:
            note(path)
            return descriptor
    if path.is_symlink() or not path.is_file():
        if path.is_symlink():
            raise ArtifactError(*about_link(path, followed=False))
        raise ArtifactError(f"{path} is not a plain file; rsgrpo does not write there", "remove it, or move it away")
    return os.open(path, flags | os.O_CREAT, 0o666)


def links_out(root: Path) -> Iterator[Path]:
    """The symbolic links below a run's directory that nothing is written through, as `about_link` tells.

    They lead out of it, or nowhere; or they are locks and logs, wherever they lead.
    """
    inside = root.resolve()
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = Path(folder, name)
            if path.is_symlink() and not (path.exists() and _leads_into(path, inside) and not _is_log(path)):
                yield path


def about_link(path: Path, *, followed: bool = True) -> tuple[str, str]:
    """What is wrong with a symbolic link in a run, and what to do about it: the same for all who meet it.

    Args:
        path: The link.
        followed: Whether it is with --trust; locks and logs never are.
    """
    target = os.readlink(path)
    if _is_log(path) or not followed:
        return f"{path} is a symbolic link to {target}: locks and logs are never written through one", "remove it"
    if not path.exists():
        return f"{path} is a symbolic link to {target}, which is not there", "remove it"
    known = "put a copy of that in its place, or give the command --trust, a sweep RSGRPO_TRUST=1"
    return f"{path} is a symbolic link out of the run, to {target}", f"if you made it: {known}; if not: remove it"


def _leads_into(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _is_log(path: Path) -> bool:
    """Whether a file is one that `open_own` opens."""
    return path.suffix in (".lock", ".log") or path.name in ("lock", "events.jsonl")


def set_aside(path: Path) -> Path:
    """Rename what is in the way of something new; nothing is lost.

    Returns:
        Its new path, NAME.aside-1 and so on.
    """
    aside = next(
        found
        for number in range(1, 10_000)
        if not os.path.lexists(found := path.with_name(f"{path.name}.aside-{number}"))
    )
    os.rename(path, aside)
    return aside


# -- whole directories ------------------------------------------------------------------------------------------------


@contextmanager
def workshop(place: Path) -> Iterator[Path]:
    """A new directory beside `place` to build it in; whoever builds renames it. What fails leaves nothing.

    A process that is killed leaves `.NAME.xxxxxxxx.partial`; see `clear_leftovers`.
    """
    make_directory(place.parent)
    folder = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        yield folder
    finally:
        os.close(descriptor)
        if folder.exists():
            shutil.rmtree(folder)  # this process made it a moment ago, under a name of its own


def is_free(target: Path) -> bool:
    """Whether there is nothing at `target` but, at most, an empty directory."""
    return not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir()))


def require_way(path: Path) -> None:
    """Refuse a path that no file can come to be at, for what stands on the way; what is not there yet can be made.

    Raises:
        MissingError: If it is or lies behind a symbolic link that leads nowhere.
        UsageError: If it lies behind a file.
    """
    there = next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
    if there.is_symlink() and not there.exists():
        told = f"{there} is a symbolic link to {os.readlink(there)}, which is not there"
        raise MissingError(told, f"put back what it leads to, or remove the link: rm {shlex.quote(str(there))}")
    if there != path and not there.is_dir():
        raise UsageError(f"{there} is a file where a folder belongs", "move it away, or name another place")


def publish(partial: Path, target: Path, hint: str) -> None:
    """Give a complete directory its name; in place of an empty one, if there is one.

    Raises:
        UsageError: With `hint`, if something has come there since it was free.
    """
    try:
        os.replace(partial, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise UsageError(f"{target} was created by another command in the meantime", hint) from error
    sync_directory(target.parent)


def clear_leftovers(place: Path, names: Iterable[str]) -> None:
    """Remove what killed processes left half-built of `place`.

    Args:
        place: What was to be built.
        names: The files that belong to it, relative to it. Only these are removed: what else lies there stays.
    """
    pattern = re.compile(re.escape(f".{place.name}") + PARTIAL)
    names = set(names)
    for folder in sorted(place.parent.iterdir()):
        if not pattern.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _lock(descriptor):
                remove_named(folder, names)
        finally:
            os.close(descriptor)


def remove_named(folder: Path, names: Iterable[str]) -> None:
    """Remove files of a directory by their names, and our own temporary ones; directories only if they are empty."""
    names = set(names)
    inside = sorted(folder.rglob("*"), reverse=True)  # what is in a directory comes before it
    for path in inside:
        if path.is_dir() and not path.is_symlink():
            remove_if_empty(path)
        elif path.relative_to(folder).as_posix() in names or is_temporary(path):
            path.unlink(missing_ok=True)
    remove_if_empty(folder)


def _lock(descriptor: int) -> bool:
    """Whether no living process holds a directory; the system lets go of it when the process ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, *NO_LOCKS):
            raise
        return False
    return True


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(folder: Path) -> None:
    """Put all files below a directory on the disk, and their names."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_directory(path)
            continue
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    sync_directory(folder)


@contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turn a full disk, or a limit on the size of files, into an error that says so; any other one names the file.

    Raises:
        ArtifactError: If the block could not write for want of space.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(path, error.errno) from error
        if error.filename is None or is_temporary(PurePath(os.fsdecode(error.filename))):
            error.filename = str(path)
        raise
    except Exception as error:
        # safetensors has the number in its text only. It need not be imported to tell whether it raised this.
        ours = type(error).__name__ == "SafetensorError"
        number = next((number for number in _NO_ROOM if ours and f"(os error {number})" in str(error)), None)
        if number is None:
            raise
        raise _no_room(path, number) from error


def _no_room(path: Path, number: int) -> ArtifactError:
    hint = f"{hint_for(number)}: what was finished before is intact"
    if number in _NO_SPACE:
        return ArtifactError(f"no space left to write {path}", hint)
    return ArtifactError(f"cannot write {path}: a file would be larger than is allowed here", hint)


def hint_for(number: int | None) -> str:
    """What to do about an error of the system's, by its number."""
    if number in _NO_SPACE:
        return "free some space and run the same command again"
    if number == errno.EFBIG:
        return "allow larger files (ulimit -f unlimited, or another file system) and run the same command again"
    return "check the path, its permissions and the disk"
