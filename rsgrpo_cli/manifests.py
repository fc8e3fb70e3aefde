"""A checkpoint's manifest: what is in each of its files, written last, and compared when it is opened.

With sizes alone, weights of another step or another run, and files with flipped bits, went unnoticed. Older checkpoints
have no hashes; of these only the sizes are compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from rsgrpo_cli.artifacts import Lineage, read_json, write_json
from rsgrpo_cli.disk import sync_directory, sync_files
from rsgrpo_cli.errors import ArtifactError

NAME = "manifest.json"
_THREADS = 4
_LOADED_BY_NAME = ("adapter_", "added_tokens", "generation_config", "model.safetensors", "special_tokens", "tokenizer")
"""What a loader would take from a directory without being asked, if it was there."""

Signature = tuple[int, int, int, int]
_known: dict[Signature, str] = {}
"""Hashes of the files that this process has written or read: a checkpoint's gigabytes are gone through once."""


def seal(folder: Path, lineage: Lineage) -> None:
    """Put a checkpoint's files on the disk, then their manifest. From then on older checkpoints may be removed."""
    sync_files(folder)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    manifest: dict[str, Any] = {
        "policy_id": lineage.outputs["policy"],
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths},
        "sha256": {path.relative_to(folder).as_posix(): digest for path, digest in _hashes(paths)},
        # With its keys sorted: the same bytes, whether the lineage was just made or read from the update's metrics.
        "lineage": json.loads(json.dumps(lineage.to_json() | {"id": ""}, sort_keys=True)),
    }
    write_json(folder / NAME, manifest)
    sync_directory(folder)
    sync_directory(folder.parent)


def files_of(manifest: Path) -> list[str]:
    """The files that a checkpoint's manifest names, relative to it.

    Raises:
        MissingError: If there is no such manifest.
        ArtifactError: If it is damaged, or names what lies outside.
    """
    names = list(read_json(manifest, files=dict)["files"])
    outside = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        raise ArtifactError(f"{manifest} names a file outside its directory: {outside[0]!r}", "do not use it")
    return names


def damage(folder: Path, *, trainer: bool) -> str | None:
    """What of a checkpoint is not as it was saved, the first file and how so; None if nothing.

    Args:
        folder: The checkpoint.
        trainer: Whether the optimizer's state matters too; its size is compared in any case.

    Raises:
        ArtifactError: If the manifest itself is damaged.
    """
    manifest = read_json(folder / NAME, files=dict)
    files_of(folder / NAME)
    sizes, hashes = manifest["files"], manifest.get("sha256")
    for name, expected in sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != expected:
            return f"{name} is missing" if found is None else f"{name} has {found:,} bytes, not {expected:,}"
    if not isinstance(hashes, dict):
        return None
    foreign = [path.name for path in sorted(folder.glob("*")) if path.name not in sizes and _is_loaded(path.name)]
    if foreign:
        return f"{foreign[0]} was not saved with it"
    wanted = [folder / name for name in sizes if trainer or not name.startswith("trainer/")]
    for path, digest in _hashes(wanted):
        name = path.relative_to(folder).as_posix()
        if digest != hashes.get(name):
            return f"{name} has another content than was saved"
    return None


def _is_loaded(name: str) -> bool:
    return name.endswith((".safetensors", ".jinja")) or name.startswith(_LOADED_BY_NAME)


def _hashes(paths: Iterable[Path]) -> Iterable[tuple[Path, str]]:
    """SHA-256 of each file, several at a time."""
    paths = list(paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(zip(paths, pool.map(_sha256, paths), strict=True))


def _sha256(path: Path) -> str:
    stat = path.stat()
    signature = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size  # it may be renamed
    if signature not in _known:
        with open(path, "rb") as file:
            _known[signature] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[signature]
