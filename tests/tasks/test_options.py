"""Answers that are numbers of options in another column, as `prepare` meets them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli

CITIES, NUMBERS = ["Paris", "Rome", "Oslo", "Bern"], ["3", "4", "5", "6"]
PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


def prepared(cli: Cli, rows: list[tuple[str, list[str], Any]]) -> tuple[int, str]:
    named = [{"question": question, "choices": choices, "answer": answer} for question, choices, answer in rows]
    Path("quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    result = cli("prepare", "--run", "runs/x", "--dataset", "quiz.jsonl")
    return result.code, " ".join(result.err.split())


@pytest.mark.parametrize(
    ("answers", "counted"),
    [
        ([2, 0], ", counted from 0:"),
        ([4, 1], ", counted from 1:"),
        (["2", "1"], ":"),
        ([3.0, 0.0], ", counted from 0:"),
    ],
)
def test_numbers_of_options_are_refused_with_their_base(cli: Cli, answers: list[Any], counted: str) -> None:
    rows = [("Where is the Louvre?", CITIES, answers[0]), ("Where is the Forum?", CITIES, answers[1])]
    code, said = prepared(cli, rows)
    assert code == 1
    told = (
        f"the answer {int(float(answers[0]))} seems to be the number of an option{counted} the column choices has Paris"
    )
    assert told in said
    assert "quiz.jsonl" in said
    assert "write the option itself" in said


@pytest.mark.parametrize(
    "rows",
    [
        [("What is 1+2?", NUMBERS, 3), ("What is 2+2?", NUMBERS, 4)],  # the option itself
        [("What is 1+2?", [f"${n}$" for n in NUMBERS], 3), ("What is 2+2?", ["$4$", "$5$"], 2)],  # one row may be odd
        [("Where?\n1) Paris\n2) Rome", CITIES[:2], 2), ("Who?\n1) Ann\n2) Bob", ["Ann", "Bob"], 1)],  # numbered
        [("How many sides has a cube?", CITIES, 6), ("And a die?", CITIES, 1)],  # 6 numbers none of four
        [("Where is the Louvre?", CITIES, "Paris"), ("Where is the Forum?", CITIES, "Rome")],
    ],
)
def test_other_answers_beside_options_are_prepared(cli: Cli, rows: list[tuple[str, list[str], Any]]) -> None:
    code, said = prepared(cli, rows)
    assert code == 0, said


def test_the_script_of_the_page_makes_letters(cli: Cli) -> None:
    assert prepared(cli, [("Where is the Louvre?", CITIES, 0), ("Where is Lake Mjosa?", CITIES, 2)])[0] == 1
    script = next(code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "FIRST" in code)
    exec(script, {})
    rows = [json.loads(line) for line in Path("quiz-letters.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == ["A", "C"]
    assert "C) Oslo" in rows[1]["problem"]
    assert cli("prepare", "--run", "runs/y", "--dataset", "quiz-letters.jsonl").code == 0
