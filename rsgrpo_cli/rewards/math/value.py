r"""Compares one value of a gold with one of an answer: `compare_values`, the one place for labels, units and percent.

It takes labels (`x =`, `f(2) =`) and units off, then decides by spelling and exact arithmetic. What is left needs
algebra. The main process has none and gets None; a worker process passes it in (`verifier`). String work, linear in the
text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from rsgrpo_cli.rewards.math.form import (
    components,
    decimal,
    integer,
    is_known_unit,
    is_label,
    is_symbol,
    key,
    letters,
    rational,
    relation,
    split_unit,
    without_percent,
)
from rsgrpo_cli.rewards.types import Status

Algebra = Callable[[str, str], bool]
"""Whether two bare values are equal."""

_NEAR = Fraction(1, 1000)
_IN_BASE = re.compile(r"(-?[0-9A-Z]+)_\{?(\d+)\}?")
_WITH_COLON = re.compile(r"\d+(?:\s*:\s*\d+)+")


def compare_values(gold: str, answer: str, algebra: Algebra | None = None) -> Status | None:
    """OK, WRONG or UNPARSABLE; None where only algebra could tell, and there is none.

    Args:
        gold: One value, normalised.
        answer: One value, normalised.
        algebra: Decides what spelling and arithmetic do not.
    """
    bare = bare_values(gold, answer)
    if bare is None:
        return Status.UNPARSABLE
    value, sides = bare
    decided = {_compare_bare(value, side, algebra) for side in sides}
    return Status.WRONG if Status.WRONG in decided else None if None in decided else Status.OK


def bare_values(gold: str, answer: str) -> tuple[str, list[str]] | None:
    """Take labels and units off one value of a gold and one of an answer.

    Returns:
        What of the gold every one of the answer's sides must equal (`x = 84/2 = 42` has two), or None where the answer
        is an equation that merely ends in a value (`41 = 42`, `x + 1 = 42`) or has another unit of measure.
    """
    sides = _without_labels(gold, answer)
    if sides is None:
        return None
    value, unit = split_unit(sides[0])
    numeric = not letters(value)
    parts = [split_unit(side, numeric=numeric) for side in sides[1]]
    if is_known_unit(unit) and any(is_known_unit(other) and other != unit for _, other in parts):
        return None
    return value, [side for side, _ in parts]


def _without_labels(gold: str, answer: str) -> tuple[str, list[str]] | None:
    golds, answers = relation(gold), relation(answer)
    if len(golds) > 1 and len(answers) > 1:
        same_label = len(golds) == len(answers) == 2 and is_symbol(golds[0]) and key(golds[0]) == key(answers[0])
        return (golds[1], answers[1:]) if same_label else (gold, [answer])
    if len(golds) == 2 and is_symbol(golds[0]):
        return golds[1], [answer]
    if len(golds) == 1 and len(answers) > 1:
        return (gold, answers[1:]) if is_label(answers[0]) and all(answers) else None
    return gold, [answer]


def compare_exactly(gold: str, answer: str) -> Status | None:
    """OK or WRONG by spelling and exact arithmetic; None where these do not tell."""
    if key(gold) == key(answer):
        return Status.OK
    whole_gold, whole_answer = integer(gold), integer(answer)
    if whole_gold is not None and whole_answer is not None:
        return Status.OK if whole_gold == whole_answer else Status.WRONG
    exact_gold, exact_answer = rational(gold), rational(answer)
    if exact_gold is not None and exact_answer is not None:
        return Status.OK if exact_gold == exact_answer else Status.WRONG
    near_gold = decimal(gold) if exact_gold is None else exact_gold
    near_answer = decimal(answer) if exact_answer is None else exact_answer
    if near_gold is not None and near_answer is not None:
        return _compare_decimals(near_gold, near_answer)
    bare_gold, bare_answer = without_percent(gold), without_percent(answer)
    if (bare_gold, bare_answer) != (gold, answer):
        # 28 for 28 % is right; whether 0.28 is too needs arithmetic.
        return Status.OK if key(bare_gold) == key(bare_answer) else None
    return _compare_notations(gold, answer)


def _compare_bare(gold: str, answer: str, algebra: Algebra | None) -> Status | None:
    if (decided := _compare_kinds(gold, answer)) is not None or algebra is None:
        return decided
    bare_gold, bare_answer = without_percent(gold), without_percent(answer)
    one_has_percent = (bare_gold != gold) != (bare_answer != answer)
    equal = (one_has_percent and algebra(bare_gold, bare_answer)) or algebra(gold, answer)
    return Status.OK if equal else Status.WRONG


def _compare_decimals(gold: Fraction, answer: Fraction) -> Status | None:
    """Decide what is equal and what is far apart; how far a decimal may be rounded is math-verify's business."""
    if gold == answer:
        return Status.OK
    return Status.WRONG if abs(gold - answer) > _NEAR * max(abs(gold), abs(answer)) else None


def _compare_notations(gold: str, answer: str) -> Status | None:
    """Forms that math-verify reads as something else: "1112_3" as a symbol, "7:32" as a quotient."""
    base_gold, base_answer = _IN_BASE.fullmatch(gold), _IN_BASE.fullmatch(answer)
    if base_gold and base_answer:
        return Status.OK if base_gold.groups() == base_answer.groups() else Status.WRONG
    if base_gold and integer(answer) is not None:
        return Status.OK if base_gold[1] == answer else Status.WRONG
    if base_answer and integer(gold) is not None:
        return Status.OK if base_answer[1] == gold else Status.WRONG
    clock_gold, clock_answer = _WITH_COLON.fullmatch(gold), _WITH_COLON.fullmatch(answer)
    if (clock_gold and (clock_answer or ":" not in answer)) or (clock_answer and ":" not in gold):
        return Status.WRONG
    return None


def _compare_kinds(gold: str, answer: str) -> Status | None:
    """Compare exactly, then tell a number from a tuple or interval, and these from each other.

    What has another kind would be found wrong by algebra too, but reading it takes math-verify a hundred times longer.
    """
    if (decided := compare_exactly(gold, answer)) is not None:
        return decided
    bracket_gold, bracket_answer = components(gold), components(answer)
    is_number = rational(gold) is not None or decimal(gold) is not None
    if is_number and (bracket_answer or set(letters(answer)) - {"e", "i"}):
        return Status.WRONG
    if bracket_gold and (rational(answer) is not None or decimal(answer) is not None):
        return Status.WRONG
    if not bracket_gold or not bracket_answer:
        return None
    (left, golds, right), (other_left, answers, other_right) = bracket_gold, bracket_answer
    if (left, right, len(golds)) != (other_left, other_right, len(answers)):
        return Status.WRONG
    decisions = {compare_exactly(one, other) for one, other in zip(golds, answers, strict=True)}
    return Status.WRONG if Status.WRONG in decisions else None if None in decisions else Status.OK
