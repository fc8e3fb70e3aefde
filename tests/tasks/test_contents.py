"""Files that are not what their names say: what they are is said, and what to do with them works."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.tasks.files import read_rows
from rsgrpo_cli.tasks.sources import load_source

ROWS = [{"problem": "What is 1+1?", "answer": "2"}, {"problem": "What is 2+2?", "answer": "4"}]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def parquet() -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), made)
    return made.getvalue()


def arrow() -> bytes:
    made, table = io.BytesIO(), pa.Table.from_pylist(ROWS)
    with ipc.new_file(made, table.schema) as file:
        file.write_table(table)
    return made.getvalue()


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("rows.jsonl", JSONL)
    return made.getvalue()


def tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        entry = tarfile.TarInfo("rows.jsonl")
        entry.size = len(JSONL)
        file.addfile(entry, io.BytesIO(JSONL))
    return made.getvalue()


def table(delimiter: str) -> bytes:
    made = io.StringIO()
    writer = csv.DictWriter(made, ["problem", "answer"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return made.getvalue().encode()


CSV = b"problem,answer\nWhat is 1+1?,2\n"
LIST = json.dumps(ROWS).encode()
OTHERS = {
    "a Parquet file": parquet(),
    "an Arrow file": arrow(),
    "a gzip file": gzip.compress(JSONL),
    "a bzip2 file": bz2.compress(JSONL),
    "an xz file": lzma.compress(JSONL),
    "a zip archive": zipped(),
    "a tar archive": tar(),
    "a table of text, CSV or the like": CSV,
    "a web page": b"<!DOCTYPE html>\n<html></html>\n",
    "a pointer of Git LFS, not the file itself": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".json"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_file_is_told_by_its_content(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(OTHERS[name])
    if name == "a Parquet file" and suffix == ".parquet":
        assert read_rows(path) == ROWS
        return
    with pytest.raises((DataError, UsageError)) as error:
        load_source(str(path), "train")
    assert error.value.message == f"{path} is {name}"
    assert error.value.hint


TO_UNPACK = [
    ("rows.jsonl", parquet(), "mv"),
    ("rows.parquet", JSONL, "mv"),
    ("my rows.json", JSONL, "mv"),
    ("rows.parquet", gzip.compress(JSONL), "gzip"),
    ("rows.jsonl.gz", gzip.compress(parquet()), "gzip"),
    ("rows.jsonl", bz2.compress(JSONL), "bzip2"),
    ("rows.jsonl", lzma.compress(JSONL), "xz"),
    ("more.jsonl", tar(), "tar"),
    ("more.jsonl", zipped(), "unzip"),
    ("rows.jsonl", LIST, "jq"),
    ("rows.json", LIST, "jq"),
    ("rows.csv", table(","), "python"),
    ("my rows.csv", b"\xef\xbb\xbf" + table(";"), "python"),
    ("rows.tsv", table("\t"), "python"),
    ("rows.jsonl", table(","), "python"),
]


# By name: a gzip file has the time in it, and each process would call the tests otherwise.
@pytest.mark.parametrize(("file", "content", "tool"), TO_UNPACK, ids=[f"{file}-{tool}" for file, _, tool in TO_UNPACK])
def test_what_to_do_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: bytes, tool: str
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not shutil.which(tool):
        pytest.skip(f"no {tool} here")
    monkeypatch.chdir(tmp_path)
    Path(file).write_bytes(content)
    for _ in range(2):  # what was unpacked may have another name than it should
        with pytest.raises((DataError, UsageError)) as error:
            load_source(file, "train")
        assert error.value.hint is not None
        before = {*os.listdir()}
        subprocess.run(error.value.hint.rpartition(": ")[2], shell=True, check=True)
        (file,) = {*os.listdir()} - before
        if _is_read(Path(file)):
            break
    assert read_rows(Path(file)) == ROWS


def _is_read(path: Path) -> bool:
    if path.suffix not in (".jsonl", ".parquet"):
        return False
    try:
        read_rows(path)
    except DataError:
        return False
    return True


@pytest.mark.parametrize(
    "line",
    [
        '{"problem": "1, 2; 3", "answer": "4"}',
        '{"problem": "' + "x" * 1_100_000 + '", "answer": "4"}',
        '\n{"problem": "a blank line is before it", "answer": "4"}',
    ],
)
def test_jsonl_is_not_taken_for_anything_else(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n")
    assert len(read_rows(path)) == 1


def test_a_broken_first_line_is_no_table_of_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('"problem": "1+1", "answer": "2"}\n')
    with pytest.raises(DataError, match="line 1 is not JSON"):
        read_rows(path)


def test_nothing_is_taken_out_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.json")
    with pytest.raises(UsageError, match=r"not a .jsonl or .parquet file"):
        load_source(str(tmp_path / "rows.json"), "train")
