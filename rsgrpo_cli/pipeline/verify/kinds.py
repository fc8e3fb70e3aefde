"""Files in the place of directories, directories in the place of files, and what is neither."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from rsgrpo_cli.pipeline.verify.findings import Again, Findings
from rsgrpo_cli.run.layout import FOLDERS

_FILE = re.compile(r".+\.(?:parquet|json|jsonl|safetensors|lock|log)")
_NUMBERED = re.compile(r"[0-9]{6,9}(?:at0\.[0-9]{1,6}|\..+)?")


def check_kinds(found: Findings) -> None:
    """Note pipes, sockets and devices, directories with the names of files, and files in the place of directories.

    Links are a matter of their own, and nothing is read through one here.
    """
    for path, mode in _entries(found.run.path):
        if stat.S_ISLNK(mode):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            what = "is neither a file nor a directory"
        elif stat.S_ISDIR(mode) and _FILE.fullmatch(path.name):
            what = "is a directory where a file belongs"
        elif stat.S_ISREG(mode) and not _FILE.fullmatch(path.name) and _is_folder(found.run.path, path):
            what = "is a file where a directory belongs"
        else:
            continue
        found.add(f"{path} {what}", Again(found.verify))


def _is_folder(run: Path, path: Path) -> bool:
    """Whether a path is one of a run's directories by its name."""
    if path.parent == run:
        return path.name in FOLDERS
    return path.parent.parent == run and path.parent.name in FOLDERS and bool(_NUMBERED.fullmatch(path.name))


def _entries(folder: Path) -> Iterator[tuple[Path, int]]:
    for parent, folders, files in os.walk(folder):
        for name in sorted(folders + files):
            path = Path(parent, name)
            yield path, path.lstat().st_mode
