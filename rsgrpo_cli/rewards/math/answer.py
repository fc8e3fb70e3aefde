r"""Decides whether a mathematical answer is right, cheaply where that is possible: no SymPy, no worker, linear time.

The policy, in this order; each step that decides gives its own status:

1. `extraction.extract` takes the last box after the thinking, or says why there is none.
2. `normalise` brings gold and answer to one spelling.
3. Equal strings; integers of any size as digits; fractions of integers as fractions. Most golds end here.
4. An answer of more than 2,000 characters is TOO_LONG. Golds in words are compared as words, letter case ignored.
5. UNPARSABLE: forms with which an answer gets away without being one (see `_guard` and `align`), and several values
   for one.
6. Labels (`x =`, `f(2) =`) and units are taken off, then step 3 once more, also on the parts of lists and tuples; what
   is of another kind, a tuple for a number, is WRONG.
7. UNPARSABLE once more, for what would keep the algebra busy for seconds (`effort`).
8. Whatever is left goes to `verifier.verify_pair`, in a worker process.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from rsgrpo_cli.rewards.math.effort import is_laborious
from rsgrpo_cli.rewards.math.form import (
    components,
    decimal,
    integer,
    is_known_unit,
    is_label,
    is_symbol,
    is_words,
    key,
    letters,
    rational,
    relation,
    split_unit,
    values,
    without_percent,
    words,
)
from rsgrpo_cli.rewards.math.gold import read_gold
from rsgrpo_cli.rewards.math.text import normalise
from rsgrpo_cli.rewards.types import Status

GRADING_RULES_VERSION = 4
"""Part of the reward's identity: raise it with every change that can change a verdict."""

MAX_ANSWER_CHARS = 2_000
# Beyond this not even the spelling is looked into: only the identical text and the same integer are right.
_MAX_NORMALISED_CHARS = 10_000

_NEAR = Fraction(1, 1000)
_LONGEST_INTERVAL = 2
_SIDES = 2

_UNEVALUATED = re.compile(
    r"\\(?:sum|prod|i{1,3}nt|oint|lim|limsup|liminf|max|min|sup|inf|gcd|lcm|bmod|pmod|mod|det)(?![A-Za-z])"
    r"|\\(?:operatorname\*?|text)\{\s*(?:lim|max|min|sup|inf|gcd|lcm|mod|det)\s*\}|(?<![A-Za-z\\])mod(?![A-Za-z])"
)
_ELLIPSIS = re.compile(r"\\[lcv]?dots(?![A-Za-z])|\.\.")
_IMPLICATION = re.compile(r"\\(?:implies|Rightarrow|Leftrightarrow|iff|to|rightarrow)(?![A-Za-z])")
_DIGITS_APART = re.compile(r"[+-]?\d+(?: +\d+)+")
_IN_BASE = re.compile(r"(-?[0-9A-Z]+)_\{?(\d+)\}?")
_WITH_COLON = re.compile(r"\d+(?:\s*:\s*\d+)+")
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")
_PROSE_FIRST = re.compile(r"\\text\{([^{}]*)\}[\s:=]*(?=[^\s_^])")
_NEGATION = re.compile(r"\b(?:not|never|neither|except|isn't|no)\b", re.IGNORECASE)
_CHOICE = re.compile(r"\(([A-Z])\)")


@lru_cache(maxsize=4096)
def normalise_gold(gold: str) -> str:
    """The spelling of a reference answer that answers are compared with; of a worked solution, its final answer."""
    text = normalise(read_gold(gold))
    bare = text if is_words(text) else _without_prose(text)
    return text if letters(bare) else bare  # a number after words is that number; "even n" is more than n


@lru_cache(maxsize=4096)
def has_several_values(gold: str) -> bool:
    """Whether a reference answer (normalised) lists several values, in any order."""
    return len(values(gold)) > 1


def is_readable_unparsed(gold: str) -> bool:
    """Whether a reference answer (normalised) is compared without algebra: empty, a number in digits, words."""
    return not gold or integer(gold) is not None or rational(gold) is not None or is_words(gold)


def normalise_answer(answer: str, gold: str) -> str:
    """The spelling of an answer to be compared with `gold` (normalised)."""
    if len(answer) > _MAX_NORMALISED_CHARS:
        return answer.strip()
    several = has_several_values(gold)
    text = normalise(answer, thousands=not several)
    if not several and (found := _DECIMAL_COMMA.fullmatch(text)):
        text = f"{found[1]}.{found[2]}"
    if is_words(gold) or key(text) == key(gold):
        return text
    return _bracketed_as(gold, _without_prose(text))


