"""Rows of a local JSONL or Parquet file, and of them no more than is asked for."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsgrpo_cli.errors import DataError, first_line
from rsgrpo_cli.tasks.chats import is_filled
from rsgrpo_cli.tasks.contents import MARKS, content_of, one_per_line

SUFFIXES = (".jsonl", ".parquet")
BATCH_ROWS = 256
"""Rows that are in memory at a time, beside those that are kept; fewer where they are large."""
_BATCH_BYTES = 32_000_000
_BUFFER_BYTES = 1_000_000
"""What is read of a column's bytes at a time: without a limit it is the whole row group."""
_SAVE = "save it as UTF-8, for instance: iconv -f ENCODING -t UTF-8 OLD > NEW"
_NO_BYTE_ORDER_MARK = f"it may be UTF-16 without its mark: {_SAVE}"
_TWO_NAMES = "give one of them another name, or leave it out"
Shape = Mapping[str, Any]
"""Column -> what is in it: a mapping for an object, a list for a list, anything else for a value."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table whose columns are known and whose rows are read on demand.

    Args:
        where: What it is called in errors.
        first: The columns that the choice of a column goes by: of JSONL, those of its first row.
        shape: All columns there are.
        read: The rows, one by one, with these columns only ("a.b" is `b` of the object `a`); None is all columns.
        look: For each row, whether any of these columns has something in it; None where only reading them tells.
        line: The line of the file that a row is on, from 1; None where it has no lines.
    """

    where: str
    first: Shape
    shape: Shape
    read: Callable[[Sequence[str] | None], Iterator[dict[str, Any]]]
    look: Callable[[Sequence[str]], Iterator[bool]] | None = None
    line: Callable[[int], int] | None = None

    def place(self, index: int) -> str:
        """Where to find a row, for a person."""
        if self.line is None:
            return f"{self.where} row {index} (counted from 0)"
        return f"{self.where} line {self.line(index)}"

    def row(self, index: int) -> dict[str, Any]:
        """A row with all its columns."""
        return next(islice(self.read(None), index, None))

    def filled(self, columns: Sequence[str]) -> Iterator[bool]:
        """For each row, whether any of these columns has something in it."""
        return self.look(columns) if self.look else map(is_filled, self.read(columns))


def is_data_file(path: Path) -> bool:
    """Whether a path has the suffix of a file that is read here."""
    return path.suffix.lower() in SUFFIXES


def open_rows(path: Path, most: int | None = None) -> Rows:
    """A file's columns, and a way to its rows.

    Args:
        path: A .jsonl or .parquet file.
        most: JSONL may have other columns in every row: those of so many rows are looked for, of all unless given.

    Raises:
        DataError: If it is not what its suffix says, or has no rows.
    """
    suffix, content = path.suffix.lower(), content_of(path)
    if content is not None and suffix not in content.suffixes:
        raise DataError(f"{path} is {content.name}", content.way(path))
    return _open_parquet(path) if suffix == ".parquet" else _open_jsonl(path, most)


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a file, in its order.

    Args:
        path: A .jsonl or .parquet file.
        columns: Only these; all unless given.

    Raises:
        DataError: If it is not what its suffix says, or has no rows.
    """
    return list(open_rows(path).read(columns))


def no_rows(where: str) -> DataError:
    """The error of a table without rows."""
    return DataError(f"{where} has no rows", "give a file with one problem a row")


def picked(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """A row with these columns only; of an object, only the part that is named."""
    kept: dict[str, Any] = {}
    for column in columns:
        outer, dot, inner = column.partition(".")
        if column in row or not dot:
            kept |= {column: row[column]} if column in row else {}
        elif isinstance(row.get(outer), Mapping):
            kept[outer] = kept.get(outer, {}) | {name: row[outer][name] for name in (inner,) if name in row[outer]}
        elif outer in row:
            kept[outer] = row[outer]
    return kept


# -- Parquet ----------------------------------------------------------------------------------------------------------


def _open_parquet(path: Path) -> Rows:
    try:
        with pq.ParquetFile(path) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if not count:
        raise no_rows(str(path))
    if twice := [name for name, times in Counter(schema.names).items() if times > 1]:
        raise DataError(f"{path} has two columns named {twice[0]!r}", _TWO_NAMES)
    shape = {field.name: _shape(field.type) for field in schema}
    return Rows(
        str(path),
        shape,
        shape,
        lambda columns: _parquet_rows(path, columns),
        lambda columns: _filled_rows(path, columns),
    )


def _shape(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return {field.name: _shape(field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_shape(kind.value_type)]
    return None


def _parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """In batches: a column of a row group may hold more than one Arrow array can."""
    with _parquet(path) as file:
        for batch in file.iter_batches(_batch_rows(file, columns), columns=None if columns is None else [*columns]):
            yield from batch.to_pylist()


def _filled_rows(path: Path, columns: Sequence[str]) -> Iterator[bool]:
    """By the statistics of each row group: images are read only where some rows have one and others have none."""
    with _parquet(path) as file:
        for number in range(file.metadata.num_row_groups):
            known = {column: _filled_group(file, number, column) for column in columns}
            unknown = [column for column, filled in known.items() if filled is None]
            if True in known.values() or not unknown:
                yield from repeat(True in known.values(), file.metadata.row_group(number).num_rows)
                continue
            for batch in file.iter_batches(_batch_rows(file, unknown), row_groups=[number], columns=unknown):
                yield from map(is_filled, batch.to_pylist())


def _filled_group(file: pq.ParquetFile, number: int, column: str) -> bool | None:
    """Whether all rows of a row group have something in a column, or none has; None where that is not known."""
    group, found = file.metadata.row_group(number), list[bool | None]()
    for index in range(group.num_columns):
        chunk = group.column(index)
        if not _is_of(chunk.path_in_schema, [column]):
            continue
        noted = chunk.statistics
        if noted is None or not noted.has_null_count:
            return None
        # Of values that are too long, as images are, no smallest is noted: none is taken to be empty. A list may be.
        texts = chunk.physical_type == "BYTE_ARRAY" and not file.schema.column(index).max_repetition_level
        every = texts and not noted.null_count and not (noted.has_min_max and noted.min in ("", b""))
        found.append(False if not noted.num_values else True if every else None)
    return True if True in found else None if None in found else False


@contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A file that is read piece by piece, not a row group at a time."""
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _batch_rows(file: pq.ParquetFile, columns: Sequence[str] | None) -> int:
    """How many rows with these columns take no more than `_BATCH_BYTES`, by the row group with the largest."""
    largest = 1.0
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        chunks = map(group.column, range(group.num_columns))
        own = [one for one in chunks if columns is None or _is_of(one.path_in_schema, columns)]
        largest = max(largest, sum(one.total_uncompressed_size for one in own) / max(group.num_rows, 1))
    return max(1, min(BATCH_ROWS, int(_BATCH_BYTES / largest)))


