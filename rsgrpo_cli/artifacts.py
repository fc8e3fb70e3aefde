"""Read and write Parquet artifacts: whole or not at all, with their lineage in the file's own metadata.

A file appears under its name only when it is complete (temporary file, fsync, rename). Its metadata says what it was
made of, as ids of its inputs; an id is the hash of an artifact's content and lineage, written once into the footer, so
that "is this stale?" reads footers only. No clock time and no host name goes in: equal runs leave equal bytes.

What is JSON, in a file or in a footer, carries a hash of the rest of it under "check": one changed character is noticed
before anything is done with it. What older versions wrote has none.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsgrpo_cli import __version__
from rsgrpo_cli.disk import write_atomically
from rsgrpo_cli.errors import ArtifactError, MissingError, about_utf8, first_line
from rsgrpo_cli.footers import FILE_KEY, UNHASHED, checked_lineage, is_whole, parse_metadata, remake, with_hash
from rsgrpo_cli.schemas import ArtifactSchema

METADATA_KEY, NOTES_KEY = b"rsgrpo", b"rsgrpo_notes"
CHECK = "check"
"""The entry of a JSON object that holds the hash of the others."""
ROW_GROUP_ROWS = 8192
"""About how many rows per row group gets; it ends with a group of samples, never inside one."""


@cache
def package_versions() -> dict[str, str]:
    """Versions of what can change a result, without importing any of it."""
    versions = {"rsgrpo": __version__}
    for package in ("torch", "transformers", "vllm", "peft", "pyarrow", "numpy", "math-verify"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True, slots=True)
class Lineage:
    """What an artifact was made of.

    Args:
        stage: The command that made it.
        config: The settings that decided its content.
        inputs: Role -> id of every input artifact or policy.
        policy_version: Optimizer updates behind the policy involved, if one was.
        outputs: Role -> id of what was made beside it (a checkpoint), or a value found on the way (a scheduled beta).
        id: Hash of content and lineage, filled in by `write_table`.
        versions: Package -> version, for the record; it never makes an artifact stale.
    """

    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    policy_version: int | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    versions: Mapping[str, str] = field(default_factory=lambda: dict(package_versions()))

    @property
    def config_hash(self) -> str:
        """Hash of `config`."""
        return hash_json(self.config)

    def with_id(self, made: str) -> Lineage:
        """The same with this id."""
        return replace(self, id=made)

    def to_json(self) -> dict[str, Any]:
        """The metadata as it is in the file."""
        return asdict(self) | {"config_hash": self.config_hash}


def hash_json(data: Any) -> str:
    """Hash of a JSON-like value, independent of the order of its keys."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_table(
    path: Path, table: pa.Table, kind: ArtifactSchema, lineage: Lineage, notes: Mapping[str, Any] | None = None
) -> str:
    """Write an artifact, whole or not at all, and return its id.

    Args:
        path: Where it goes; an older file there is replaced in one step.
        table: Its rows, in key order.
        kind: The schema to hold it to.
        lineage: What it was made of; where it has an id, of an artifact that only gets other optional columns, that is
            kept.
        notes: For `read_notes`: what there is to know of optional columns. They have no part in the id either.

    Raises:
        ArtifactError: If the table does not fit the schema, or the disk is full.
    """
    table = _conform(table, kind, path)
    lineage_json = _unnamed(kind, lineage)
    lineage_json["id"] = lineage.id or _content_id(table.select(kind.required.names), lineage_json)
    metadata = {METADATA_KEY: json.dumps(sealed(lineage_json), sort_keys=True)}
    metadata |= {NOTES_KEY: json.dumps(notes, sort_keys=True)} if notes else {}
    table = table.replace_schema_metadata(metadata)

    content = _as_parquet(table, kind)
    write_atomically(path, lambda file: file.write(content))
    return str(lineage_json["id"])


def table_id(table: pa.Table, kind: ArtifactSchema, lineage: Lineage) -> str:
    """The id that `write_table` would give to an artifact."""
    return _content_id(table.cast(kind.required).combine_chunks(), _unnamed(kind, lineage))


def _unnamed(kind: ArtifactSchema, lineage: Lineage) -> dict[str, Any]:
    return lineage.to_json() | {"kind": kind.name, "schema_version": kind.version, "id": ""}


