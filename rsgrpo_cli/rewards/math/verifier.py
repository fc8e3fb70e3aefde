r"""Compares two mathematical answers by algebra: `verify_pair`, for worker processes only.

Imports math-verify, that is SymPy (half a second, 60 MB), and uses its timeouts, which are `signal.alarm`: whole
seconds, main thread. `workers.pool` gives it both, and a deadline of its own for what no signal stops.

What math-verify is not trusted with: finding the answer (it glues boxes together), bare LaTeX (`3\sqrt{13}` parses as
3; with `\boxed{}` around it, and LatexExtractionConfig alone, it does not), lists (it hopes that both sort alike),
labels, and constants that differ by less than 1e-15.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, partial
from itertools import accumulate, groupby, pairwise
from typing import Any

import sympy  # type: ignore[import-untyped]
from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from math_verify import verify
from math_verify.errors import TimeoutException
from math_verify.grader import should_treat_as_complex
from math_verify.utils import timeout
from sympy.core.random import seed as seed_sympy  # type: ignore[import-untyped]

from rsgrpo_cli.rewards.math.form import components, key, relation, same_values, values
from rsgrpo_cli.rewards.math.notation import common_form
from rsgrpo_cli.rewards.math.numbers import readings
from rsgrpo_cli.rewards.math.value import bare_values, compare_values, rounds_to
from rsgrpo_cli.rewards.types import Status

PARSE_SECONDS = 2
VERIFY_SECONDS = 3
_MAX_PAIRWISE = 12
_EXACT_DIGITS = 20
_MOST_DIGITS = 1_000
_DECIMAL_TOLERANCE = 1e-5
_INEXACT = (
    sympy.Integral,
    sympy.Sum,
    sympy.Product,
    sympy.Limit,
)  # evaluated numerically, to fewer digits than are said
# Names that its grammar cannot read, and others that it can: a constant with a subscript is no constant.
_NAMES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\gamma\s*_\s*\{?E\}?(?![A-Za-z])"), r"\\gamma"),
    (re.compile(r"(?:\\gamma|(?<![A-Za-z\\])e)(?=\s*_)"), r"\\varsigma"),
    (re.compile(r"\\Gamma(?![A-Za-z])(?!\s*\()"), r"\\Upsilon"),  # it would be Euler's constant
    (re.compile(r"_\s*\{?\s*\\(odot|oplus|infty|perp|parallel|ast|star|max|min)(?![A-Za-z])\s*\}?"), r"_{\1}"),
    (re.compile(r"\\mathbb\s*\{([A-Z])\}(?=\s*_)"), r"\1"),
    (re.compile(r"\\aleph(?![A-Za-z])"), r"\\hbar"),
    (re.compile(r"\^\s*\{?\s*(?:T|\\top|\\intercal)\s*\}?(?![A-Za-z_])"), r"^{\\Xi}"),  # it would be dropped
)
# `units` would take the "t" off "2x + 3t"; `form.split_unit` has been there before.
_SPELLING = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)
_READING = ConversionConfig(lowercase_symbols=False)  # R and r are two
_IMAGINARY = re.compile(r"(?<![A-Za-z\\])i(?![A-Za-z])|(?<=[0-9)}])i(?![A-Za-z])")
_COMPLEX = re.compile(
    r"(?:[\d.+\-*/(){}\s]|\\(?:frac|sqrt|cdot|pi)(?![A-Za-z]))*\d\s*[-+]\s*[\d./]*I|(?:[\d.]+\s*)?I\s*[-+]\s*[\d./]+"
)
_DECIMAL_POWER = re.compile(r"\^\s*\{\s*(-?\d{0,2}\.\d{1,3})\s*\}|\^\s*(?P<bare>\d?\.\d{1,3})(?!\d)")
_SYMBOL_BEFORE_SIGN = re.compile(r"\\(?!left|right)[A-Za-z]+(?=[-+])")  # "\gamma+1" would be read as 1
_DECIMAL_UNDER_ROOT = re.compile(r"\\sqrt\s*\{\s*(\d{0,6}\.\d{1,6})\s*\}")  # exact where it stands
_POINTS = ((2, 3, 5, 7, 11, 13), (3, 7, 4, 9, 17, 6), (5, 4, 8, 6, 9, 15))

# A "d" before a letter or a command would begin a differential, E be Euler's number and I the imaginary unit, and not a
# current or a moment of inertia. Names, words and subscripts stay.
_LETTER = re.compile(
    r"\\(?:text|begin|end|operatorname\*?|math[a-z]+)\s*\{[^{}]*\}|_\{[^{}]*\}|\\[A-Za-z]+"
    r"|(?P<d>d)|(?P<name>(?<![A-Za-z])E(?![A-Za-z])|I)"
)
# The derivative of a symbol that is no function of the other would be 0. One of an expression is worked out.
_RATE = re.compile(
    r"\\frac\s*\{\s*(?P<d>d|\\partial)\s*(?P<order>\^\s*\{?\s*\d\s*\}?)?\s*(?P<of>\\?[A-Za-z]+(?:_\w)?)\s*\}"
    r"\s*\{\s*(?P=d)\s*(?P<by>\\?[A-Za-z]+(?:_\w)?)\s*(?:\^\s*\{?\s*\d\s*\}?)?\s*\}"
)
# To SymPy two unknowns have no common divisor.
_DIVISOR = re.compile(
    r"\\(?:operatorname\*?\s*\{\s*)?(?P<name>gcd|lcm)\s*\}?\s*(?:\\left)?\s*\((?P<of>[^()]*[A-Za-z][^()]*?)(?:\\right)?\)"
)
_DIFFERENTIAL = re.compile(r"\\(?:i{1,3}nt|oint)(?![A-Za-z])|\\frac\s*\{\s*d(?:\^\w)?\s*[A-Za-z]?\s*\}\s*\{\s*d")

logging.getLogger("math_verify").setLevel(logging.ERROR)


def verify_pair(gold: str, answer: str, trust_spelling: bool = True) -> bool:
    """Whether an answer equals a gold: value by value, in any order, unless only the gold says which is which.

    Args:
        gold: From `answer.normalise_gold`.
        answer: From `answer.normalise_answer`.
        trust_spelling: Whether values spelled alike are equal unread; False to learn whether SymPy can read them.

    Raises:
        math_verify.errors.TimeoutException: A BaseException: parsing took over 2 seconds or a comparison over 3.
        Exception: Whatever SymPy raises on an answer that it cannot compare.
    """
    seed_sympy(0)  # SymPy tests identities at random points: the verdict must not depend on what came before
    gold, answer = common_form(gold, answer)
    equal = partial(_equal, trust_spelling=trust_spelling)
    golds, answers = values(gold), values(answer)
    if len(golds) == len(answers) == 1 or max(len(golds), len(answers)) > _MAX_PAIRWISE:
        return equal(gold, answer)
    labelled = all(len(relation(value)) > 1 for value in golds)
    if labelled and not any(len(relation(value)) > 1 for value in answers):
        return _equal_in_order(golds, answers, equal)
    return same_values(golds, answers, equal)


def _equal_in_order(golds: list[str], answers: list[str], equal: Callable[[str, str], bool]) -> bool:
    """Compare `x = 1, y = 2` with `1, 2`; of values with one label, `x = 1, x = 2`, none is the first."""
    runs = [len(list(run)) for _, run in groupby(golds, key=lambda gold: key(relation(gold)[0]))]
    if len(runs) == 1:
        return same_values(golds, answers, equal)
    cuts = list(accumulate(runs, initial=0))
    return len(golds) == len(answers) and all(
        same_values(golds[start:stop], answers[start:stop], equal) for start, stop in pairwise(cuts)
    )


def _equal(gold: str, answer: str, *, trust_spelling: bool) -> bool:
    if trust_spelling:
        return compare_values(gold, answer, _ALGEBRA) is Status.OK
    bare = bare_values(gold, answer)
    return bare is not None and all(_same(bare[0], side) for side in bare[1])


class _Algebra:
    """What SymPy says of two bare values."""

    def __call__(self, gold: str, answer: str, /) -> bool:
        return _same(gold, answer)

    def rounds_to(self, value: str, rounded: str, /) -> bool:
        """Whether a decimal is a constant rounded to its last place."""
        exact = _number(parsed[0]) if (parsed := _parse(value)) else None
        return exact is not None and exact.is_Float and rounds_to(Fraction(str(exact)), rounded)


_ALGEBRA = _Algebra()


def _same(gold: str, answer: str) -> bool:
    """Whether two bare values are equal to SymPy, in one of the readings that each has."""
    return any(
        not _components_differ(one, other) and _same_to_sympy(one, other)
        for one in readings(_with_small_unit(gold))
        for other in readings(_with_small_unit(answer))
    )


def _with_small_unit(text: str) -> str:
    """`2+3I` as `2+3i`: beside numbers alone it is the imaginary unit."""
    return text.replace("I", "i") if _COMPLEX.fullmatch(text) else text


def _components_differ(gold: str, answer: str) -> bool:
    """Whether two points or intervals have, in one place, constants that differ.

    As a whole they are found different too, but by `simplify`, which takes 0.1 s; and `(7, 1)`, read as an interval, is
    as empty as `(7, 2)`.
    """
    bracket_gold, bracket_answer = components(gold), components(answer)
    if not bracket_gold or not bracket_answer:
        return False
    golds, answers = bracket_gold[1], bracket_answer[1]
    return len(golds) == len(answers) and any(map(_constants_differ, golds, answers))


def _constants_differ(gold: str, answer: str) -> bool:
    if key(gold) == key(answer):
        return False
    parsed_gold, parsed_answer = _parse(gold), _parse(answer)
    if not parsed_gold or not parsed_answer:
        return False
    return not timeout(VERIFY_SECONDS)(_constants_agree)(parsed_gold[0], parsed_answer[0])


def _same_to_sympy(gold: str, answer: str) -> bool:
    is_real = not (should_treat_as_complex(gold) or should_treat_as_complex(answer))
    has_unit = bool(_IMAGINARY.search(gold) or _IMAGINARY.search(answer))
    parsed_gold, parsed_answer = _parse(gold, is_real, has_unit), _parse(answer, is_real, has_unit)
    if not parsed_gold or not parsed_answer or _has_foreign_symbols(parsed_gold[0], parsed_answer[0]):
        return False
    # First, for constants that are far apart math-verify falls back on `simplify`, which is most of its time; and
    # again, for it calls equal what differs by less than 1e-15: to it 1/2^99 and 1/2^98 are both nothing.
    if not timeout(VERIFY_SECONDS)(_constants_agree)(parsed_gold[0], parsed_answer[0]):
        return False
    if (
        isinstance(parsed_gold[0], sympy.Eq)
        and isinstance(parsed_answer[0], sympy.Expr)
        and not _solved(parsed_gold[0])
    ):
        return False  # `x+y=1` is not 1
    if _are(sympy.Eq, parsed_gold[0], parsed_answer[0]):
        decided = timeout(VERIFY_SECONDS)(_same_equation)(parsed_gold[0], parsed_answer[0])
        if decided is not None:
            return bool(decided)
    equal = verify(
        parsed_gold,
        parsed_answer,
        allow_set_relation_comp=True,
        timeout_seconds=VERIFY_SECONDS,
        raise_on_error=True,
    )
    others = (_same_as_symbol, _same_at_integers)
    return bool(equal or any(timeout(VERIFY_SECONDS)(same)(parsed_gold[0], parsed_answer[0]) for same in others))


def _are(kind: Any, one: Any, other: Any) -> bool:
    return isinstance(one, kind) and isinstance(other, kind)


def _solved(equation: Any) -> bool:
    """Whether one side of an equation is a symbol alone."""
    return any(isinstance(side, sympy.Symbol) for side in equation.args)


def _same_equation(gold: Any, answer: Any) -> bool | None:
    """Whether one equation is a multiple of another; None where it is not, and their solutions have to tell.

    False where one of them is never true: any two of these have the same solutions, none.
    """
    if not all(isinstance(side, sympy.Expr) for side in (*gold.args, *answer.args)):
        return None
    one, other = gold.lhs - gold.rhs, answer.lhs - answer.rhs
    if one.free_symbols != other.free_symbols:
        return None
    symbols = sorted(one.free_symbols, key=str)
    ratios = set()
    for point in _POINTS:
        at = {symbol: sympy.Rational(value, 19) for symbol, value in zip(symbols, point, strict=False)}
        left, right = _number(one.subs(at)), _number(other.subs(at))
        if left is None or right is None or right.is_zero or left.is_zero:
            return None
        ratios.add(left / right)
    first = next(iter(ratios))
    if all(abs(ratio - first) <= sympy.Float("1e-15") * abs(first) for ratio in ratios):
        return True
    return None if sympy.solve(gold) else False


def _same_as_symbol(gold: Any, answer: Any) -> bool:
    """Whether an expression comes to the symbol that is the gold: math-verify compares a symbol by its spelling."""
    return isinstance(gold, sympy.Symbol) and isinstance(answer, sympy.Expr) and sympy.simplify(answer - gold) == 0


def _same_at_integers(gold: Any, answer: Any) -> bool:
    r"""Whether two expressions with factorials, binomials, logarithms or cube roots agree at several whole numbers.

    Algebra may not see it: `\ln(x+1)-\ln x` is one logarithm for positive x only. Where bars stand, the sign matters.
    """
    if not _are(sympy.Expr, gold, answer):
        return False
    both = gold + answer
    kinds = (sympy.factorial, sympy.binomial, sympy.gamma)
    if not both.has(*kinds) and (both.has(sympy.Abs) or not (both.has(sympy.log) or _has_odd_root_only(both))):
        return False
    symbols = sorted(gold.free_symbols, key=str)
    if not symbols or gold.free_symbols != answer.free_symbols or len(symbols) > len(_POINTS[0]):
        return False
    for point in (*_POINTS, tuple(reversed(_POINTS[0]))):
        at = dict(zip(symbols, point, strict=False))
        left, right = _number(gold.subs(at)), _number(answer.subs(at))
        if left is None or right is None or not _close(left, right, f"1e-{_EXACT_DIGITS}"):
            return False
    return True


def _has_odd_root_only(expression: Any) -> bool:
    """Whether roots of unknowns are all of an odd degree: of a square root the sign of what is under it matters."""
    degrees = {
        power.exp.q for power in expression.atoms(sympy.Pow) if power.exp.is_Rational and power.base.free_symbols
    } - {1}
    return bool(degrees) and all(degree % 2 for degree in degrees)


@lru_cache(maxsize=1024)
def _parse(text: str, is_real: bool = True, has_unit: bool = False) -> list[Any]:
    """SymPy's reading of a text, in a list; an empty list where it has none.

    The whole text is read or nothing is: `math_verify.parse` would look for a number or a fraction in the rest.

    Args:
        text: One bare value.
        is_real: Whether its symbols are real numbers.
        has_unit: Whether `i` is the imaginary unit.
    """
    for pattern, name in _NAMES:
        text = pattern.sub(name, text)
    text = _DIVISOR.sub(_as_one_symbol, _RATE.sub(_as_symbol, text))
    try:
        return [timeout(PARSE_SECONDS)(_read)(text, is_real, has_unit)]
    except (TimeoutException, MemoryError, ImportError):
        raise  # these say nothing of the text, which must not be taken for one that cannot be read
    except Exception:  # what it cannot read, the parser says with a bare Exception, and SymPy with any other
        return []


def _read(text: str, is_real: bool, has_unit: bool) -> Any:
    has_differential = _DIFFERENTIAL.search(text)
    text = _LETTER.sub(lambda found: found[0] if found["d"] and has_differential else _renamed(found), text)
    text = _SYMBOL_BEFORE_SIGN.sub(r"\g<0> ", text)
    text = _DECIMAL_UNDER_ROOT.sub(lambda found: rf"\sqrt{{{_in_integers(found[1])}}}", text)
    spelt = normalize_latex(_DECIMAL_POWER.sub(_as_fraction, text), config=_SPELLING)
    parsed = latex2sympy(spelt, is_real=is_real, normalization_config=None, conversion_config=_READING)
    if has_unit and isinstance(parsed, sympy.Basic):
        units = [symbol for symbol in parsed.free_symbols if symbol.name == "i"]
        parsed = parsed.subs(dict.fromkeys(units, sympy.I))
    return parsed


def _as_symbol(found: re.Match[str]) -> str:
    r"""`\frac{dv}{dt}` as one symbol of its own."""
    named = "".join(char for char in f"{found['order'] or ''}{found['of']}{found['by']}" if char.isalnum())
    return rf" \Theta_{{{named}}} "


def _as_one_symbol(found: re.Match[str]) -> str:
    r"""`\gcd(n, m)` as one symbol, in whatever order."""
    listed = sorted(part.strip() for part in found["of"].split(","))
    named = f"{found['name'][0]}q{'q'.join(listed)}"
    return rf" \Theta_{{{named}}} " if all(map(str.isalpha, listed)) else found[0]


def _renamed(found: re.Match[str]) -> str:
    return r"\varrho " if found["d"] else rf"\mathcal{{{found['name']}}}" if found["name"] else found[0]


def _as_fraction(found: re.Match[str]) -> str:
    """A power in decimals as the fraction that it is: `3^{0.5}` is a root, and no rounded number."""
    return f"^{{{_in_integers(found[1] or found['bare'])}}}"


def _in_integers(decimal: str) -> str:
    exact = Fraction(decimal)
    return f"\\frac{{{exact.numerator}}}{{{exact.denominator}}}"


def _has_foreign_symbols(gold: Any, answer: Any) -> bool:
    """Whether an answer hides behind a variable that cancels, as `x/x` does for 1.

    A variable that names the unknown of a relation (`x > 2` for an interval) is no such thing.
    """
    if not isinstance(gold, sympy.Expr) or not isinstance(answer, sympy.Expr):
        return False
    known = {symbol.name for symbol in gold.free_symbols}
    return not {symbol.name for symbol in answer.free_symbols} <= known


def _constants_agree(gold: Any, answer: Any) -> bool:
    """Whether two constants are equal, or agree to 5 digits where one is a decimal; True where they are no constants.

    Expressions with unknowns are none, unless a constant is all by which they differ.
    """
    if isinstance(gold, sympy.Tuple) and isinstance(answer, sympy.Tuple) and len(gold) == len(answer):
        return all(map(_constants_agree, gold, answer))
    rounded = _are(sympy.Expr, gold, answer) and (gold + answer).has(sympy.Float)
    left, right = _number(gold), _number(answer)
    if left is None or right is None:
        return rounded or not _are(sympy.Expr, gold, answer) or _may_be_nothing(gold - answer)
    if rounded:
        return _close(left, right, str(_DECIMAL_TOLERANCE))
    return _close(left, right, f"1e-{_EXACT_DIGITS}") and _may_be_nothing(gold - answer)


def _may_be_nothing(difference: Any) -> bool:
    r"""False for a constant that is not 0, be it as small as what `1-2^{-99}` and `1-2^{-100}` differ by."""
    if difference.free_symbols or not difference.is_number or difference.has(*_INEXACT):
        return True
    value = difference.evalf(_EXACT_DIGITS, maxn=_MOST_DIGITS)
    certain = all(part.is_zero or not part.is_Float or part._prec > 1 for part in value.as_real_imag())
    return bool(value.is_zero) or not (value.is_finite and certain)


def _close(left: Any, right: Any, tolerance: str) -> bool:
    return bool(abs(left - right) <= sympy.Float(tolerance) * max(abs(left), abs(right)))


def _number(parsed: Any) -> Any:
    """The value of a constant, to 10 digits more than are compared; None where it is no finite constant."""
    if not isinstance(parsed, sympy.Expr) or parsed.free_symbols or not parsed.is_number:
        return None
    value = parsed.evalf(_EXACT_DIGITS + 10)
    if value.is_Float and value._prec == 1:  # no digit of it is certain, as of `\sqrt{4}-2`
        return sympy.Integer(0)
    return value if value.is_zero or (value.is_finite and abs(value).is_Float) else None