def _is_of(path: str, columns: Sequence[str]) -> bool:
    """Whether a leaf of the file belongs to one of the columns."""
    return any(path == column or path.startswith(f"{column}.") for column in columns)


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.errno:
        return DataError(f"{path} cannot be read: {os.strerror(error.errno)}", "check its permissions and the disk")
    return DataError(f"{path} cannot be read as Parquet: {first_line(error)}", "write the file again, or get it again")


# -- JSONL ------------------------------------------------------------------------------------------------------------


def _open_jsonl(path: Path, most: int | None) -> Rows:
    """Rows are looked at, and none kept: later ones may have columns that the first has not."""
    shape: dict[str, Any] = {}
    first: dict[str, Any] | None = None
    for row in islice(_jsonl_rows(path), most):
        first = row if first is None else first
        for name, value in row.items():
            if shape.get(name) is None:
                shape[name] = value
    if first is None:
        raise no_rows(str(path))

    def read(columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        return (row if columns is None else picked(row, columns) for row in _jsonl_rows(path))

    def line(index: int) -> int:
        written = (number for number, line in _lines(path) if line.strip())
        return next(islice(written, index, None))

    return Rows(str(path), first, shape, read, line=line)


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in _lines(path):
        if line.strip():
            yield _row(line, path, number)


def _row(line: str, path: Path, number: int) -> dict[str, Any]:
    where = f"{path} line {number}"
    try:
        row = json.loads(line, object_pairs_hook=_object)
        broken = "\\ud" in line.lower() and not _is_unicode(row)
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" at")  # it would go on with the place in the line
        is_cut = error.pos >= len(line.rstrip()) or said.startswith("Unterminated string")
        raise DataError(f"{where} is not JSON: {said}", _explained(line, path, is_cut=is_cut)) from error
    except _TwiceError as error:
        raise DataError(f"{where} has {error.args[0]!r} twice", _TWO_NAMES) from error
    except RecursionError as error:
        raise DataError(f"{where} is nested too deep to be read", "a row is an object with a problem") from error
    except ValueError as error:  # a whole number with thousands of digits
        raise DataError(f"{where} cannot be read: {str(error).partition(';')[0]}", "write it as text") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is not a JSON object", _explained(line, path))
    if broken:
        raise DataError(
            f"{where} has half of a surrogate pair (\\ud800 to \\udfff), which is not a character",
            "write the file again from text that is valid Unicode",
        )
    return row


class _TwiceError(ValueError):
    """A key that an object has twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _TwiceError(next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1))
    return made


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file and their numbers, by its byte order mark; without one it is UTF-8.

    Raises:
        DataError: If it is in another encoding.
    """
    with open(path, "rb") as binary:
        head = binary.read(4)
    encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), "utf-8")
    # What is not UTF-8 is kept as lone surrogates at first, so that the line it is in can be named.
    lenient = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    with open(path, encoding=encoding, errors=lenient) as file:
        try:
            for number, line in enumerate(file, start=1):
                if not line.isascii() and (byte := _foreign_byte(line)) is not None:
                    hint = _NO_BYTE_ORDER_MARK if _is_padded(line) else _SAVE
                    raise DataError(f"{path} line {number} is not UTF-8: it has the byte 0x{byte:02x}", hint)
                yield number, line
        except UnicodeError as error:
            raise DataError(f"{path} begins as {encoding.upper()} does and is not: {error}", _SAVE) from error


def _foreign_byte(line: str) -> int | None:
    """The first byte of a line that is not UTF-8."""
    return next((ord(character) - 0xDC00 for character in line if 0xDC80 <= ord(character) <= 0xDCFF), None)


def _is_padded(line: str) -> bool:
    """Whether about every second byte is 0, as in UTF-16 of most languages."""
    return line.count("\0") * 4 > len(line)


def _explained(line: str, path: Path, *, is_cut: bool = False) -> str:
    """What a line that is no row may be part of; `is_cut` says that it is JSON up to its end."""
    if "\0" in line:
        return _NO_BYTE_ORDER_MARK if _is_padded(line) else "take the NUL characters out of it"
    if line.lstrip().startswith("["):
        return f"a row is one object on one line; of a list, {one_per_line(path)}"
    if line.strip() == "{":
        return f"a row is one object on one line; {one_per_line(path, '.')}"
    if is_cut:
        return "the line ends too early: write or get the file again, or take the line out"
    return "a row is one JSON object on one line"


def _is_unicode(row: Any) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