def read_table(path: Path, kind: ArtifactSchema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read an artifact and check that it is one.

    Raises:
        MissingError: If there is no such file.
        ArtifactError: If it is not this kind of artifact, or damaged.
    """
    read_lineage(path, kind)
    wanted = list(columns or kind.schema.names)
    try:
        if not is_whole(path, _signature(path)):
            raise ValueError("it was changed since it was written")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            there = file.schema_arrow.names
            table = file.read([name for name in wanted if name in there] if columns else None)
            table.validate(full=True)  # text that is no UTF-8 would come out much later, as an error of its reader
            return _completed(table, kind, wanted) if kind.optional else table
    except (ValueError, pa.ArrowException, OSError) as error:
        raise _damaged(path, error, kind.maker) from error


def read_notes(path: Path, kind: ArtifactSchema) -> dict[str, Any]:
    """What `write_table` noted beside the lineage; empty if nothing was.

    Raises:
        MissingError, ArtifactError: As `read_lineage`, or if it cannot be read.
    """
    read_lineage(path, kind)
    return parse_metadata((pq.read_schema(path).metadata or {}).get(NOTES_KEY, b"{}"))


def _completed(table: pa.Table, kind: ArtifactSchema, columns: Sequence[str]) -> pa.Table:
    """The columns asked for, null where the file has not got them."""
    for name in columns:
        if name in kind.optional and name not in table.schema.names:
            table = table.append_column(kind.schema.field(name), pa.nulls(len(table), kind.schema.field(name).type))
    return table.select(list(columns))


def read_lineage(path: Path, kind: ArtifactSchema) -> Lineage:
    """The lineage of an artifact, from its footer; checks the schema on the way.

    Raises:
        MissingError: If there is no such file.
        ArtifactError: If it is not this kind of artifact, or cut short.
    """
    try:
        schema, metadata = _footer(path, _signature(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(f"{path} does not exist", f"make it first: it holds the {kind.name}") from error
    except (ValueError, pa.ArrowException, OSError) as error:
        raise _damaged(path, error, kind.maker) from error
    if metadata.get("kind") != kind.name:
        found = f"it holds {metadata['kind']}" if "kind" in metadata else "it was not written by rsgrpo"
        raise ArtifactError(f"{path} does not hold {kind.name}: {found}", remake(path, kind.maker))
    if metadata.get("schema_version") != kind.version:
        found = f"version {metadata.get('schema_version')} of its columns; this rsgrpo reads {kind.version}"
        raise ArtifactError(f"{path} has {found}", remake(path, kind.maker))
    if not schema.equals(kind.schema) and not schema.equals(kind.required):
        raise ArtifactError(
            f"{path} does not have the columns of {kind.name}: {_difference(schema, kind.schema)}",
            remake(path, kind.maker),
        )
    return Lineage(**checked_lineage(metadata, path, kind.maker))


def _signature(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=1024)
def _footer(path: Path, signature: tuple[int, int, int]) -> tuple[pa.Schema, dict[str, Any]]:
    """Schema and metadata of a file. A file is replaced, never written into, so its signature names its content."""
    schema = pq.read_schema(path)
    metadata = parse_metadata((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    if not is_as_written(metadata):
        raise ValueError("its metadata was changed since it was written")
    return schema.remove_metadata(), metadata


def count_rows(path: Path) -> int:
    """How many rows a Parquet file has, by its footer."""
    return int(pq.read_metadata(path).num_rows)


def combined_id(ids: Iterable[str]) -> str:
    """One id for an artifact in several files, from the ids of its parts in order."""
    return hash_json(list(ids))


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically, for people to read: indented, in the order given."""
    text = json_text(data)
    write_atomically(path, lambda file: file.write(text))


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the hash of its content, for `is_as_written`."""
    content = {name: value for name, value in data.items() if name != CHECK}
    return content | {CHECK: hash_json(json.loads(json.dumps(content)))}


def is_as_written(data: Mapping[str, Any]) -> bool:
    """Whether an object has the content that it was sealed with; one that never was has."""
    return CHECK not in data or data == sealed(data)


def json_text(data: Any) -> bytes:
    """A JSON file's content, for people to read."""
    data = sealed(data) if isinstance(data, Mapping) else data
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path, *keys: str, **kinds: type) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        keys: Names that it must have, if it is to be an object.
        kinds: The same, each with the kind of value it must have.

    Raises:
        MissingError: If there is no such file.
        ArtifactError: If it is not JSON, or lacks a key, or has something else there.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise ArtifactError(f"{path} is a directory where a file belongs", remake(path)) from error
    except (ValueError, RecursionError) as error:  # not JSON or not UTF-8; nested too deeply
        raise ArtifactError(f"{path} is not valid JSON: {error}", remake(path)) from error
    if isinstance(data, dict) and not is_as_written(data):
        raise ArtifactError(f"{path} is damaged: it was changed since it was written", remake(path))
    for key in (*keys, *kinds):
        if not isinstance(data, dict) or key not in data:
            raise ArtifactError(f"{path} is damaged: it has no {key!r}", remake(path))
    for key, kind in kinds.items():
        if not isinstance(data[key], kind):
            raise ArtifactError(f"{path} is damaged: {key!r} is not what it should be", remake(path))
    return data


