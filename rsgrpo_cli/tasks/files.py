"""Rows of a local JSONL or Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsgrpo_cli.errors import DataError

SUFFIXES = (".jsonl", ".parquet")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file as they stand in it.

    Raises:
        DataError: If it is not what its suffix says, or has no rows.
    """
    rows = _read_parquet(path) if path.suffix == ".parquet" else list(_read_jsonl(path))
    if not rows:
        raise DataError(f"{path} has no rows", "give a file with one problem a row")
    return rows


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    return rows


def _read_jsonl(path: Path) -> Iterable[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path} line {number} is not JSON: {error.msg}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path} line {number} is not a JSON object")
            if "\\ud" in line.lower() and not _is_unicode(row):
                raise DataError(
                    f"{path} line {number} has half of a surrogate pair (\\ud800 to \\udfff), which is no character",
                    "write the file anew from text that is valid Unicode",
                )
            yield row


def _is_unicode(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
