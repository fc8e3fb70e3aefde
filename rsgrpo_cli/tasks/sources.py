"""Where problems come from: bundled datasets, those known by name, any other on the Hub, local files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rsgrpo_cli.bundled import bundled_data
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import DataError, MissingError, UsageError
from rsgrpo_cli.tasks.contents import WRITE, content_of
from rsgrpo_cli.tasks.files import SUFFIXES, Rows, is_data_file, open_rows
from rsgrpo_cli.tasks.hub import Place, open_hub, read_hub
from rsgrpo_cli.tasks.problems import Columns, Problem, columns_in, problems_of, read_problems, value_of
from rsgrpo_cli.tasks.registry import REGISTRY, Listed, Split, listed
from rsgrpo_cli.wording import counted

_PACKED = (".gz", ".zst", ".xz", ".bz2", ".zip", ".tar", ".tgz")
_TEXT = (".json", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".toml")
_OTHER_FILES = (*_PACKED, *_TEXT, ".xlsx", ".arrow", ".feather", ".pkl", ".npy")
"""Suffixes of files that are not read."""
MOST_FILES = 10_000
"""Files of a directory that is read as a dataset; a home directory has more."""
_SHOWN = 80
"""Characters of an answer that a message shows."""
_REPOSITORY_FILES = {".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".arrow", ".gz", ".zst", ".zip", ".tar"}


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
        table: Its rows with all their columns, read on demand; None where no others can be had.
        answers: The column with the reference answers; None where there is no table.
        goes_on: Whether there are further rows, which were not read.
    """

    name: str
    task: str
    split: Split
    problems: Sequence[Problem]
    content_id: str
    own_instruction: bool = False
    expected_rows: int | None = None
    table: Rows | None = None
    answers: str | None = None
    goes_on: bool = False

    def place(self, problem: Problem) -> str:
        """Where to find a problem, for a person: the file and the line, where there is one."""
        if self.table is None:
            return f"{self.name} row {problem.index} (counted from 0)"
        return self.table.place(problem.index)

    def written(self, problem: Problem) -> str:
        """The reference answer of a problem as the source has it, as JSON; only its beginning if it is long."""
        value: Any = problem.stored or problem.answer
        if self.table is not None and self.answers is not None:
            value = value_of(self.table.row(problem.index), self.answers)
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@dataclass(frozen=True, slots=True)
class Bundled:
    """A dataset that comes with the package."""

    task: str
    files: Mapping[Split, str]


BUNDLED: Mapping[str, Bundled] = {
    "toy": Bundled("countdown", {"train": "puzzles_train.jsonl", "test": "puzzles_test.jsonl"}),
    "toy-validation": Bundled("countdown", {"test": "puzzles_validation.jsonl"}),
    "toy-hard": Bundled("countdown", {"train": "hard_train.jsonl", "test": "hard_test.jsonl"}),
    "toy-hard-validation": Bundled("countdown", {"test": "hard_validation.jsonl"}),
    "sums": Bundled("math", {"train": "sums_train.jsonl", "test": "sums_test.jsonl"}),
}


def load_source(
    dataset: str,
    split: Split,
    *,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    data_dir: str | None = None,
    first: Columns = (None, None),
    most: int | None = None,
) -> Source:
    """Read a dataset.

    Args:
        dataset: A bundled dataset's name, one of `registry.REGISTRY`, the path of a .jsonl or .parquet file, or a
            repository on the Hub as `hub.Place` reads it.
        split: Which part, where the dataset has several and the name does not say.
        prompt_column: Of a file or a repository, the column with the problem, or with a chat; the first of
            PROMPT_COLUMNS unless given. A dataset known by name knows its columns.
        answer_column: The column with the reference answer; the first of ANSWER_COLUMNS unless given.
        data_dir: A folder with files of the datasets in the registry, read instead of the Hub.
        first: Names of columns to try before PROMPT_COLUMNS and ANSWER_COLUMNS: a benchmark that a user wrote has those
            of the problems that he trains on.
        most: Read no more rows of a file; all unless given. What is on the Hub or in the registry is read whole.

    Raises:
        UsageError: If there is no such dataset or column.
        MissingError: If there is no such file, or the Hub cannot be reached.
        DataError: If what was read is not usable, or not what the registry says.
    """
    columns = (prompt_column, answer_column)
    if is_known_by_name(dataset):
        _refuse_columns(dataset, *columns)
    if dataset in BUNDLED:
        path = bundled_data() / _bundled_file(dataset, split)
        return _from_file(dataset, path, BUNDLED[dataset].task, split, own_instruction=True)
    if dataset in REGISTRY:
        return _from_registry(dataset, split, data_dir)
    if is_data_file(Path(dataset)):
        if Path(dataset).is_dir():
            raise UsageError(f"{dataset} is a directory with the name of a file", "give a file in it, or rename it")
        if not Path(dataset).is_file():
            raise MissingError(f"no dataset file at {dataset}", "check the path given with --dataset or --benchmark")
        return _from_file(source_name(dataset), Path(dataset), "math", split, columns, first, most=most)
    place = _place(dataset)
    return _from_hub(source_name(dataset), place, split, columns, first)


