import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.errors import DataError, MissingError, UsageError
from rsgrpo_cli.tasks import sources
from rsgrpo_cli.tasks.files import Rows
from rsgrpo_cli.tasks.sources import has_held_out_problems, load_source, source_name


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path.parent)


def rows(count: int, **columns: str) -> list[dict[str, Any]]:
    names = {"problem": "problem", "answer": "answer"} | columns
    return [{names["problem"]: f"problem {number}", names["answer"]: number} for number in range(count)]


def test_a_dataset_known_by_name_from_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "aime24.jsonl", rows(30))
    source = load_source("aime24", "test", data_dir=folder)
    assert (source.name, source.task, source.split, source.expected_rows) == ("aime24", "math", "test", None)
    assert (source.problems[7].text, source.problems[7].answer) == ("problem 7", "7")


def test_the_columns_of_the_hub_work_in_a_folder_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "amc23.jsonl", rows(40, problem="question"))
    assert load_source("amc23", "test", data_dir=folder).problems[0].text == "problem 0"
    pq.write_table(pa.Table.from_pylist(rows(30)), tmp_path / "aime25.parquet")
    assert len(load_source("aime25", "test", data_dir=folder).problems) == 30


@pytest.mark.parametrize(
    ("names", "answer"),
    [
        ({"problem": "Question", "answer": "Answer"}, "0"),
        ({"problem": "problem", "answer": "expected_answer"}, "0"),
        ({"problem": "PROBLEM", "answer": "answer", "Answer": "none of these"}, "0"),  # the usual spelling comes first
    ],
)
def test_usual_columns_in_capitals(tmp_path: Path, names: dict[str, str], answer: str) -> None:
    more = {name: text for name, text in names.items() if name not in ("problem", "answer")}
    made = [row | more for row in rows(2, problem=names["problem"], answer=names["answer"])]
    write(tmp_path / "mine.jsonl", made)
    first = load_source(str(tmp_path / "mine.jsonl"), "train").problems[0]
    assert (first.text, first.answer) == ("problem 0", answer)


def test_another_number_of_rows_is_an_error_except_in_a_sample(tmp_path: Path) -> None:
    folder = write(tmp_path / "aime24.jsonl", rows(29))
    with pytest.raises(DataError, match=r"aime24.jsonl has 29 rows and aime24 \(test\) has 30"):
        load_source("aime24", "test", data_dir=folder)
    write(tmp_path / "deepmath_sample.jsonl", rows(3))
    source = load_source("deepmath103k", "train", data_dir=folder)
    assert (len(source.problems), source.expected_rows) == (3, 103_110)


def test_a_whole_file_wins_over_a_sample(tmp_path: Path) -> None:
    write(tmp_path / "aime24_sample.jsonl", rows(2))
    folder = write(tmp_path / "aime24.jsonl", rows(30))
    assert load_source("aime24", "test", data_dir=folder).expected_rows is None


def test_other_columns_are_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "aime24.jsonl", rows(30, answer="label"))
    with pytest.raises(DataError, match=r"no columns problem and answer\n  columns: problem, label"):
        load_source("aime24", "test", data_dir=folder)


def test_a_folder_is_not_left_for_the_hub(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"has no gsm8k_train\.jsonl, the file of gsm8k"):
        load_source("gsm8k", "train", data_dir=str(tmp_path))
    with pytest.raises(MissingError, match="no folder nowhere"):
        load_source("gsm8k", "train", data_dir="nowhere")


def test_from_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def read_hub(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
        asked.append((*arguments, options))
        return [{"question": "p", "answer": "3 * 4 = 12\n#### 1,012"}] * 1319

    monkeypatch.setattr(sources, "read_hub", read_hub)
    source = load_source("gsm8k", "test")
    place, split, columns, options = asked[0]
    assert (place.repository, place.config, split) == ("openai/gsm8k", "main", "test")
    assert (columns, options) == (["question", "answer"], {"stream": False})
    assert source.problems[5].answer == "1012"
    # The same problems from a file have the same id.
    folder = write(tmp_path / "gsm8k_test.jsonl", [{"problem": "p", "answer": "1012"}] * 1319)
    assert load_source("gsm8k", "test", data_dir=folder).content_id == source.content_id
    with pytest.raises(DataError, match=r"openai/gsm8k has 1319 rows and gsm8k \(train\) has 7473"):
        load_source("gsm8k", "train")


def test_any_other_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = [{"role": "user", "content": "1+1?"}]
    row = {"data_source": "x", "prompt": chat, "reward_model": {"ground_truth": "2", "style": "rule"}}
    asked: list[Any] = []

    def read(columns: Any) -> Any:
        asked.append(columns)
        return iter([row])

    monkeypatch.setattr(sources, "open_hub", lambda place, split: Rows(place.repository, row, row, read))
    source = load_source("owner/name:main/validation", "train")
    assert (source.name, source.task) == ("owner-name-main-validation", "math")
    assert (source.problems[0].text, source.problems[0].answer) == (({"role": "user", "content": "1+1?"},), "2")
    load_source("owner/name", "train", prompt_column="prompt", answer_column="reward_model.ground_truth")
    assert asked == [["prompt", "reward_model.ground_truth"]] * 2
    with pytest.raises(UsageError, match=r"owner/name has no column 'reward_model\.gold'"):
        load_source("owner/name", "train", prompt_column="prompt", answer_column="reward_model.gold")


def test_names() -> None:
    assert source_name("math500") == "math500"
    assert source_name("some/folder/held out.jsonl") == "held-out"
    assert source_name("owner/DeepMath-1.5") == "owner-DeepMath-1.5"
    assert source_name("owner/name@v1:main/test") == "owner-name-v1-main-test"


def test_which_datasets_have_problems_to_hold_out() -> None:
    names = ("toy", "gsm8k", "math12k", "math500", "mine.jsonl")
    assert [has_held_out_problems(name) for name in names] == [True, True, False, False, False]


def test_half_a_surrogate_pair_is_named_by_its_line_and_a_whole_one_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text('{"problem": "\\ud83d\\ude00 + 1", "answer": "1"}\n')
    assert load_source(str(path), "train").problems[0].text == "\N{GRINNING FACE} + 1"
    path.write_text('{"problem": "x", "answer": "1"}\n{"problem": "\\uD83D", "answer": "1"}\n')
    with pytest.raises(DataError, match="line 2 has half of a surrogate pair"):
        load_source(str(path), "train")


def test_golds_of_a_table_are_read_by_their_type(tmp_path: Path) -> None:
    numbers, lists, gap = tmp_path / "n.parquet", tmp_path / "l.parquet", tmp_path / "gap.jsonl"
    pq.write_table(pa.table({"problem": ["a", "b"], "answer": [0.00001, float("nan")]}), numbers)
    assert [problem.answer for problem in load_source(str(numbers), "train").problems] == ["0.00001", ""]
    pq.write_table(pa.table({"problem": ["a", "b"], "answer": [["3", "-3"], ["5"]]}), lists)
    assert [problem.answer for problem in load_source(str(lists), "train").problems] == ["3, -3", "5"]
    gap.write_text('{"problem": "a", "answer": NaN}\n{"problem": "b", "answer": {"value": 3}}\n')
    found = load_source(str(gap), "train").problems
    assert found[0].answer == ""
    assert "COLUMN.KEY" in found[1].complaint