def _bracketed_as(gold: str, answer: str) -> str:
    """An answer in the brackets of the gold where order is told all the same, by three places or by names.

    `1, 2, 3` for `[1, 2, 3]` or `(1, 2, 3)`; `(1, 2)` for `x = 1, y = 2`. Of two, brackets may be an interval's.
    """
    bracket_gold, bracket_answer = components(gold), components(answer)
    if bracket_gold and len(bracket_gold[1]) > _LONGEST_INTERVAL:
        parts = bracket_answer[1] if bracket_answer else values(answer)
        same = len(parts) == len(bracket_gold[1]) and not answer.startswith(r"\{")
        return f"{bracket_gold[0]}{', '.join(parts)}{bracket_gold[2]}" if same else answer
    names = [key(relation(value)[0]) for value in values(gold) if len(relation(value)) == _SIDES]
    if bracket_answer and len(bracket_answer[1]) == len(names) == len(set(names)) == len(values(gold)) > 1:
        return ", ".join(bracket_answer[1])
    return answer


def compare_cheaply(gold: str, answer: str) -> Status | None:
    """OK, WRONG, NO_BOX, TOO_LONG or UNPARSABLE where that needs no algebra; None where the pair is for `verify_pair`.

    Args:
        gold: From `normalise_gold`. An empty one is never matched.
        answer: From `normalise_answer`.
    """
    if not answer:
        return Status.NO_BOX
    if not gold:
        return Status.WRONG
    if (decided := _compare_forms(gold, answer)) is not None:
        return decided
    return Status.UNPARSABLE if is_laborious(gold, answer) else None


def _compare_forms(gold: str, answer: str) -> Status | None:
    if (decided := _compare_plainly(gold, answer)) is not None:
        return decided
    if len(answer) > MAX_ANSWER_CHARS:
        return Status.TOO_LONG
    if is_words(gold) and (decided := _compare_words(gold, answer)) is not None:
        return decided
    if _guard(gold, answer):
        return Status.UNPARSABLE
    if has_several_values(gold):
        return _compare_lists(values(gold), values(answer))
    aligned = align(gold, answer)
    if aligned is None or len(values(answer)) > 1:
        return Status.UNPARSABLE
    one_gold, sides = aligned
    return _compare_kinds(one_gold, sides[0]) if len(sides) == 1 else None


def align(gold: str, answer: str) -> tuple[str, list[str]] | None:
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


def _compare_plainly(gold: str, answer: str) -> Status | None:
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
    if without_percent(gold) != gold or without_percent(answer) != answer:
        # 28 for 28 % is right; whether 0.28 is too needs arithmetic.
        return Status.OK if key(without_percent(gold)) == key(without_percent(answer)) else None
    return _compare_notations(gold, answer)


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


def _compare_lists(golds: list[str], answers: list[str]) -> Status | None:
    exact_golds, exact_answers = {rational(gold) for gold in golds}, {rational(answer) for answer in answers}
    if None in exact_golds or None in exact_answers:
        return None
    return Status.OK if exact_golds == exact_answers else Status.WRONG


def _compare_kinds(gold: str, answer: str) -> Status | None:
    """Compare as single values, then tell a number from a tuple or interval, and these from each other.

    What has another kind would be found wrong by algebra too, but reading it takes math-verify a hundred times longer.
    """
    if (decided := _compare_plainly(gold, answer)) is not None:
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
    decisions = {_compare_plainly(one, other) for one, other in zip(golds, answers, strict=True)}
    return Status.WRONG if Status.WRONG in decisions else None if None in decisions else Status.OK


def _compare_words(gold: str, answer: str) -> Status | None:
    """Compare as words; None where a bare gold such as `ab` or `C` may be a symbol after all."""
    wanted = words(gold)
    if words(answer) == wanted:
        return Status.OK
    if len(wanted) == 1:
        choices = _CHOICE.findall(answer)
        if choices:  # "(C) 42"
            return Status.OK if [choice.casefold() for choice in choices] == [wanted] else Status.WRONG
    if r"\text" in gold or len(values(answer)) > 1:
        return Status.WRONG
    return None


def _guard(gold: str, answer: str) -> bool:
    """Whether an answer has a form that hides that it is none.

    A sum, integral, limit, maximum or remainder that the gold does not have leaves the work to the verifier; an
    ellipsis, an implication or digits apart say nothing exact; words that negate are read over by math-verify.
    """
    forms = (_UNEVALUATED, _ELLIPSIS, _IMPLICATION)
    if any(form.search(answer) and not form.search(gold) for form in forms):
        return True
    return bool(_DIGITS_APART.fullmatch(answer)) or bool(_NEGATION.search(answer) and not _NEGATION.search(gold))


def _without_prose(text: str) -> str:
    r"""`\text{The answer is } 42` without its words; words that negate stay, for the guard to see."""
    found = _PROSE_FIRST.match(text)
    return text[found.end() :] if found and not _NEGATION.search(found[1]) else text
