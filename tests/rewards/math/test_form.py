from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.rewards.math.form import (
    Measure,
    components,
    integer,
    is_label,
    is_symbol,
    is_words,
    key,
    rational,
    relation,
    same_values,
    split_unit,
    values,
)


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("42", ["42"]),
        ("1,2;3", ["1", "2", "3"]),
        (r"\{1,2\}", ["1", "2"]),
        (r"\{1,2\} \cup \{3\}", [r"\{1,2\} \cup \{3\}"]),
        ("(1,2)", ["(1,2)"]),
        ("(1,2),(3,4)", ["(1,2)", "(3,4)"]),
        ("[0,1)", ["[0,1)"]),
        ("f(x,y)", ["f(x,y)"]),
        (r"6 \text{ and } 8", ["6", "8"]),
        ("6 or 8", ["6", "8"]),
        (r"5 \text{ (or } -5)", [r"5 \text{ (or } -5)"]),
        ("(11,7)or(7,11)", ["(11,7)", "(7,11)"]),
        (r"\{2, 2, 3\}", ["2", "3"]),
        (r"3,5,\text{ and }7", ["3", "5", "7"]),
        (r"\pm 3", ["3", "-3"]),
        (r"1 \pm \sqrt{2}", [r"1 + \sqrt{2}", r"1 - \sqrt{2}"]),
        (r"a \pm b \pm c", [r"a \pm b \pm c"]),
        ("", []),
    ],
)
def test_values_of_a_list(text: str, listed: list[str]) -> None:
    assert values(text) == listed


def test_tuples_and_intervals_have_components() -> None:
    assert components("(1, 2)") == ("(", ["1", "2"], ")")
    assert components("[0,f(1,2))") == ("[", ["0", "f(1,2)"], ")")
    assert components("(1)") is None
    assert components("(1,2) \\cup (3,4)") is None
    assert components("") is None


def test_integers_are_compared_as_digits() -> None:
    assert integer("025") == integer("+25") == "25"
    assert integer("-0") == "0"
    assert integer("- 3") == "-3"
    assert integer("9" * 5000) == "9" * 5000  # more digits than int() takes
    assert integer("1.0") is None


@given(st.integers(), st.integers(1))
def test_fractions_are_exact(numerator: int, denominator: int) -> None:
    value = Fraction(numerator, denominator)
    assert rational(f"\\frac{{{numerator}}}{{{denominator}}}") == value
    assert rational(f"{numerator}/{denominator}") == value
    assert rational(f"-\\frac{{{numerator}}}{{{denominator}}}") == -value


def test_a_zero_below_the_line_is_no_fraction() -> None:
    assert rational(r"\frac{1}{0}") is None


@pytest.mark.parametrize("text", [r"\text{east}", "Yes", "(ii)", "C", r"\text{June 20}"])
def test_words(text: str) -> None:
    assert is_words(text)


@pytest.mark.parametrize("text", ["42", "2x", "x+y", r"5\text{ cm}", r"\frac{a}{b}", r"\pi"])
def test_no_words(text: str) -> None:
    assert not is_words(text)


@pytest.mark.parametrize("side", ["x", "a_1", "a_{12}", "f(x)", r"\theta", "(x,y)", r"\text{Area}", "f'"])
def test_symbols(side: str) -> None:
    assert is_symbol(side)
    assert is_label(side)


@pytest.mark.parametrize(
    ("side", "label"),
    [
        ("m+n", True),
        ("f(2)", True),
        ("AB", True),
        ("41", False),
        ("2x", False),
        ("x+y", False),
        ("xy", False),
        ("x_1+x_2", True),
    ],
)
def test_labels(side: str, label: bool) -> None:
    assert is_label(side) is label
    assert not is_symbol("1+1")


def test_relations_are_split_outside_brackets_only() -> None:
    assert relation("x = 5") == ["x", "5"]
    assert relation(r"x \in [0,1)") == ["x", "[0,1)"]
    assert relation(r"x = \frac{84}{2} = 42") == ["x", r"\frac{84}{2}", "42"]
    assert relation(r"\sum_{k=1}^n k") == [r"\sum_{k=1}^n k"]
    assert relation("x <= 5") == ["x <= 5"]


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        (r"5\text{ cm}^2", "5", "cm"),
        (r"5 \text{ centimeters}", "5", "cm"),
        ("5 cm", "5", "cm"),
        ("42 ways", "42", "ways"),
        (r"16\pi cm", r"16\pi", "cm"),
        ("5 m", "5 m", ""),  # may be a product
        ("3abc", "3abc", ""),
        ("2 sin x", "2 sin x", ""),
        ("x", "x", ""),
    ],
)
def test_units(text: str, value: str, unit: str) -> None:
    found = split_unit(text)
    assert (found.value, found.unit) == (value, unit)


def test_a_unit_has_its_power() -> None:
    assert split_unit(r"5\text{ cm}^2").power == split_unit(r"5\text{ square cm}").power == 2
    assert split_unit(r"5\text{ cm}").power == 1


def test_one_letter_is_a_unit_only_where_a_number_is_due() -> None:
    assert split_unit("5 m", numeric=True) == Measure("5", "m")
    assert split_unit("5 x", numeric=True) == Measure("5 x")


def test_what_a_gold_lists_twice_an_answer_lists_twice() -> None:
    assert same_values("112", "121")
    assert not same_values("112", "122")
    assert not same_values("11", "1")
    assert not same_values("12", "13")
    assert same_values("12", "211")  # a set has no repetitions


def test_white_space_counts_between_letters_and_digits_alone() -> None:
    assert key("x ^2 + 1") == key("x^2+1")
    assert key("4 2") != key("42")
    assert key(r"\pi r") != key(r"\pir")
