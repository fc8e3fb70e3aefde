import datetime
import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.tasks.golds import Gold, read_gold


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  x^2+1 ", "x^2+1"),
        ("[0, 1)", "[0, 1)"),
        (42, "42"),
        (42.0, "42"),
        (2.5, "2.5"),
        (0.00001, "0.00001"),
        (-1.5e-7, "-0.00000015"),
        (6.022e23, "602200000000000000000000"),
        (1e-60, r"1\times 10^{-60}"),
        (0.0, "0"),
        (Decimal("3.50"), "3.50"),
        (Decimal("1E+3"), "1000"),
        (float("inf"), r"\infty"),
        (float("-inf"), r"-\infty"),
        (True, "True"),
        (b"7", "7"),
    ],
)
def test_a_single_value_is_written_as_mathematics_is(value: Any, text: str) -> None:
    assert read_gold(value) == Gold(text, text)


@pytest.mark.parametrize("value", [None, "", " ", float("nan"), Decimal("NaN"), "nan", "NaN", "<NA>", [], [None], [[]]])
def test_a_gap_is_no_answer(value: Any) -> None:
    assert read_gold(value) == Gold("", "")


@pytest.mark.parametrize(
    "word",
    ["proof", "Proof.", "notfound", "Not found", "?", "--", "$$", "...", "Q.E.D.", "see solution", "略", "证明略。"],
)
def test_a_word_for_no_answer_is_none_but_for_an_own_function(word: str) -> None:
    assert read_gold(word) == Gold("", word)


@pytest.mark.parametrize(
    "word", ["none", "No", "unknown", "-x", "!", r"\emptyset", "∅", "proof by induction", "P", "(-)"]
)
def test_a_word_that_may_be_an_answer(word: str) -> None:
    assert read_gold(word).text == word


@pytest.mark.parametrize(
    ("value", "text", "stored"),
    [
        (["5"], "5", '["5"]'),
        ([["5"]], "5", '["5"]'),
        (["3", "-3"], "3, -3", '["3", "-3"]'),
        ([3, 0.00001], "3, 0.00001", "[3, 1e-05]"),
        (["1,000", "2"], "1000, 2", '["1,000", "2"]'),
        (["(1, 2)", r"\frac{1}{2}"], r"(1, 2), \frac{1}{2}", r'["(1, 2)", "\\frac{1}{2}"]'),
    ],
)
def test_a_list_is_several_values_and_json_for_an_own_function(value: Any, text: str, stored: str) -> None:
    assert read_gold(value) == Gold(text, stored)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"value": 3}, "COLUMN.KEY"),
        (datetime.date(2024, 1, 1), "the type date"),
        (b"\xff", "the type bytes"),
        ("4\0", "NUL"),
        (["4\0", "5"], "NUL"),
        ([3, None], "neither text nor a number"),
        ([[1, 2], [3, 4]], "neither text nor a number"),
        ([{"a": 1}], "neither text nor a number"),
    ],
)
def test_what_is_no_answer_is_said(value: Any, complaint: str) -> None:
    assert complaint in read_gold(value).complaint


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_in_digits_is_the_same_number(value: float) -> None:
    text = read_gold(value).text
    mantissa, _, exponent = text.partition(r"\times 10^{")
    assert Fraction(mantissa) * Fraction(10) ** int(exponent.removesuffix("}") or 0) == Fraction(Decimal(repr(value)))
    assert len(text) <= 65


@pytest.mark.parametrize("content", ["So \\boxed{2}.", [{"type": "text", "text": "So \\boxed{2}."}]])
def test_a_chat_answers_with_its_last_turn(content: Any) -> None:
    chat = [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": content}]
    assert read_gold(chat) == read_gold(json.dumps(chat)) == Gold("So \\boxed{2}.", "So \\boxed{2}.")
    assert "neither text nor a number" in read_gold(chat[:1]).complaint
    shared = [{"from": "human", "value": "What is 1 + 1?"}, {"from": "gpt", "value": content}]
    assert read_gold(shared) == read_gold(json.dumps(shared)) == read_gold(chat)