def _bundled_file(dataset: str, split: Split) -> str:
    files = BUNDLED[dataset].files
    if split not in files:
        raise UsageError(
            f"{dataset} is for evaluation only",
            f"use it with --benchmark {dataset}; train on {dataset.removesuffix('-validation')} or sums",
        )
    return files[split]


def source_name(dataset: str) -> str:
    """The short name of a dataset: of a file, its own without folder and suffix."""
    if is_known_by_name(dataset):
        return dataset
    stem = unicodedata.normalize("NFC", Path(dataset).stem if is_data_file(Path(dataset)) else dataset)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")
    if name and not any(letter.isalnum() for letter in stem if not letter.isascii()):
        return name
    # Letters that no file's name should need are left out, and what tells it from another name is put behind the rest.
    return f"{name or 'dataset'}-{hashlib.sha256(stem.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _refuse_columns(dataset: str, *columns: str | None) -> None:
    for flag, column in zip(("--prompt-column", "--answer-column"), columns, strict=True):
        if column is not None:
            raise UsageError(
                f"{dataset} is known by name, and {flag} {column} would change nothing",
                f"leave {flag} out: it is for files and for datasets on the Hub",
            )


def _place(dataset: str) -> Place:
    """The repository that a dataset's name means.

    Raises:
        UsageError: If it means none, or a file or a directory that cannot be read.
        MissingError: If it is the path of a file that is not there.
    """
    path, known = Path(dataset), f"known: {', '.join([*BUNDLED, *REGISTRY])}"
    file = "a .jsonl or .parquet file"
    if path.suffix.lower() in _OTHER_FILES and not path.exists():
        raise MissingError(f"no dataset file at {dataset}", f"give {file}")
    if path.exists() and not path.is_dir():
        raise _not_read(path, file)
    if (path.is_dir() and (path / "state.json").is_file()) or (path / "dataset_dict.json").is_file():
        raise UsageError(f"{dataset} was written by save_to_disk, not as a repository", _from_disk(path))
    place = Place.parse(dataset)
    if place is None:
        raise UsageError(f"unknown dataset {dataset!r}", f"{known}; or owner/name on the Hub, or {file}")
    if path.is_dir() and not (path.resolve().name and any(_data_files(path))):
        raise UsageError(f"directory {dataset} has no dataset in it", f"give {file}, or a copy of a repository")
    if _has_many_files(Path(place.repository)):
        told = f"directory {dataset} has more than {MOST_FILES:,} files, which would take long to look through"
        raise UsageError(told, f"give {file}, or a folder that has nothing but the dataset")
    return place


def _has_many_files(folder: Path) -> bool:
    """Whether there are more than `MOST_FILES` below a folder; none are where there is no such folder."""
    count = 0
    for _, _, files in os.walk(folder):
        count += len(files)
        if count > MOST_FILES:
            return True
    return False


def _from_disk(path: Path) -> str:
    """The command that makes a Parquet file of what save_to_disk wrote: of one split, where there are several."""
    folders = sorted(one.name for one in path.iterdir() if one.is_dir())
    several = folders and (path / "dataset_dict.json").is_file()
    split = f"[{('train' if 'train' in folders else folders[0])!r}]" if several else ""
    script = f"import datasets; datasets.load_from_disk({str(path)!r}){split}.to_parquet('rows.parquet')"
    return f'make a file of it: python -c "{script}"'


def _not_read(path: Path, file: str) -> UsageError:
    """The error of a file that is not read: what it is, where that tells more than its name, and what to do with it."""
    suffix, content = path.suffix.lower(), content_of(path)
    if content is not None and suffix not in content.suffixes:
        return UsageError(f"{path} is {content.name}", content.way(path))
    packed = "decompress it first" if suffix in _PACKED else WRITE
    return UsageError(f"{path} is not {file}", content.way(path) if content else packed)


def _data_files(folder: Path) -> Iterable[Path]:
    """What may be data of a repository: at its top, or in the folders there, as the Hub's are laid out."""
    for depth in ("*", "*/*"):
        for path in folder.glob(depth):
            if "".join(path.suffixes[-2:]).lower() in _REPOSITORY_FILES or path.suffix.lower() in _REPOSITORY_FILES:
                yield path


