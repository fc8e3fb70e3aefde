"""Where problems come from: the bundled datasets and local JSONL or Parquet files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from rsgrpo_cli.errors import DataError, MissingError, UsageError

Split = Literal["train", "test"]
Message = dict[str, str]

PROMPT_COLUMNS = ("problem", "question", "prompt", "messages")
ANSWER_COLUMNS = ("answer", "final_answer", "ground_truth", "solution")


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as its source states it.

    Args:
        index: Its row in the source, from 0.
        text: The problem, or a chat that ends with it.
        answer: The reference answer as text; empty where the source has none.
    """

    index: int
    text: str | tuple[Message, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Source:
    """The problems of one dataset and split.

    Args:
        name: Short name; part of every prompt_id.
        task: Which reward fits: "math" or "countdown".
        split: "train" or "test".
        problems: In the order of the source.
        content_id: Hash of the file that was read.
    """

    name: str
    task: str
    split: Split
    problems: Sequence[Problem]
    content_id: str


@dataclass(frozen=True, slots=True)
class Bundled:
    """A dataset that comes with the package."""

    task: str
    files: Mapping[Split, str]


BUNDLED: Mapping[str, Bundled] = {
    "toy": Bundled("countdown", {"train": "puzzles_train.jsonl", "test": "puzzles_test.jsonl"}),
    "sums": Bundled("math", {"train": "sums_train.jsonl", "test": "sums_test.jsonl"}),
}


def bundled_data() -> Path:
    """The folder of the bundled model and problems: in the package when installed, at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data" / "toy"
    return installed if installed.is_dir() else package.parent / "data" / "toy"


def load_source(
    dataset: str, split: Split, *, prompt_column: str | None = None, answer_column: str | None = None
) -> Source:
    """Read a dataset.

    Args:
        dataset: A bundled dataset's name, or the path of a .jsonl or .parquet file.
        split: Which part of a bundled dataset; a file is one part, whichever is asked for.
        prompt_column: The column with the problem, or with a chat; the first of PROMPT_COLUMNS unless given.
        answer_column: The column with the reference answer; the first of ANSWER_COLUMNS unless given.

    Raises:
        UsageError: If there is no such dataset or column.
        MissingError: If there is no such file.
        DataError: If the file holds nothing usable.
    """
    if dataset in BUNDLED:
        path, task = bundled_data() / BUNDLED[dataset].files[split], BUNDLED[dataset].task
    else:
        path, task = _file(dataset), "math"
    rows = _read_rows(path)
    if not rows:
        raise DataError(f"{path} has no rows", "give a file with one problem a row")
    prompt_column = _column(rows[0], prompt_column, PROMPT_COLUMNS, "--prompt-column", path)
    answer_column = _column(rows[0], answer_column, ANSWER_COLUMNS, "--answer-column", path)
    problems = [_problem(index, row, prompt_column, answer_column, path) for index, row in enumerate(rows)]
    return Source(source_name(dataset), task, split, problems, hashlib.sha256(path.read_bytes()).hexdigest()[:16])


def source_name(dataset: str) -> str:
    """The short name of a dataset: of a file, its own without folder and suffix."""
    return dataset if dataset in BUNDLED else re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(dataset).stem)


def _file(dataset: str) -> Path:
    path = Path(dataset)
    if path.suffix not in (".jsonl", ".parquet"):
        known = ", ".join(BUNDLED)
        raise UsageError(f"unknown dataset {dataset!r}", f"bundled: {known}; or give a .jsonl or .parquet file")
    if not path.is_file():
        raise MissingError(f"no dataset file at {path}", "check the path given with --dataset or --benchmark")
    return path


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        try:
            rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
        return rows
    return list(_read_jsonl(path))


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
            yield row


def _column(row: Mapping[str, Any], asked: str | None, usual: Sequence[str], flag: str, path: Path) -> str:
    if asked is not None:
        if asked not in row:
            raise UsageError(f"{path} has no column {asked!r}", f"columns: {', '.join(row)}; choose one with {flag}")
        return asked
    for name in usual:
        if name in row:
            return name
    raise UsageError(f"{path} has none of the columns {', '.join(usual)}", f"columns: {', '.join(row)}; say {flag}")


def _problem(index: int, row: Mapping[str, Any], prompt_column: str, answer_column: str, path: Path) -> Problem:
    text, answer = row.get(prompt_column), row.get(answer_column)
    if isinstance(text, list):
        text = tuple(_message(message, path, index) for message in text)
    elif not isinstance(text, str):
        raise DataError(f"{path} row {index}: column {prompt_column!r} is {type(text).__name__}, not text or a chat")
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)  # a column of integers with a gap reads as floats: 42.0 is 42
    return Problem(index, text, "" if answer is None else str(answer).strip())


def _message(message: Any, path: Path, index: int) -> Message:
    if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
        raise DataError(f"{path} row {index}: a chat is a list of objects with role and content")
    return {"role": str(message["role"]), "content": str(message["content"])}
