"""The rows of a query as CSV, JSON and Parquet, written as they come."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsgrpo_cli.errors import UsageError, first_line
from rsgrpo_cli.report.sql import Result

FORMATS = ("table", "csv", "json", "parquet")


def plain(value: Any) -> Any:
    """A value of a row as JSON has it: a map is an object, a whole decimal an integer, a date text, NaN null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list):
        pairs = value and all(isinstance(item, tuple) and len(item) == 2 for item in value)
        return {str(name): plain(item) for name, item in value} if pairs else [plain(item) for item in value]
    return str(value)


def cell(value: Any) -> str:
    """A value as text: nothing for null, JSON for lists and maps."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    found = plain(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def csv_lines(result: Result) -> Iterator[str]:
    """Lines of CSV, the names of the columns first."""
    yield _csv_line(result.columns)
    for row in result.rows():
        yield _csv_line([cell(value) for value in row])


def json_lines(result: Result) -> Iterator[str]:
    """A JSON array, an object a line; all in ASCII, so that nothing in it is for a terminal to obey.

    Raises:
        UsageError: If two columns have one name.
    """
    require_names(result)
    before = "["
    for row in result.rows():
        yield f"{before}\n{json.dumps(as_object(result, row))}"
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def as_object(result: Result, row: tuple[Any, ...]) -> dict[str, Any]:
    """A row as column -> value."""
    return {name: plain(value) for name, value in zip(result.columns, row, strict=True)}


def write_parquet(result: Result, file: IO[bytes]) -> None:
    """Write Parquet.

    Raises:
        UsageError: If two columns have one name, or one has a type that Parquet lacks.
    """
    require_names(result)
    try:
        with pq.ParquetWriter(file, result.schema, compression="zstd") as writer:
            for batch in result.batches():
                writer.write_batch(batch)
    except pa.ArrowNotImplementedError as error:
        raise UsageError(f"Parquet cannot hold this: {first_line(error)}", "CAST that column") from error


def require_names(result: Result) -> None:
    """Make sure that every column has a name of its own; raises UsageError."""
    twice = next((name for name in result.columns if result.columns.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two columns of the query are called {twice}", f"give one another name: {twice} AS other")


def _csv_line(values: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