def is_known_by_name(dataset: str) -> bool:
    """Whether a dataset is bundled or in the registry, so that its columns are known."""
    return dataset in BUNDLED or dataset in REGISTRY


def split_of(dataset: str, split: Split) -> Split:
    """The split that is read when `split` is asked for: another one where the dataset has no such."""
    return listed(dataset, split)[0] if dataset in REGISTRY else split


def has_held_out_problems(dataset: str) -> bool:
    """Whether a dataset that is trained on has problems besides those."""
    splits = BUNDLED[dataset].files if dataset in BUNDLED else REGISTRY.get(dataset, {})
    return {"train", "test"} <= splits.keys()


def flags_of_benchmark(config: RunConfig, name: str | None = None) -> list[str]:
    """The flags that `eval` needs to find the problems of a benchmark; FILE where nothing says which file it was.

    Args:
        config: The run's.
        name: The benchmark's short name, with the tag of the evaluation where it has one; what the run is evaluated on
            by itself unless given.
    """
    if name is None:
        return [] if len(_measurable(config)) == len(config.benchmarks) else ["--benchmark", "FILE"]
    parts = name.split(".")
    for length in range(len(parts), 0, -1):  # a short name may have a dot in it, too
        short, tag = ".".join(parts[:length]), ".".join(parts[length:])
        given = next((given for given in _measurable(config) if source_name(given) == short), None)
        if given or is_known_by_name(short):
            return ["--benchmark", given or short, *(["--tag", tag] if tag else [])]
    return ["--benchmark", "FILE"]


def _measurable(config: RunConfig) -> list[str]:
    """The benchmarks of a run but a data set that it trains on and that has no held-out problems."""
    trained_on = config.prepare.dataset
    return [name for name in config.benchmarks if name != trained_on or has_held_out_problems(name)]


def _from_file(
    name: str,
    path: Path,
    task: str,
    split: Split,
    asked_for: Columns = (None, None),
    first: Columns = (None, None),
    *,
    own_instruction: bool = False,
    most: int | None = None,
) -> Source:
    table = open_rows(path, most)
    columns = columns_in(table, split, asked_for, first)
    problems, goes_on = problems_of(table, *columns, most)
    with open(path, "rb") as file:
        content_id = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    made = Source(name, task, split, problems, content_id, own_instruction, table=table, answers=columns[1])
    return replace(made, goes_on=goes_on)


def _from_hub(name: str, place: Place, split: Split, asked_for: Columns, first: Columns) -> Source:
    table = open_hub(place, split)
    columns = columns_in(table, split, asked_for, first)
    problems, _ = problems_of(table, *columns)
    return Source(name, "math", split, problems, _content_id(problems), table=table, answers=columns[1])


# -- datasets known by name -------------------------------------------------------------------------------------------


def _from_registry(name: str, split: Split, data_dir: str | None) -> Source:
    split, entry = listed(name, split)
    sample, table, place = False, None, lambda index: f"{entry.repository} row {index} (counted from 0)"
    if not data_dir:
        where = entry.repository
        rows = read_hub(
            Place(entry.repository, config=entry.config), entry.split, [entry.prompt, entry.answer], stream=entry.stream
        )
    else:
        path, sample = _file_of(name, entry, Path(data_dir))
        table = open_rows(path)
        place = table.place
        where, rows = str(path), _rows_of(table, entry)
    if len(rows) != entry.rows and not sample:
        raise DataError(
            f"{where} has {counted(len(rows), 'row')} and {name} ({split}) has {entry.rows}",
            f"get the whole file; a part of it has to be called {entry.files[0]}_sample.jsonl"
            if data_dir
            else "the copy on the Hub has changed: name it with its columns, owner/name:config/split",
        )
    columns = _columns_of(entry, rows[0] if rows else {}, where)
    problems = [_cleaned(problem, entry) for problem in read_problems(rows, *columns, place)]
    expected = entry.rows if sample else None
    made = Source(name, "math", split, problems, _content_id(problems), expected_rows=expected, table=table)
    return replace(made, answers=columns[1])


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


def _rows_of(table: Rows, entry: Listed) -> list[dict[str, Any]]:
    return list(table.read(_columns_of(entry, table.first, table.where)))


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
    text, answer = entry.clean(problem.text, problem.answer)
    return replace(problem, text=text, answer=answer)


def _content_id(problems: Sequence[Problem]) -> str:
    text = json.dumps([(problem.text, problem.answer) for problem in problems], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