def _damaged(path: Path, error: Exception, maker: str) -> ArtifactError:
    if isinstance(error, OSError) and error.errno is not None:  # the disk or its rights: the file itself may be sound
        why = error.strerror or type(error).__name__
        return ArtifactError(f"{path} cannot be read: {why}", "check its permissions and the disk, then try again")
    if isinstance(error, UnicodeEncodeError):  # not the content, but what the file is called
        return ArtifactError(*about_utf8(f"the name {path}"))
    return ArtifactError(f"{path} is damaged or cut short: {first_line(error)}", remake(path, maker))


def _conform(table: pa.Table, kind: ArtifactSchema, path: Path) -> pa.Table:
    empty = [name for name in kind.optional if name in table.schema.names and table[name].null_count == len(table)]
    table = table.drop_columns(empty)
    schema = kind.schema if set(kind.optional) <= {*table.schema.names} else kind.required
    if table.schema.names != schema.names:
        raise ArtifactError(f"cannot write {path}: {_difference(table.schema, kind.schema)}")
    for column in schema:
        if not column.nullable and table[column.name].null_count:
            raise ArtifactError(f"cannot write {path}: column {column.name} has empty values")
    return table.cast(schema).combine_chunks()


def _difference(found: pa.Schema, expected: pa.Schema) -> str:
    missing = [name for name in expected.names if name not in found.names]
    foreign = [name for name in found.names if name not in expected.names]
    changed = [
        f"{name} is {found.field(name).type}, not {expected.field(name).type}"
        for name in expected.names
        if name in found.names and found.field(name).type != expected.field(name).type
    ]
    parts = [f"missing {', '.join(missing)}"] if missing else []
    parts += [f"unexpected {', '.join(foreign)}"] if foreign else []
    return "; ".join(parts + changed) or "same names and types, in another order or with other null rules"


def _as_parquet(table: pa.Table, kind: ArtifactSchema) -> bytes:
    """A file's content."""
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", use_dictionary=list(kind.repeated), write_page_checksum=True
    ) as writer:
        for start, stop in _row_groups(table):
            writer.write_table(table.slice(start, stop - start), row_group_size=stop - start)
        writer.add_key_value_metadata({FILE_KEY: UNHASHED})
    return with_hash(sink.getvalue())


def _content_id(table: pa.Table, lineage_json: dict[str, Any]) -> str:
    """Hash of the rows (as Arrow IPC, which is independent of chunking and of Parquet's version) and the lineage."""
    digest = hashlib.sha256(json.dumps(lineage_json | {"versions": {}}, sort_keys=True).encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    digest.update(sink.getvalue())
    return digest.hexdigest()[:16]


def _row_groups(table: pa.Table) -> Iterable[tuple[int, int]]:
    """(start, stop) of each row group: about ROW_GROUP_ROWS rows, ending where a group of samples ends."""
    if "group_id" not in table.schema.names:
        return [(start, min(start + ROW_GROUP_ROWS, len(table))) for start in range(0, len(table), ROW_GROUP_ROWS)]
    codes = table["group_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    last_rows = (codes[1:] != codes[:-1]).nonzero()[0] + 1
    cuts = [0]
    for stop in [*last_rows.tolist(), len(table)]:
        if stop - cuts[-1] >= ROW_GROUP_ROWS:
            cuts.append(stop)
    if cuts[-1] != len(table):
        cuts.append(len(table))
    return list(pairwise(cuts))
