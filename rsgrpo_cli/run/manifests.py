"""A checkpoint's manifest: what is in each of its files, written last, and compared when it is opened.

With sizes alone, weights of another step or another run, and files with flipped bits, went unnoticed. The hash is XXH3
of 128 bits: it finds every mistake and is several times as fast as SHA-256. It is no proof against one who deceives.
Older checkpoints have SHA-256, or only sizes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import xxhash

from rsgrpo_cli.artifacts import Lineage, read_json, write_json
from rsgrpo_cli.disk import sync_directory, sync_files
from rsgrpo_cli.errors import ArtifactError

NAME = "manifest.json"
"""Of a checkpoint; rollouts have a list of their parts by this name."""
HASHES = ("xxh3_128", "sha256")
"""How a manifest calls its hashes, by their kind: what is written now, and what older checkpoints have."""
_THREADS = 4
_CHUNK = 1 << 23
"""Bytes hashed in one call, without Python's lock: with fewer, the load beside it waits for the lock too often."""
_LOADED_BY_NAME = ("adapter_", "added_tokens", "generation_config", "model.safetensors", "special_tokens", "tokenizer")
"""What a loader would take from a directory without being asked, if it was there."""

Signature = tuple[int, int, int, int]
_known: dict[tuple[str, Signature], str] = {}
"""Hashes of the files that this process has written or read: a checkpoint's gigabytes are gone through once."""


def seal(folder: Path, lineage: Lineage) -> None:
    """Put a checkpoint's files on the disk, then their manifest. From then on older checkpoints may be removed."""
    sync_files(folder)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    manifest: dict[str, Any] = {
        "policy_id": lineage.outputs["policy"],
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths},
        HASHES[0]: {path.relative_to(folder).as_posix(): digest for path, digest in _hashes(HASHES[0], paths)},
        # With its keys sorted: the same bytes, whether the lineage was just made or read from the update's metrics.
        "lineage": json.loads(json.dumps(lineage.to_json() | {"id": ""}, sort_keys=True)),
    }
    write_json(folder / NAME, manifest)
    sync_directory(folder)
    sync_directory(folder.parent)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was saved to its end and is still there."""
    return (checkpoint / NAME).is_file()


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
    with check(folder, trainer=trainer) as finished:
        return finished()


@contextmanager
def check(folder: Path, *, trainer: bool) -> Iterator[Callable[[], str | None]]:
    """`damage`, at work while the block loads the same files: then it costs next to nothing.

    Yields:
        What waits for it to be done, and returns what `damage` does.
    """
    manifest = read_json(folder / NAME, files=dict)
    names = files_of(folder / NAME)
    found, kind = _at_first_sight(folder, manifest), next((kind for kind in HASHES if kind in manifest), None)
    if found is not None or kind is None:
        yield lambda: found
        return
    hashes = read_json(folder / NAME, **{kind: dict})[kind]
    wanted = [folder / name for name in names if trainer or not name.startswith("trainer/")]
    with ThreadPoolExecutor(1) as beside:
        digests = beside.submit(_hashes, kind, wanted)
        yield lambda: _other_content(folder, digests.result(), hashes)


def _at_first_sight(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """Files with another size, and those that were not there."""
    sizes = manifest["files"]
    for name, expected in sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != expected:
            return f"{name} is missing" if found is None else f"{name} has {found:,} bytes, not {expected:,}"
    hashed = any(kind in manifest for kind in HASHES)
    foreign = [path.name for path in sorted(folder.glob("*")) if path.name not in sizes and _is_loaded(path.name)]
    return f"{foreign[0]} was not saved with it" if foreign and hashed else None


def _other_content(folder: Path, digests: Iterable[tuple[Path, str]], hashes: Mapping[str, str]) -> str | None:
    for path, digest in digests:
        name = path.relative_to(folder).as_posix()
        if digest != hashes.get(name):
            return f"{name} has changed since it was saved"
    return None


def _is_loaded(name: str) -> bool:
    return name.endswith((".safetensors", ".jinja")) or name.startswith(_LOADED_BY_NAME)


def _hashes(kind: str, paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """The hash of each file, several at a time."""
    paths = list(paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(zip(paths, pool.map(lambda path: _hash(kind, path), paths), strict=True))


def _hash(kind: str, path: Path) -> str:
    stat = path.stat()
    signature = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size  # it may be renamed
    if (kind, signature) not in _known:
        digest = xxhash.xxh3_128() if kind == HASHES[0] else hashlib.sha256()
        buffer = memoryview(bytearray(min(_CHUNK, max(stat.st_size, 1))))
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
        _known[kind, signature] = digest.hexdigest()
    return _known[kind, signature]
