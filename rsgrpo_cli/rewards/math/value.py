r"""Compares one value of a gold with one of an answer: `compare_values`, the one place for labels, units and percent.

It takes labels (`x =`, `f(2) =`) and units off, then decides by spelling and exact arithmetic. What is left needs
algebra. The main process has none and gets None; a worker process passes it in (`verifier`). String work, linear in the
text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Protocol

from rsgrpo_cli.rewards.math.form import (
    Measure,
    components,
    decimal,
    integer,
    is_label,
    is_symbol,
    key,
    letters,
    rational,
    relation,
    split_unit,
    without_percent,
)
from rsgrpo_cli.rewards.math.notation import clock, proportional, ratio, residue, same_residue, same_time
from rsgrpo_cli.rewards.math.units import cannot_be_same, factor, is_known_unit
from rsgrpo_cli.rewards.math.wording import alter, scale
from rsgrpo_cli.rewards.types import Status


class Algebra(Protocol):
    """Decides what spelling and arithmetic do not."""

    def __call__(self, gold: str, answer: str, /) -> bool:
        """Whether two bare values are equal."""
        ...

    def rounds_to(self, value: str, rounded: str, /) -> bool:
        """Whether a decimal agrees with a value to its own digits."""
        ...


_NEAR = Fraction(1, 1000)
_SAME = Fraction(1, 10**9)  # of what is no integer: nobody rounds so late
_IN_BASE = re.compile(r"(-?[0-9A-Z]+)_\{?(\d+)\}?")
_DIGITS = re.compile(r"-?[0-9A-Z]+")
_WITH_COLON = re.compile(r"\d+(?:\s*:\s*\d+)+")
_SIDES = _SYMBOLS = 2
_FUNCTION_OF_X = re.compile(r"[A-Za-z]\s*\(\s*x\s*\)")
_SAYS = re.compile(
    r"\s*(?P<copula>(?:(?:is|are|must be|be|being)\s+)?(?:an?\s+|any\s+|all\s+)?)"
    r"(?P<what>(?:not|odd|even|prime|composite|positive|negative|natural|rational|irrational|real|integers?|perfect"
    r"|divisible|arbitrary|invertible|singular|constant|linear|continuous|convergent|divergent|bounded|unbounded|finite"
    r"|infinite)\b.*)"
)
_QUOTIENT = re.compile(r"\\frac\{\\?[A-Za-z]+(?:_\w)?\}\{\\?[A-Za-z]+(?:_\w)?\}|[A-Za-z]/[A-Za-z]")
_STATED_AGAIN = re.compile(r"(\S.*[\d}%])\s+\(\s*(?:\\approx|=)?\s*(-?[\d./]+(?:\\%)?)\s*\)")
UNEVALUATED = re.compile(
    r"\\(?:sum|prod|i{1,3}nt|oint|lim|limsup|liminf|max|min|sup|inf|gcd|lcm|bmod|pmod|mod|det|[lr]floor|[lr]ceil)(?![A-Za-z])"
    r"|\\(?:operatorname\*?|text)\{\s*(?:lim|max|min|sup|inf|gcd|lcm|mod|det)\s*\}(?!\s*$)|(?<![A-Za-z\\])mod(?![A-Za-z])"
    r"|\\begin\{vmatrix\}|\|\s*\\begin\{(?:matrix|array)\}"
)
"""What names a value and leaves the work to the verifier; before an equals sign, a label. A last `min` is a unit."""


def compare_values(gold: str, answer: str, algebra: Algebra | None = None) -> Status | None:
    r"""OK, WRONG or UNPARSABLE; None where only algebra could tell, and there is none.

    A gold that states its value twice, `0.56 = 56\%`, is met by each of the two.

    Args:
        gold: One value, normalised.
        answer: One value, normalised.
        algebra: Decides what spelling and arithmetic do not.
    """
    decided = {_compare_statement(one, answer, algebra) for one in _alternatives(gold)}
    if Status.OK in decided or None in decided:
        return Status.OK if Status.OK in decided else None
    return Status.WRONG if Status.WRONG in decided else Status.UNPARSABLE


def _alternatives(gold: str) -> list[str]:
    r"""The values that a gold states: `0.56 = 56\%`, `x = \frac{1}{4} = 0.25`, `\frac{1}{4} (0.25)`, "5 million"."""
    sides = relation(gold)
    if len(sides) > 1 and not any(map(letters, sides)):
        return sides
    if len(sides) > _SIDES:
        return [side for side in sides if not is_symbol(side)]
    if found := _STATED_AGAIN.fullmatch(gold):
        return [found[1], found[2]]
    measure = split_unit(gold)
    several = scale(measure.unit)
    return [gold] if several is None else [gold, _times(measure.value, Fraction(several))]


def _compare_statement(gold: str, answer: str, algebra: Algebra | None) -> Status | None:
    bare = bare_values(gold, answer)
    if bare is None:
        return Status.UNPARSABLE
    value, sides = bare
    roundings = [side for side in sides if _is_rounding(side, value, sides)]
    decided = {_compare_bare(value, side, algebra) for side in sides if side not in roundings}
    decided |= {_compare_rounded(value, side, algebra) for side in roundings}
    return Status.WRONG if Status.WRONG in decided else None if None in decided else Status.OK


def _is_rounding(side: str, value: str, sides: list[str]) -> bool:
    """Whether a side only says about how much another is: a decimal beside an exact value, for an exact gold."""
    return _is_decimal(side) and not _is_decimal(value) and not all(map(_is_decimal, sides))


def _is_decimal(text: str) -> bool:
    return "." in text and decimal(without_percent(text)) is not None


def _compare_rounded(value: str, rounded: str, algebra: Algebra | None) -> Status | None:
    """Whether a decimal agrees with a value to its own digits."""
    exact = rational(value)
    if exact is not None:
        return Status.OK if rounds_to(exact, rounded) else Status.WRONG
    if algebra is None:
        return None
    return Status.OK if algebra.rounds_to(value, rounded) else Status.WRONG


def rounds_to(exact: Fraction, rounded: str) -> bool:
    r"""Whether a decimal is a number rounded to its last place, or cut off there; `66.7\%` is one too.

    Raises:
        ValueError: If `rounded` is no decimal.
    """
    bare = without_percent(rounded)
    if (near := decimal(bare)) is None:
        raise ValueError(f"{rounded} is no decimal")
    mantissa, _, power = bare.partition("\\times")
    shift = decimal(f"1{chr(92)}times{power}") if power else None
    place = Fraction(1, 10 ** len(mantissa.strip().partition(".")[2])) * (shift or 1)
    if bare != rounded:
        near, place = near / 100, place / 100
    return abs(exact - near) <= place / 2 or 0 <= abs(exact) - abs(near) < place


def bare_values(gold: str, answer: str) -> tuple[str, list[str]] | None:
    """Take labels and units off one value of a gold and one of an answer.

    Returns:
        What of the gold every one of the answer's sides must equal (`x = 84/2 = 42` has two), or None where the answer
        is an equation that merely ends in a value (`x + 1 = 42`), has a unit that measures something else, or words
        that make another value of it.
    """
    sides = _without_labels(gold, answer)
    if sides is None:
        return None
    value = split_unit(sides[0])
    numeric = not letters(value.value)
    if numeric and r"\text" not in sides[0] and all(_is_product(value.unit, side) for side in sides[1]):
        return sides[0], sides[1]
    bare = [_in_unit_of(value, split_unit(side, numeric=numeric, symbolic=not numeric)) for side in sides[1]]
    found = [side for side in bare if side is not None]
    return (value.value, found) if len(found) == len(bare) else None


def _is_product(unit: str, answer: str) -> bool:
    """Whether what looks like a unit of the gold is a product of symbols in an answer: `3mg` and `5mg-2mg`."""
    ends_it = split_unit(answer, numeric=True)
    return len(unit) == _SYMBOLS and {*letters(answer)} == {*unit} and bool(letters(ends_it.value))


def _in_unit_of(gold: Measure, answer: Measure) -> str | None:
    """The number of an answer in the unit of its gold; None where there is no such number."""
    if is_known_unit(gold.unit) and answer.unit == gold.unit and answer.power != gold.power:
        return None
    if answer.unit == gold.unit:
        return answer.value
    if _says_of(gold) != _says_of(answer):  # "n is odd" is more than "n", and another thing than "n is even"
        return None
    if not answer.unit:
        return answer.value
    if is_known_unit(gold.unit) and is_known_unit(answer.unit):
        if gold.power != answer.power or (times := factor(answer.unit, gold.unit, gold.power)) is None:
            return None
        return _times(answer.value, times)
    if cannot_be_same(gold.unit, answer.unit):
        return None
    if (several := scale(answer.unit)) is not None:
        return _times(answer.value, Fraction(several))
    return None if alter(answer.unit) else answer.value


def _says_of(measure: Measure) -> str:
    r"""What words behind a lone symbol say of it: "odd" for `n \text{ is odd}`; nothing for `n \text{ ways}`."""
    found = _SAYS.match(measure.unit)
    alone = len(measure.value) == 1 and measure.value.isalpha() and not is_known_unit(measure.unit)
    return found["what"].strip(" .,") if found and alone else ""


def _times(value: str, by: Fraction) -> str:
    if (exact := _exact(value)) is None:
        return f"({value})\\cdot\\frac{{{by.numerator}}}{{{by.denominator}}}"
    made = exact * by
    return str(made.numerator) if made.denominator == 1 else f"\\frac{{{made.numerator}}}{{{made.denominator}}}"


def _without_labels(gold: str, answer: str) -> tuple[str, list[str]] | None:
    golds, answers = _label_first(relation(gold)), _label_first(relation(answer))
    if len(golds) > 1 and len(answers) > 1:
        same_label = len(golds) == _SIDES and is_symbol(golds[0]) and _name_the_same(golds[0], answers[0])
        return (golds[1], _result(answers[1:])) if same_label else (gold, [answer])
    if len(golds) == _SIDES and (is_label(golds[0]) or is_symbol(golds[0]) or _QUOTIENT.fullmatch(golds[0])):
        return golds[1], [answer]
    if len(golds) == 1 and len(answers) > 1:
        if all(answers) and is_label(answers[0]):
            return gold, _result(answers[1:])
        if all(answers) and UNEVALUATED.search(answers[0]):
            return gold, answers[1:]
        return (gold, answers) if _is_computation(gold, answers) else None
    return gold, [answer]


def _result(sides: list[str]) -> list[str]:
    r"""What `A = \frac{1}{2}bh = 24 \approx 24.0` states behind its label: the last exact side, and roundings of it.

    What stands between is how it was found; a number first, `A = 43 = 42`, is a value as well.
    """
    exact = [side for side in sides if not _is_decimal(side)]
    if not exact:
        return sides
    stated = exact[:1] if rational(exact[0]) is not None else exact[-1:]
    return list(dict.fromkeys((exact[-1], *stated, *(side for side in sides if _is_decimal(side)))))


def _name_the_same(label: str, other: str) -> bool:
    """Whether two labels are alike, or `y` and the `f(x)` that is drawn against it."""
    alike = key(label) == key(other)
    return alike or any(one == "y" and _FUNCTION_OF_X.fullmatch(two) for one, two in ((label, other), (other, label)))


def _label_first(sides: list[str]) -> list[str]:
    """`2 = x` as `x = 2`."""
    turned = len(sides) == _SIDES and not letters(sides[0]) and len(sides[1]) == 1 and sides[1].isalpha()
    return sides[::-1] if turned else sides


def _is_computation(gold: str, sides: list[str]) -> bool:
    r"""Whether an equation without a label works something out: `\frac{6}{8} = \frac{3}{4}`, not `42 = 42`."""
    known = set(letters(gold))
    used = {letter for side in sides for letter in letters(split_unit(side).value)}
    return all(sides) and len({key(side) for side in sides}) > 1 and used - {"e", "i"} <= known


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
    near_gold, near_answer = _exact(gold), _exact(answer)
    if near_gold is not None and near_answer is not None:
        return _compare_decimals(near_gold, near_answer)
    bare_gold, bare_answer = without_percent(gold), without_percent(answer)
    if (bare_gold, bare_answer) != (gold, answer):
        if bare_gold == gold and near_gold and abs(near_gold) < 1 and (hundredth := _percent(answer)) is not None:
            return _compare_decimals(near_gold, hundredth)  # half a percent is no half
        # 28 for 28 % is right; whether 0.28 is too needs arithmetic.
        return Status.OK if key(bare_gold) == key(bare_answer) else None
    return _compare_notations(gold, answer)


def _compare_bare(gold: str, answer: str, algebra: Algebra | None) -> Status | None:
    if gold.count("'") != answer.count("'"):
        return Status.WRONG  # a derivative is not its function
    if (decided := _compare_kinds(gold, answer)) is not None or algebra is None:
        return decided
    if (hundredth := _percent(answer)) is not None and (exact := _exact(gold)) is not None and hundredth == exact:
        return Status.OK
    bare_gold, bare_answer = without_percent(gold), without_percent(answer)
    percent = bare_gold != gold or bare_answer != answer
    both = bare_gold != gold and bare_answer != answer
    bare = _compare_kinds(bare_gold, bare_answer) if percent else None
    if bare is Status.WRONG and _IN_BASE.fullmatch(bare_answer):
        return bare
    equal = (bare is Status.OK or (percent and bare is None and algebra(bare_gold, bare_answer))) or (
        not both and algebra(gold, answer)
    )
    return Status.OK if equal else Status.WRONG


def _exact(text: str) -> Fraction | None:
    exact = rational(text)
    return decimal(text) if exact is None else exact


def same_number(one: str, other: str) -> bool:
    """Whether two spellings are of one number, in integers, fractions, decimals or percent."""
    values = {_exact(text) if _percent(text) is None else _percent(text) for text in (one.strip(), other.strip())}
    return len(values) == 1 and None not in values


def _percent(text: str) -> Fraction | None:
    r"""The value of `33.5\%` or `\frac{1}{2}\%`; None for anything else."""
    bare = without_percent(text)
    number = _exact(bare) if bare != text else None
    return None if number is None else number / 100


def _compare_decimals(gold: Fraction, answer: Fraction) -> Status | None:
    """Decide what is equal and what is far apart; how far a decimal may be rounded is math-verify's business."""
    if gold == answer or (gold.denominator > 1 and abs(gold - answer) <= _SAME * abs(gold)):
        return Status.OK
    return Status.WRONG if abs(gold - answer) > _NEAR * max(abs(gold), abs(answer)) else None


