import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.tasks.columns import columns_of, read_columns
from rsgrpo_cli.tasks.files import Rows
from rsgrpo_cli.tasks.sources import Source, load_source


def source(tmp_path: Path, **columns: Sequence[object]) -> Source:
    table = pa.table({"problem": ["a?", "b?"], "answer": ["1", "2"], **columns})
    pq.write_table(table, tmp_path / "rows.parquet")
    return load_source(str(tmp_path / "rows.parquet"), "train")


def test_named_columns_and_nothing_else(tmp_path: Path) -> None:
    data = source(tmp_path, level=[1, None], tags=[["x"], []], when=[date(2026, 1, 2)] * 2)
    assert columns_of(data) == ("problem", "answer", "level", "tags", "when")
    found = read_columns(data, [1, 0], ["level", "tags", "when", "nosuch"], everything=False)
    assert found[0] == {"level": 1, "tags": ["x"], "when": "2026-01-02"}
    assert found[1] == {"level": None, "tags": [], "when": "2026-01-02"}
    assert read_columns(data, [1], ["level"], everything=False) == {1: {"level": None}}


def test_everything_is_what_is_small(tmp_path: Path) -> None:
    columns: dict[str, Sequence[object]] = {
        "level": [1, 2],
        "tags": [["x"], []],
        "story": ["short", "s" * 1001],
        "raw": [b"\xff", b""],
    }
    found = read_columns(source(tmp_path, **columns), [0, 1], [], everything=True)
    assert found[0] == {"problem": "a?", "answer": "1", "level": 1}
    named = read_columns(source(tmp_path, **columns), [0, 1], ["story"], everything=True)
    assert named[1]["story"] == "s" * 1001


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column raw of rows holds bytes"):
        read_columns(source(tmp_path, raw=[b"\xff", b""]), [0], ["raw"], everything=False)


def test_columns_that_nobody_takes_are_not_read() -> None:
    asked: list[Sequence[str] | None] = []

    def read(columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        asked.append(columns)
        return iter([{"level": 1}])

    shape = {"level": None, "video": {"bytes": None, "path": None}, "frames": [None]}
    data = Source("rows", "math", "train", [], "id", table=Rows("rows", shape, shape, read))
    assert json.dumps(read_columns(data, [0], [], everything=True)[0]) == '{"level": 1}'
    read_columns(data, [0], ["nosuch"], everything=False)
    assert asked == [["level"]]
