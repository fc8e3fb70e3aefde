"""What a file is by how it begins, whatever its name says, and what to do with one that cannot be read as it is."""

from __future__ import annotations

import codecs
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rsgrpo_cli.git_lfs import POINTER

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does, so it is looked for first
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
"""Byte order marks -> the encoding."""
WRITE = "write it as JSONL (one JSON object per line) or Parquet"
_LONGEST = 1_000_000
"""Bytes of a first line that are looked at."""
_SUFFIXES = re.compile(r"(?i:\.(?:jsonl?|parquet|csv|tsv|txt|arrow|gz|tgz|zst|bz2|xz|zip|tar))+$")
_ROWS = ".rows.jsonl"
"""The end of a name for what is made of a file: never its own."""
_HEADER = re.compile(r'[\w .-]+|"[^"\n]+"')


@dataclass(frozen=True, slots=True)
class Content:
    """A kind of file.

    Args:
        name: With its article.
        suffixes: What such a file is called.
        way: What to do with the file at a path.
    """

    name: str
    suffixes: tuple[str, ...]
    way: Callable[[Path], str]


def _named(path: Path, suffix: str) -> str:
    """A file's name for the shell, with another suffix."""
    return shlex.quote(_SUFFIXES.sub("", str(path)) + suffix)


def _renamed(suffix: str) -> Callable[[Path], str]:
    return lambda path: f"name it so: mv -n {shlex.quote(str(path))} {_named(path, suffix)}"


def _unpacked(tool: str) -> Callable[[Path], str]:
    return lambda path: f"decompress it first: {tool} -dc < {shlex.quote(str(path))} > {_named(path, _ROWS)}"


def one_per_line(path: Path, rows: str = ".[]") -> str:
    """What to do with a list in one piece of JSON, or with what `jq` calls `rows` of it."""
    return f"make one object per line of it: jq -c {shlex.quote(rows)} {shlex.quote(str(path))} > {_named(path, _ROWS)}"


def _rows_of_text(path: Path) -> str:
    """What to do with a table of text: each value stays the text that it is."""
    with open(path, "rb") as file:
        header = _decoded(file.readline(_LONGEST))
    mark = max(_DELIMITERS, key=header.count)
    how = "" if mark == "," else f", delimiter={mark!r}"
    read = f"csv.DictReader(open({str(path)!r}, newline='', encoding='utf-8-sig'){how})"
    script = f"import csv, json; [print(json.dumps(row)) for row in {read}]"
    return f'make JSONL of it: python -c "{script}" > {_named(path, _ROWS)}'


_DELIMITERS = (",", ";", "\t")


def _write(path: Path) -> str:
    return WRITE


PARQUET = Content("a Parquet file", (".parquet",), _renamed(".parquet"))
_JSONL = Content("JSONL, one JSON object per line", (".jsonl",), _renamed(".jsonl"))
_LIST = Content("a JSON list", (".json", ".jsonl"), one_per_line)
_CSV = Content("a table of text, CSV or the like", (".csv", ".tsv", ".txt"), _rows_of_text)
_PAGE = Content(
    "a web page", (".html", ".htm"), lambda path: "get the file itself: on the Hub, its link has resolve in it"
)
_POINTER = Content("a pointer of Git LFS, not the file itself", (), lambda path: "get the file: git lfs pull")
_ZIP = (".zip", ".xlsx", ".npz", ".pkl")
_BEGINNINGS = (
    (b"PAR1", PARQUET),
    (b"\x1f\x8b", Content("a gzip file", (".gz", ".tgz"), _unpacked("gzip"))),
    (b"\x28\xb5\x2f\xfd", Content("a zstd file", (".zst",), _unpacked("zstd"))),
    (b"BZh", Content("a bzip2 file", (".bz2",), _unpacked("bzip2"))),
    (b"\xfd7zXZ\x00", Content("an xz file", (".xz",), _unpacked("xz"))),
    (b"PK\x03\x04", Content("a zip archive", _ZIP, lambda path: f"unpack it first: unzip {shlex.quote(str(path))}")),
    (b"ARROW1\x00\x00", Content("an Arrow file", (".arrow", ".feather"), _write)),
    (b"SQLite format 3\x00", Content("an SQLite database", (".db", ".sqlite"), _write)),
    (b"\x93NUMPY", Content("a NumPy array", (".npy",), _write)),
    (b"%PDF-", Content("a PDF", (".pdf",), _write)),
    (POINTER, _POINTER),
)
_TAR = Content("a tar archive", (".tar",), lambda path: f"unpack it first: tar -xf {shlex.quote(str(path))}")


def content_of(path: Path) -> Content | None:
    """What a file is, by its first line; None where that does not tell, and for what is no file."""
    if not path.is_file():  # nothing is taken out of a pipe
        return None
    try:
        with open(path, "rb") as file:
            head = file.readline(_LONGEST)
            file.seek(257)
            is_tar = file.read(5) == b"ustar"
    except OSError:  # whoever reads it says so
        return None
    begins = next((content for start, content in _BEGINNINGS if head.startswith(start)), None)
    return begins or (_TAR if is_tar else _of_text(_decoded(head).strip()))


def _decoded(head: bytes) -> str:
    encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), "utf-8")
    return head.decode(encoding, errors="ignore")


def _of_text(line: str) -> Content | None:
    if line.lower().startswith(("<!doctype html", "<html")):
        return _PAGE
    if line.startswith("["):
        return _LIST
    if line.startswith("{"):
        return _JSONL if _is_object(line) else None
    cells = re.split(f"[{''.join(_DELIMITERS)}]", line)
    return _CSV if len(cells) > 1 and all(map(_HEADER.fullmatch, cells)) else None


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
