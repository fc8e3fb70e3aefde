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
from functools import lru_cache, partial
from itertools import accumulate, groupby, pairwise
from typing import Any

import sympy  # type: ignore[import-untyped]
from math_verify import LatexExtractionConfig, LatexNormalizationConfig, parse, verify
from math_verify.utils import timeout
from sympy.core.random import seed as seed_sympy  # type: ignore[import-untyped]

from rsgrpo_cli.rewards.math.form import components, key, relation, values
from rsgrpo_cli.rewards.math.numbers import readings
from rsgrpo_cli.rewards.math.value import bare_values, compare_values
from rsgrpo_cli.rewards.types import Status

PARSE_SECONDS = 2
VERIFY_SECONDS = 3
_MAX_PAIRWISE = 12
_EXACT_DIGITS = 20
_DECIMAL_TOLERANCE = 1e-5
# Names that its grammar cannot read, and others that it can: a constant with a subscript is no constant.
_NAMES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:\\gamma|(?<![A-Za-z\\])e)(?=\s*_)"), r"\\varsigma"),
    (re.compile(r"\\mathbb\s*\{([A-Z])\}(?=\s*_)"), r"\1"),
    (re.compile(r"\\aleph(?![A-Za-z])"), r"\\hbar"),
)
# `units` would take the "t" off "2x + 3t"; `form.split_unit` has been there before.
_CONFIG = LatexExtractionConfig(
    normalization_config=LatexNormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
)

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
    equal = partial(_equal, trust_spelling=trust_spelling)
    golds, answers = values(gold), values(answer)
    if len(golds) == len(answers) == 1 or max(len(golds), len(answers)) > _MAX_PAIRWISE:
        return equal(gold, answer)
    labelled = all(len(relation(value)) > 1 for value in golds)
    if labelled and not any(len(relation(value)) > 1 for value in answers):
        return _equal_in_order(golds, answers, equal)
    return _equal_in_any_order(golds, answers, equal)


def _equal_in_order(golds: list[str], answers: list[str], equal: Callable[[str, str], bool]) -> bool:
    """Compare `x = 1, y = 2` with `1, 2`; of values with one label, `x = 1, x = 2`, none is the first."""
    runs = [len(list(run)) for _, run in groupby(golds, key=lambda gold: key(relation(gold)[0]))]
    if len(runs) == 1:
        return _equal_in_any_order(golds, answers, equal)
    cuts = list(accumulate(runs, initial=0))
    return len(golds) == len(answers) and all(
        _equal_in_any_order(golds[start:stop], answers[start:stop], equal) for start, stop in pairwise(cuts)
    )


def _equal_in_any_order(golds: list[str], answers: list[str], equal: Callable[[str, str], bool]) -> bool:
    return all(any(equal(one, other) for other in answers) for one in golds) and all(
        any(equal(one, other) for one in golds) for other in answers
    )


def _equal(gold: str, answer: str, *, trust_spelling: bool) -> bool:
    if trust_spelling:
        return compare_values(gold, answer, _same) is Status.OK
    bare = bare_values(gold, answer)
    return bare is not None and all(_same(bare[0], side) for side in bare[1])


def _same(gold: str, answer: str) -> bool:
    """Whether two bare values are equal to SymPy, in one of the readings that each has."""
    return any(
        not _components_differ(one, other) and _same_to_sympy(one, other)
        for one in readings(gold)
        for other in readings(answer)
    )


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
    parsed_gold, parsed_answer = _parse(gold), _parse(answer)
    if not parsed_gold or not parsed_answer or _has_foreign_symbols(parsed_gold[0], parsed_answer[0]):
        return False
    # First, for constants that are far apart math-verify falls back on `simplify`, which is most of its time; and
    # again, for it calls equal what differs by less than 1e-15: to it 1/2^99 and 1/2^98 are both nothing.
    if not timeout(VERIFY_SECONDS)(_constants_agree)(parsed_gold[0], parsed_answer[0]):
        return False
    return bool(
        verify(
            parsed_gold,
            parsed_answer,
            allow_set_relation_comp=True,
            timeout_seconds=VERIFY_SECONDS,
            raise_on_error=True,
        )
    )


@lru_cache(maxsize=1024)
def _parse(text: str) -> list[Any]:
    """SymPy's reading of a text, in a list; an empty list where it has none."""
    for pattern, name in _NAMES:
        text = pattern.sub(name, text)
    return parse(  # type: ignore[no-any-return]
        rf"\boxed{{{text}}}",
        extraction_config=[_CONFIG],
        fallback_mode="no_fallback",
        parsing_timeout=PARSE_SECONDS,
        raise_on_error=True,
    )


def _has_foreign_symbols(gold: Any, answer: Any) -> bool:
    """Whether an answer hides behind a variable that cancels, as `x/x` does for 1.

    A variable that names the unknown of a relation (`x > 2` for an interval) is no such thing.
    """
    if not isinstance(gold, sympy.Expr) or not isinstance(answer, sympy.Expr):
        return False
    known = {symbol.name for symbol in gold.free_symbols}
    return not {symbol.name for symbol in answer.free_symbols} <= known


def _constants_agree(gold: Any, answer: Any) -> bool:
    """Whether two constants agree to 20 digits, or to 5 where one is a decimal; True where they are not constants."""
    if isinstance(gold, sympy.Tuple) and isinstance(answer, sympy.Tuple) and len(gold) == len(answer):
        return all(map(_constants_agree, gold, answer))
    left, right = _number(gold), _number(answer)
    if left is None or right is None:
        return True
    rounded = gold.has(sympy.Float) or answer.has(sympy.Float)
    tolerance = sympy.Float(_DECIMAL_TOLERANCE if rounded else f"1e-{_EXACT_DIGITS}")
    return bool(abs(left - right) <= tolerance * max(abs(left), abs(right)))


def _number(parsed: Any) -> Any:
    """The value of a constant, to 10 digits more than are compared; None where it is no finite constant."""
    if not isinstance(parsed, sympy.Expr) or parsed.free_symbols or not parsed.is_number:
        return None
    value = parsed.evalf(_EXACT_DIGITS + 10)
    return value if value.is_zero or (value.is_finite and abs(value).is_Float) else None
