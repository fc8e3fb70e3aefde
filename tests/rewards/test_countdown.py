import ast
import itertools
import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.countdown import CountdownReward, Puzzle, evaluate, judge, parse_puzzle, tokenize
from rsgrpo_cli.rewards.types import Sample, Status, Verdict

PUZZLE = parse_puzzle("3 5 7 2 -> 24")


def test_a_puzzle_is_numbers_and_a_target() -> None:
    assert parse_puzzle("3 5 7 2 -> 24") == Puzzle((2, 3, 5, 7), 24)
    assert parse_puzzle(" 1  2->-1 ") == Puzzle((1, 2), -1)


@pytest.mark.parametrize(
    "text", ["", "24", "3 5 7 2", "-> 24", "3 5 -> x", "3, 5 -> 8", "3 -5 -> -2", "1" * 10 + " -> 1"]
)
def test_anything_else_is_no_puzzle(text: str) -> None:
    with pytest.raises(DataError, match="countdown puzzle"):
        parse_puzzle(text)
    (complaint,) = CountdownReward().check_ground_truth([text])
    assert complaint


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("3*7+5-2", Status.OK),  # 21 + 5 - 2
        (r"3 \times 7 + 5 − 2", Status.OK),
        (r"3\cdot7+\left(5-2\right)", Status.OK),
        ("(((3*7)))+(5-2)", Status.OK),
        ("3+5+7+2", Status.WRONG),  # 17
        ("24", Status.UNPARSABLE),
        ("3*7+5-2=24", Status.UNPARSABLE),
        ("3*7+5", Status.UNPARSABLE),  # 2 is not used
        ("3*7+5-2+2-2", Status.UNPARSABLE),  # 2 is used three times
        ("37+5-2", Status.UNPARSABLE),  # no gluing of digits
        ("3*7+5-+2", Status.UNPARSABLE),
        ("-2+3*7+5", Status.UNPARSABLE),  # a unary minus, though the value is right
        ("3(7)+5-2", Status.UNPARSABLE),
        ("3*7+(5-2", Status.UNPARSABLE),
        ("3*7)+5-2", Status.UNPARSABLE),
        ("3*7+5-2;", Status.UNPARSABLE),
        ("3**7+5-2", Status.UNPARSABLE),
        ("__import__('os')", Status.UNPARSABLE),
        ("(" * 5000, Status.TOO_LONG),
        ("(" * 400 + "3*7+5-2" + ")" * 400, Status.UNPARSABLE),
        ("9" * 999, Status.UNPARSABLE),
    ],
)
def test_judging(answer: str, status: Status) -> None:
    assert judge(answer, PUZZLE) is status


def test_division_is_exact_and_never_by_zero() -> None:
    assert judge("8/(3-8/3)", parse_puzzle("8 3 8 3 -> 24")) is Status.OK  # 8 / (1/3)
    assert judge("7/2", parse_puzzle("7 2 -> 3")) is Status.WRONG
    assert judge("5/(2-2)", parse_puzzle("5 2 2 -> 5")) is Status.UNPARSABLE


def test_verdicts() -> None:
    samples = [
        Sample(r"\boxed{3*7+5-2}", "3 5 7 2 -> 24"),
        Sample("3*7+5-2", "3 5 7 2 -> 24"),
        Sample(r"\boxed{3*7", "3 5 7 2 -> 24", finish_reason="length"),
        Sample("<think>", "3 5 7 2 -> 24"),
    ]
    assert CountdownReward()(samples) == [
        Verdict(1.0, Status.OK, "3*7+5-2"),
        Verdict(0.0, Status.NO_BOX),
        Verdict(0.0, Status.TRUNCATED),
        Verdict(0.0, Status.THINK_UNCLOSED),
    ]


expressions = st.recursive(
    st.integers(0, 30).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner, st.booleans()).map(
        lambda parts: f"({parts[0]}{parts[1]}{parts[2]})" if parts[3] else f"{parts[0]}{parts[1]}{parts[2]}"
    ),
    max_leaves=12,
)
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def by_python(node: ast.expr) -> Fraction:
    """An independent evaluator: Python's own parser, then fractions."""
    if isinstance(node, ast.BinOp):
        return Fraction(OPERATIONS[type(node.op)](by_python(node.left), by_python(node.right)))
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int)
    return Fraction(node.value)


@given(expressions)
def test_values_agree_with_pythons_grammar(expression: str) -> None:
    try:
        expected = by_python(ast.parse(expression, mode="eval").body)
    except ZeroDivisionError:
        expected = None
    tokens = tokenize(expression)
    assert tokens is not None
    assert evaluate(tokens) == expected


@given(st.lists(st.sampled_from(["1", "2", "+", "-", "*", "/", "(", ")"]), max_size=9))
def test_what_python_cannot_parse_has_no_value(tokens: list[str]) -> None:
    """And what it can, has one, but for unary signs, calls such as `1(2)`, `**` and `//`: not of this grammar."""
    try:
        expected: Fraction | None = by_python(ast.parse("".join(tokens), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, AssertionError, KeyError):
        expected = None
    glued = any(left.isdigit() and right.isdigit() for left, right in itertools.pairwise(tokens))
    if not glued:
        assert evaluate(tokens) == expected


@given(st.text(max_size=40))
def test_any_text_has_a_status(answer: str) -> None:
    assert judge(answer, PUZZLE) in {Status.OK, Status.WRONG, Status.UNPARSABLE}
