"""What is in a file's metadata, read as data of unknown origin: what does not fit is named, never believed.

A Parquet file holds the hash of all its bytes, in its own footer. It is taken with zeros in the hash's place.
"""

from __future__ import annotations

import json
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import xxhash

from rsgrpo_cli.errors import ArtifactError

_FOLDERS = ("steps", "evals", "benchmarks", "checkpoints")
"""Of a run, with artifacts in them."""
FILE_KEY = b"rsgrpo_file"
"""Under which a Parquet file's metadata has the hash of the file."""
UNHASHED = b"0" * 32
_SEALED = b'"check": '
"""What the metadata has in every file that has such a hash."""
_TAIL = 8
"""Bytes at the end of a Parquet file: the length of the footer, and PAR1."""
_CHUNK = 1 << 18
_OBJECTS = {"config": False, "inputs": True, "outputs": True, "versions": False}
"""Fields that hold names and values -> whether all values must be text."""


def remake(path: Path, maker: str = "") -> str:
    """What to do about an artifact that cannot be used; of a run, `verify` names the command.

    Args:
        path: The artifact.
        maker: What makes it, if not a stage.
    """
    folder = next((parent for parent in path.parents if parent.name in _FOLDERS), path)
    what = f"move it away and run {maker or 'the stage that makes it'} again"
    if not (folder.parent / "config.json").is_file():
        return what
    return f"{what}, which this names: {shlex.join(['rsgrpo', 'verify', str(folder.parent)])}"


class Recorded(dict[str, Any]):
    """Settings or ids as a file recorded them. One that the file lacks is the file's fault.

    Raises:
        ArtifactError: When a name is looked up that is not there.
    """

    where = "the file"

    def __missing__(self, name: str) -> NoReturn:
        raise ArtifactError(f"{self.where} is damaged: its metadata has no {name!r}", remake(Path(self.where)))


def parse_metadata(text: bytes) -> dict[str, Any]:
    """The JSON object in a footer.

    Raises:
        ValueError: If it is none.
    """
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("its metadata is nested too deeply") from error
    except ValueError as error:
        raise ValueError("its metadata is not JSON") from error
    if not isinstance(data, dict):
        raise ValueError("its metadata is not an object")
    return data


def checked_lineage(data: dict[str, Any], path: Path, maker: str = "") -> dict[str, Any]:
    """The fields of a lineage, each of the kind it should be.

    Args:
        data: From `parse_metadata`.
        path: The file, for messages.
        maker: What makes it, if not a stage.

    Raises:
        ArtifactError: Naming the first that is missing or of another kind.
    """
    fields: dict[str, Any] = {name: data.get(name, "") for name in ("stage", "id")}
    version = data.get("policy_version")
    wrong = [name for name, value in fields.items() if not isinstance(value, str)]
    wrong += [] if version is None or type(version) is int else ["policy_version"]
    for name, texts_only in _OBJECTS.items():
        values = data.get(name, {})
        if not isinstance(values, dict) or (texts_only and not all(isinstance(v, str) for v in values.values())):
            wrong.append(name)
            continue
        fields[name] = Recorded(values)
        fields[name].where = str(path)
    if wrong:
        told = f"{path} is damaged: {wrong[0]} in its metadata is not what it should be"
        raise ArtifactError(told, remake(path, maker))
    return fields | {"policy_version": version}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def with_hash(content: bytes) -> bytes:
    """A Parquet file with its hash in the place that was left for it, the last in its footer."""
    place = content.rindex(UNHASHED)
    digest = xxhash.xxh3_128_hexdigest(content).encode()
    return content[:place] + digest + content[place + len(digest) :]


@lru_cache(maxsize=4096)
def is_whole(path: Path, signature: tuple[int, ...]) -> bool:
    """Whether a Parquet file has the bytes that it was written with; an older one, without a hash, counts as whole.

    Args:
        path: The file.
        signature: What names its content: it is read through once.
    """
    size = path.stat().st_size
    with open(path, "rb", buffering=0) as file:
        file.seek(max(0, size - _TAIL))
        data = size - _TAIL - int.from_bytes(file.read(4), "little")
        file.seek(max(0, data))
        footer = file.read()
        place = footer.rfind(FILE_KEY)
        start = footer.find(b" ", place) + 1 if place >= 0 else 0  # the length of the hash, 32, comes before it
        if place < 0 or start == 0:
            return _SEALED not in footer
        digest, left = xxhash.xxh3_128(), data
        file.seek(0)
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    digest.update(footer[:start] + UNHASHED + footer[start + len(UNHASHED) :])
    return digest.hexdigest().encode() == footer[start : start + len(UNHASHED)]
