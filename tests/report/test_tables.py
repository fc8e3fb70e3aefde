"""Tables for the screen: their cells, and that no number is cut at 60 columns."""

from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from rsgrpo_cli.report.comparison import compare
from rsgrpo_cli.report.evaluations import macro_mean
from rsgrpo_cli.report.tables import (
    comparison_table,
    difficulties,
    estimators_table,
    evaluation_table,
    macro_table,
    passk_table,
    with_interval,
)
from tests.report.test_evaluations import FIRST, SECOND, evaluation
from tests.tables import summary


def lines(table: Table, width: int = 200) -> list[list[str]]:
    """The cells of a table as it is printed, row by row, without its title and rules."""
    console = Console(width=width, record=True, force_terminal=False)
    with console.capture() as printed:
        console.print(table)
    rows = [line.split("  ") for line in printed.get().splitlines()]
    return [[cell.strip() for cell in row if cell.strip()] for row in rows]


def test_a_value_with_its_interval() -> None:
    assert with_interval({"value": 0.4, "ci_low": 0.36, "ci_high": 0.4444}) == "0.400 [0.360, 0.444]"
    assert with_interval({"value": 0.4, "ci_low": None, "ci_high": None}) == "0.400"
    assert with_interval(None) == ""


def test_policies_side_by_side() -> None:
    rows = lines(passk_table([("one", FIRST), ("two", SECOND)], [1, 4, 8]))
    assert rows[0] == ["puzzles: 4 problems, 4 samples each; 95% over problems"]
    assert ["policy", "pass@1", "pass@4", "pass@8"] in rows
    assert ["one", "0.500 [0.400, 0.600]", "0.500 [0.400, 0.600]"] in rows  # no pass@8: an empty cell


def test_other_numbers_of_samples_get_a_column() -> None:
    rows = lines(passk_table([("one", FIRST), ("two", evaluation("x", {"a": 1}, samples=8))], [1]))
    assert ["policy", "samples", "pass@1"] in rows
    assert ["two", "8", "0.500 [0.400, 0.600]"] in rows


def test_one_evaluation_with_both_kinds_of_error() -> None:
    values = {("pass", 1): 0.5, ("pass", 4): 0.75, ("maj", 1): 0.5, ("completion_tokens", None): 12.0}
    rows = lines(evaluation_table(replace(FIRST, summary=summary(4, values)), [1, 4]))
    assert "temperature 1, top_p 1" in rows[0][0]
    assert ["pass@4", "0.750", "-", "0.650 .. 0.850"] in rows  # 4 of 4 samples: no sampling error can be told
    assert ["completion tokens", "12.000", "11.900 .. 12.100"] in rows
    assert not [row for row in rows if row and row[0] == "maj@4"]


def test_a_comparison() -> None:
    rows = lines(comparison_table(compare(FIRST, SECOND, [1])))
    assert rows[0] == ["puzzles: second@3 against first@3, 4 problems, 4 samples each, paired"]
    (row,) = [row for row in rows if row and row[0] == "pass@1"]
    assert row[1:4] == ["0.438", "0.438", "+0.000"]
    assert row[-1] == "2 / 1 / 1"


def test_what_rounds_to_nothing_has_no_minus() -> None:
    result = compare(FIRST, SECOND, [1])
    result["differences"][0] |= {"difference": -0.0004, "ci_low": -0.2, "ci_high": -0.0001}
    (row,) = [row for row in lines(comparison_table(result)) if row and row[0] == "pass@1"]
    assert row[3:5] == ["+0.000", "-0.200 .. +0.000"]


def test_a_mean_over_benchmarks() -> None:
    both = [FIRST, replace(evaluation("first", {"z": 3}), benchmark="sums")]
    rows = lines(macro_table(both, macro_mean(both, [1])))
    assert rows[0] == ["macro mean of 2 benchmarks, 5 problems"]
    (row,) = [row for row in rows if row and row[0] == "pass@1"]
    assert (row[1], row[-2:]) == ("0.594", ["0.500", "0.500"])


@pytest.fixture
def estimators() -> dict[str, object]:
    """What `advantage --compare` hands over."""
    method = {"label": "grpo", "rms": 0.5, "lowest": -1.0, "highest": 2.0, "effective_sample_size": 3.4}
    method |= {"silent_groups": 0.5, "share_by_difficulty": [0.25, 0.75]}
    facts = {"step": 3, "completions": 8, "groups": 2, "constant_groups": 0.5, "difficulty_edges": [0.0, 0.5, 1.0]}
    return facts | {"methods": [method]}


def test_estimators_side_by_side(estimators: dict[str, object]) -> None:
    rows = lines(estimators_table(estimators))
    assert rows[0] == ["step 3: 8 completions in 2 groups, 50% of them constant"]
    assert difficulties(estimators) == ["0..0.5", "0.5..1"]
    assert ["grpo", "0.500", "-1.000", "2.000", "3", "50%", "25%", "75%"] in rows


@pytest.mark.parametrize("width", [60, 80])
def test_every_number_is_whole_on_a_narrow_terminal(width: int) -> None:
    text = " ".join(cell for row in lines(passk_table([("one", FIRST)], [1, 4]), width) for cell in row)
    assert text.count("0.500") == 2
    assert "…" not in text
