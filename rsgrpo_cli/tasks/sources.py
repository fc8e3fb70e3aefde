"""Where problems come from: bundled datasets, those known by name, any other on the Hub, local files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsgrpo_cli.errors import DataError, MissingError, UsageError
from rsgrpo_cli.tasks.files import SUFFIXES, read_rows
from rsgrpo_cli.tasks.hub import Place, read_hub
from rsgrpo_cli.tasks.registry import REGISTRY, Listed, Split, listed

Message = dict[str, str]

PROMPT_COLUMNS = ("problem", "question", "prompt", "messages")
ANSWER_COLUMNS = ("answer", "final_answer", "ground_truth", "solution", "reward_model.ground_truth")
"""Tried in this order; a dot goes into an object, as in verl's files."""


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
        content_id: Hash of the file that was read, or of the problems where there is none.
        own_instruction: The problems say themselves what is wanted; no instruction is added.
        expected_rows: How many rows the whole dataset has, where this is only a sample of it.
    """

    name: str
    task: str
    split: Split
    problems: Sequence[Problem]
    content_id: str
    own_instruction: bool = False
    expected_rows: int | None = None


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
    dataset: str,
    split: Split,
    *,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    data_dir: str | None = None,
) -> Source:
    """Read a dataset.

    Args:
        dataset: A bundled dataset's name, one of `registry.REGISTRY`, the path of a .jsonl or .parquet file, or a
            repository on the Hub as `hub.Place` reads it.
        split: Which part, where the dataset has several and the name does not say.
        prompt_column: Of a file or a repository, the column with the problem, or with a chat; the first of
            PROMPT_COLUMNS unless given. A dataset known by name knows its columns.
        answer_column: The column with the reference answer; the first of ANSWER_COLUMNS unless given.
        data_dir: A folder with files of the datasets in the registry, read in place of the Hub.

    Raises:
        UsageError: If there is no such dataset or column.
        MissingError: If there is no such file, or the Hub cannot be reached.
        DataError: If what was read is not usable, or not what the registry says.
    """
    if dataset in BUNDLED:
        path = bundled_data() / BUNDLED[dataset].files[split]
        return _from_file(dataset, path, BUNDLED[dataset].task, split, None, None, own_instruction=True)
    if dataset in REGISTRY:
        return _from_registry(dataset, split, data_dir)
    if Path(dataset).suffix in SUFFIXES:
        if not Path(dataset).is_file():
            raise MissingError(f"no dataset file at {dataset}", "check the path given with --dataset or --benchmark")
        return _from_file(source_name(dataset), Path(dataset), "math", split, prompt_column, answer_column)
    place = Place.parse(dataset)
    if place is None:
        hint = f"known: {', '.join([*BUNDLED, *REGISTRY])}; or owner/name on the Hub, or a .jsonl or .parquet file"
        raise UsageError(f"unknown dataset {dataset!r}", hint)
    return _from_hub(source_name(dataset), place, split, prompt_column, answer_column)


def source_name(dataset: str) -> str:
    """The short name of a dataset: of a file, its own without folder and suffix."""
    if dataset in BUNDLED or dataset in REGISTRY:
        return dataset
    stem = Path(dataset).stem if Path(dataset).suffix in SUFFIXES else dataset
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")


def split_of(dataset: str, split: Split) -> Split:
    """The split that is read when `split` is asked for: another one where the dataset has no such."""
    return listed(dataset, split)[0] if dataset in REGISTRY else split


def has_held_out_problems(dataset: str) -> bool:
    """Whether a dataset that is trained on has problems besides those."""
    return dataset in BUNDLED or {"train", "test"} <= REGISTRY.get(dataset, {}).keys()


def _from_file(
    name: str,
    path: Path,
    task: str,
    split: Split,
    prompt_column: str | None,
    answer_column: str | None,
    *,
    own_instruction: bool = False,
) -> Source:
    rows = read_rows(path)
    prompt_column = _column(rows[0], prompt_column, PROMPT_COLUMNS, "--prompt-column", str(path))
    answer_column = _column(rows[0], answer_column, ANSWER_COLUMNS, "--answer-column", str(path))
    problems = _problems(rows, prompt_column, answer_column, str(path))
    content_id = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Source(name, task, split, problems, content_id, own_instruction)


def _from_hub(name: str, place: Place, split: Split, prompt_column: str | None, answer_column: str | None) -> Source:
    asked = [column.partition(".")[0] for column in (prompt_column, answer_column) if column]
    rows = read_hub(place, split, list(dict.fromkeys(asked)) if len(asked) == 2 else None)
    if not rows:
        raise DataError(f"{place.repository} has no rows", "choose another split: owner/name:config/split")
    prompt_column = _column(rows[0], prompt_column, PROMPT_COLUMNS, "--prompt-column", place.repository)
    answer_column = _column(rows[0], answer_column, ANSWER_COLUMNS, "--answer-column", place.repository)
    problems = _problems(rows, prompt_column, answer_column, place.repository)
    return Source(name, "math", split, problems, _content_id(problems))


# -- datasets known by name -------------------------------------------------------------------------------------------


def _from_registry(name: str, split: Split, data_dir: str | None) -> Source:
    split, entry = listed(name, split)
    sample = False
    if not data_dir:
        where = entry.repository
        rows = read_hub(
            Place(entry.repository, config=entry.config), entry.split, [entry.prompt, entry.answer], stream=entry.stream
        )
    else:
        path, sample = _file_of(name, entry, Path(data_dir))
        where, rows = str(path), read_rows(path)
    if len(rows) != entry.rows and not sample:
        raise DataError(
            f"{where} has {len(rows)} rows and {name} ({split}) has {entry.rows}",
            f"get the whole file; a part of it has to be called {entry.files[0]}_sample.jsonl"
            if data_dir
            else "the copy on the Hub has changed: name it with its columns, owner/name:config/split",
        )
    columns = _columns_of(entry, rows[0], where)
    problems = [_cleaned(problem, entry) for problem in _problems(rows, *columns, where)]
    return Source(name, "math", split, problems, _content_id(problems), expected_rows=entry.rows if sample else None)


def _file_of(name: str, entry: Listed, folder: Path) -> tuple[Path, bool]:
    """The file of a dataset in a folder, and whether it is a sample."""
    if not folder.is_dir():
        raise MissingError(
            f"no folder {folder}", "give --data-dir a folder with the datasets' files, or '' for the Hub"
        )
    for ending, sample in (("", False), ("_sample", True)):
        for stem in entry.files:
            for suffix in SUFFIXES:
                path = folder / f"{stem}{ending}{suffix}"
                if path.is_file():
                    return path, sample
    raise MissingError(
        f"{folder} has no {entry.files[0]}.jsonl, the file of {name}",
        f"put it there, or load {entry.repository} from the Hub: --data-dir ''",
    )


def _columns_of(entry: Listed, row: Mapping[str, Any], where: str) -> tuple[str, str]:
    for prompt, answer in ((entry.prompt, entry.answer), ("problem", "answer")):
        if prompt in row and answer in row:
            return prompt, answer
    raise DataError(
        f"{where} has no columns {entry.prompt} and {entry.answer}",
        f"columns: {', '.join(row)}; the problem goes into {entry.prompt} and its answer into {entry.answer}",
    )


def _cleaned(problem: Problem, entry: Listed) -> Problem:
    if entry.clean is None or not isinstance(problem.text, str):
        return problem
    return Problem(problem.index, *entry.clean(problem.text, problem.answer))


def _content_id(problems: Sequence[Problem]) -> str:
    text = json.dumps([(problem.text, problem.answer) for problem in problems], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# -- rows to problems -------------------------------------------------------------------------------------------------


def _column(row: Mapping[str, Any], asked: str | None, usual: Sequence[str], flag: str, where: str) -> str:
    if asked is not None:
        if not _has(row, asked):
            raise UsageError(f"{where} has no column {asked!r}", f"columns: {', '.join(row)}; choose one with {flag}")
        return asked
    for name in usual:
        if _has(row, name):
            return name
    raise UsageError(f"{where} has none of the columns {', '.join(usual)}", f"columns: {', '.join(row)}; say {flag}")


def _has(row: Mapping[str, Any], column: str) -> bool:
    outer, dot, inner = column.partition(".")
    return column in row or bool(dot and isinstance(row.get(outer), Mapping) and inner in row[outer])


def _value(row: Mapping[str, Any], column: str) -> Any:
    outer, dot, inner = column.partition(".")
    if column in row or not dot:
        return row.get(column)
    return row[outer].get(inner) if isinstance(row.get(outer), Mapping) else None


def _problems(rows: Sequence[Mapping[str, Any]], prompt_column: str, answer_column: str, where: str) -> list[Problem]:
    return [_problem(index, row, prompt_column, answer_column, where) for index, row in enumerate(rows)]


def _problem(index: int, row: Mapping[str, Any], prompt_column: str, answer_column: str, where: str) -> Problem:
    text, answer = _value(row, prompt_column), _value(row, answer_column)
    if isinstance(text, list):
        text = tuple(_message(message, where, index) for message in text)
    elif not isinstance(text, str):
        raise DataError(f"{where} row {index}: column {prompt_column!r} is {type(text).__name__}, not text or a chat")
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)  # a column of integers with a gap reads as floats: 42.0 is 42
    return Problem(index, text, "" if answer is None else str(answer).strip())


def _message(message: Any, where: str, index: int) -> Message:
    if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
        raise DataError(f"{where} row {index}: a chat is a list of objects with role and content")
    return {"role": str(message["role"]), "content": str(message["content"])}