def _compare_notations(gold: str, answer: str) -> Status | None:
    """Forms that math-verify reads as something else: "1112_3" as a symbol, "7:32" as a quotient."""
    base_gold, base_answer = (
        found if (found := _IN_BASE.fullmatch(text)) and _is_in_base(found) else None for text in (gold, answer)
    )
    if base_gold and base_answer:
        return Status.OK if base_gold.groups() == base_answer.groups() else Status.WRONG
    if base_gold and _DIGITS.fullmatch(answer):
        return Status.OK if base_gold[1] == answer else Status.WRONG
    if base_answer and (whole := integer(gold)) is not None:
        return Status.OK if _in_base(base_answer) == int(whole) else Status.WRONG
    time_gold, time_answer = clock(gold), clock(answer)
    if time_gold and time_answer:
        return Status.OK if same_time(time_gold, time_answer) else Status.WRONG
    ratio_gold, ratio_answer = ratio(gold), ratio(answer)
    if ratio_gold and ratio_answer:
        return Status.OK if proportional(ratio_gold, ratio_answer) else Status.WRONG
    if (rest_gold := residue(gold)) and (rest_answer := residue(answer)):
        return Status.OK if same_residue(rest_gold, rest_answer) else Status.WRONG
    for one, other in ((gold, answer), (answer, gold)):
        if (
            (parts := ratio(one))
            and len(parts) == _SIDES
            and not time_gold
            and not time_answer
            and (exact := rational(other)) is not None
        ):
            return Status.OK if exact * parts[1] == parts[0] else Status.WRONG
    clock_gold, clock_answer = _WITH_COLON.fullmatch(gold), _WITH_COLON.fullmatch(answer)
    if (clock_gold and (clock_answer or ":" not in answer)) or (clock_answer and ":" not in gold):
        return Status.WRONG
    return None


def _is_in_base(found: re.Match[str]) -> bool:
    """Whether `1112_3` is a number: `A_5` is a symbol, since A is no digit of that base, and `42_2` a wrong number."""
    return found[1].removeprefix("-").isdigit() or _in_base(found) is not None


def _in_base(found: re.Match[str]) -> int | None:
    """The value of `1112_3`; None where a digit is none of its base."""
    try:
        return int(found[1], int(found[2]))
    except ValueError:
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
