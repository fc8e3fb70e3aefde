"""Data files as people have them: other encodings, other formats, columns that are not needed."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.errors import DataError, MissingError, UsageError
from rsgrpo_cli.tasks import files
from rsgrpo_cli.tasks.files import BATCH_ROWS, open_rows, read_rows
from rsgrpo_cli.tasks.sources import load_source, source_name

ROW = '{"problem": "Précis: 2+3?", "answer": "5"}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_by_its_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((ROW * 2).encode(encoding))
    assert read_rows(path) == [{"problem": "Précis: 2+3?", "answer": "5"}] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"problem": "x"}\n' + ROW.encode("latin-1"),
            r"line 2 is not UTF-8: it has the byte 0xe9\n  save it as UTF-8",
        ),
        ('{"problem": "x"}'.encode("utf-16-le"), r"line 1 is not JSON.*\n  it may be UTF-16 without its mark"),
        (ROW.encode("utf-16-le"), r"line 1 is not UTF-8.*\n  it may be UTF-16 without its mark"),
        (b"\xff\xfe{\x00\xd8", "begins as UTF-16 does and is not"),
        (gzip.compress(ROW.encode(), mtime=0), r"a.jsonl is a gzip file\n  decompress it first: gzip -dc"),
        (b"[" * 200_000, "line 1 is nested too deep"),
        (
            b'{"problem": "x", "answer": ' + b"9" * 5000 + b"}",
            r"line 1 cannot be read: Exceeds the limit .*\n  write it",
        ),
        (b'[\n{"problem": "x"}\n]', r"line 1 is not JSON.*\n  .*jq -c"),
        (b'[{"problem": "x"}]', r"line 1 is not a JSON object\n  .*jq -c '\.\[\]'"),
        (b'{\n"problem": "x"\n}\n{\n"problem": "y"\n}', r"line 1 is not JSON.*\n  .*jq -c \. .*a.jsonl"),
        (b'{"problem": "x", "answer": "7"', r"line 1 is not JSON.*\n  the line ends too early"),
        (b'{"problem": "x"}\n{"problem": "y', r"line 2 is not JSON.*\n  the line ends too early"),
        (
            b'{"problem": "x"} {"problem": "y"}',
            r"line 1 is not JSON: Extra data\n  a row is one JSON object on one line",
        ),
        (b"\n \n", "has no rows"),
    ],
)
def test_what_is_no_jsonl_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_rows(path)
    assert "\n" not in error.value.message


def test_of_parquet_only_the_columns_that_are_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Recording(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
        def iter_batches(self, *arguments: Any, **options: Any) -> Any:
            asked.append(options["columns"])
            return super().iter_batches(*arguments, **options)

    monkeypatch.setattr(pq, "ParquetFile", Recording)
    path = tmp_path / "a.parquet"
    gold = {"ground_truth": "4", "style": "rule"}
    pq.write_table(pa.Table.from_pylist([{"problem": "3+1?", "reward_model": gold, "tests": [{"blob": "a"}]}]), path)
    assert load_source(str(path), "train").problems[0].answer == "4"
    assert asked == [["problem", "reward_model.ground_truth"]]
    rows = open_rows(path)
    assert rows.shape["tests"] == [{"blob": None}]  # known without being read
    assert list(rows.read(["reward_model.ground_truth"])) == [{"reward_model": {"ground_truth": "4"}}]
    assert next(iter(rows.read(None)))["tests"] == [{"blob": "a"}]


def test_damaged_parquet_and_parquet_that_may_not_be_read_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_rows(path)

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    with pytest.raises(DataError, match=r"cannot be read: Permission denied\n  check its permissions"):
        read_rows(path)


def test_no_more_rows_are_read_than_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"problem": f"{number}+1?", "answer": f"{number + 1}"} for number in range(4 * BATCH_ROWS)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:11]) + "what is not JSON\n")
    read = []

    class Counting(pq.ParquetFile):  # type: ignore[misc]
        def iter_batches(self, *arguments: Any, **options: Any) -> Any:
            for batch in super().iter_batches(*arguments, **options):
                read.append(len(batch))
                yield batch

    monkeypatch.setattr(pq, "ParquetFile", Counting)
    for name in ("a.parquet", "a.jsonl"):
        source = load_source(str(tmp_path / name), "train", most=10)
        assert [problem.answer for problem in source.problems] == [row["answer"] for row in rows[:10]]
        assert source.goes_on
    assert sum(read) == BATCH_ROWS
    whole = load_source(str(tmp_path / "a.parquet"), "train", most=len(rows))
    assert (len(whole.problems), whole.goes_on) == (len(rows), False)
    with pytest.raises(DataError, match="line 12 is not JSON"):
        load_source(str(tmp_path / "a.jsonl"), "train")


def test_columns_may_come_up_in_later_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": {"b": 1, "c": 2}}\n{"a": {"b": 3}, "image": "x.png"}\n')
    assert open_rows(path).shape.keys() == {"a", "image"}
    assert open_rows(path).first.keys() == {"a"}
    assert read_rows(path, ["a.b"]) == [{"a": {"b": 1}}, {"a": {"b": 3}}]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "there.json",
            UsageError,
            r"there.json is not a .jsonl or .parquet file\n  make one object per line of it: jq",
        ),
        ("there.csv", UsageError, r"not a .jsonl or .parquet file\n  make JSONL of it: python -c"),
        ("data/there.json", UsageError, "not a .jsonl or .parquet file"),
        ("data/none.json", MissingError, "no dataset file at data/none.json"),
        ("there.jsonl.gz", UsageError, "decompress it first"),
        ("empty", UsageError, "directory empty has no dataset in it"),
        (
            "saved",
            UsageError,
            r"was written by save_to_disk.*\n.*load_from_disk\('saved'\)\.to_parquet\('rows.parquet'\)\"",
        ),
        ("splits", UsageError, r"load_from_disk\('splits'\)\['train'\]\.to_parquet"),
        ("folder.jsonl", UsageError, "folder.jsonl is a directory with the name of a file"),
        ("nothing", UsageError, "unknown dataset 'nothing'"),
    ],
)
def test_what_is_no_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "empty", "saved", "folder.jsonl", "splits/test", "splits/train"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("there.json", "data/there.json", "saved/state.json", "splits/dataset_dict.json"):
        (tmp_path / file).write_text("[]")
    (tmp_path / "there.csv").write_text("problem,answer\n1+1,2\n")
    (tmp_path / "there.jsonl.gz").write_bytes(gzip.compress(b"[]"))
    with pytest.raises(error, match=message):
        load_source(name, "train")


def test_a_directory_with_too_many_files_is_not_walked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsgrpo_cli.tasks.sources.MOST_FILES", 2)
    (tmp_path / "below").mkdir()
    for name in ("a.jsonl", "below/b", "below/c"):
        (tmp_path / name).write_text('{"problem": "1+1?", "answer": "2"}\n')
    for place in (tmp_path, f"{tmp_path}:default/train"):
        with pytest.raises(UsageError, match=r"has more than 2 files.*\n  give a .jsonl or .parquet file, or a folder"):
            load_source(str(place), "train")


def test_the_root_directory_is_no_dataset() -> None:
    with pytest.raises(UsageError):
        load_source(os.sep, "train")


def test_columns_of_a_dataset_known_by_name_cannot_be_chosen() -> None:
    with pytest.raises(UsageError, match=r"toy is known by name, and --prompt-column nonsense would change nothing"):
        load_source("toy", "train", prompt_column="nonsense")
    with pytest.raises(UsageError, match="--answer-column nonsense"):
        load_source("gsm8k", "test", answer_column="nonsense")


def test_a_name_in_another_script_is_still_a_name() -> None:
    names = {source_name("задачи.jsonl"), source_name("数学.jsonl"), source_name("/")}
    assert len(names) == 3
    assert all(name.startswith("dataset-") for name in names)
    assert source_name("a.JSONL") == "a"


def test_names_that_differ_in_letters_with_accents_stay_apart() -> None:
    names = [source_name(f"d/{stem}.jsonl") for stem in ("a", "aä", "aö", "épreuves", "épreuve s")]
    assert names[0] == "a"
    assert len({*names}) == len(names)
    assert names[3].startswith("preuves-")
    # The same letter in two pieces, as other systems write it into a file's name.
    assert source_name("a\u0308.jsonl") == source_name("\u00e4.jsonl")
    assert source_name("a – b.jsonl") == "a-b"  # a dash is no letter


def test_large_rows_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sizes = tmp_path / "a.parquet", list[tuple[int, int]]()
    pictures = [{"bytes": bytes([number]) * 1000, "path": None} for number in range(100)]
    table = pa.table({"problem": [str(number) for number in range(100)], "image": pictures})
    pq.write_table(table, path, use_dictionary=False, compression="none")

    class Recording(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.buffer = options.get("buffer_size", 0)

        def iter_batches(self, rows: int, **options: Any) -> Any:
            sizes.append((rows, self.buffer))
            return super().iter_batches(rows, **options)

    monkeypatch.setattr(pq, "ParquetFile", Recording)
    monkeypatch.setattr(files, "_BATCH_BYTES", 10_000)
    assert len(list(open_rows(path).read(["image"]))) == 100
    assert len(list(open_rows(path).read(["problem"]))) == 100
    (rows, buffer), (all_rows, _) = sizes
    assert (5 <= rows <= 10, buffer > 0, all_rows) == (True, True, 256)


@pytest.mark.parametrize("row_group_size", [1, 3, 100])
def test_which_rows_have_images_is_read_only_where_it_is_not_noted(tmp_path: Path, row_group_size: int) -> None:
    path, big = tmp_path / "a.parquet", b"x" * 9000
    pictures = [
        {"bytes": big},
        {"bytes": b"x"},
        {"bytes": big},
        None,
        {"bytes": None},
        None,
        {"bytes": None},
        {"bytes": big},
    ]
    lists = [[], None, [{"bytes": big}], [], [], [], [{"bytes": None}], [None]]
    shapes = {"one": pa.struct([("bytes", pa.binary())]), "many": pa.list_(pa.struct([("bytes", pa.binary())]))}
    table = pa.table({"one": pictures, "many": lists}, schema=pa.schema(shapes)).append_column(
        "has", pa.array([False] * 7 + [True])
    )
    pq.write_table(table, path, row_group_size=row_group_size)
    rows = open_rows(path)
    assert list(rows.filled(["one"])) == [True, True, True, False, False, False, False, True]
    assert list(rows.filled(["many"])) == [False, False, True, False, False, False, False, False]
    assert list(rows.filled(["has"])) == [False] * 7 + [True]
    assert list(rows.filled(["one", "many"])) == [True, True, True, False, False, False, False, True]


def test_images_are_not_read_where_every_row_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"problem": ["a", "b"], "image": [{"bytes": b"x" * 9000}] * 2}), path)
    rows = open_rows(path)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a column of images was read")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", refuse)
    assert list(rows.filled(["image"])) == [True, True]


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Whichever was taken, it might be the wrong one."""
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    lines.write_text('{"problem": "1 + 1?", "answer": "2"}\n{"problem": "2 + 1?", "answer": "3", "answer": "4"}\n')
    with pytest.raises(DataError, match=r"line 2 has 'answer' twice"):
        read_rows(lines)
    pq.write_table(pa.Table.from_arrays([pa.array(["2"]), pa.array(["3"])], names=["answer", "answer"]), table)
    with pytest.raises(DataError, match=r"two columns named 'answer'"):
        open_rows(table)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"problem": "1 + 1?", "answer": "2"}\0\0\n', "NUL characters"),
        ("{\0}\0\n\0", "UTF-16"),
    ],
)
def test_zero_bytes_are_told_from_utf_16(tmp_path: Path, text: str, hint: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(DataError) as refused:
        read_rows(path)
    assert hint in refused.value.hint
