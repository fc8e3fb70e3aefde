r"""Decides whether a mathematical answer is right, cheaply where that is possible: no SymPy, no worker, linear time.

The policy, in this order; each step that decides gives its own status:

1. `extraction.extract` takes the last box after the thinking, or says why there is none.
2. `normalise` brings gold and answer to one spelling.
3. Equal strings; integers of any size as digits; fractions of integers as fractions. Most golds end here.
4. An answer of more than 2,000 characters is TOO_LONG. Golds in words are compared as words, letter case ignored.
5. UNPARSABLE: forms that look like an answer and are none (`_is_evasive`, `value.bare_values`), and several values for
   one.
6. `value.compare_values` takes labels (`x =`, `f(2) =`) and units off, then does step 3 once more, also on the parts of
   tuples; what is of another kind, a tuple for a number, is WRONG.
7. UNPARSABLE once more, for what would keep the algebra busy for seconds (`effort`).
8. Whatever is left goes to `verifier.verify_pair`, in a worker process.

docs/scoring.md shows the rules with examples.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rsgrpo_cli.rewards.math.effort import is_laborious
from rsgrpo_cli.rewards.math.form import (
    components,
    integer,
    is_words,
    key,
    letters,
    rational,
    relation,
    values,
    words,
)
from rsgrpo_cli.rewards.math.gold import read_gold
from rsgrpo_cli.rewards.math.text import normalise
from rsgrpo_cli.rewards.math.value import compare_exactly, compare_values
from rsgrpo_cli.rewards.types import Status

GRADING_RULES_VERSION = 6
"""Part of the reward's identity: raise it with every change that can change a verdict."""

MAX_ANSWER_CHARS = 2_000
# Beyond this not even the spelling is looked into: only the identical text and the same integer are right.
_MAX_NORMALISED_CHARS = 10_000

_LONGEST_INTERVAL = 2
_SIDES = 2

_UNEVALUATED = re.compile(
    r"\\(?:sum|prod|i{1,3}nt|oint|lim|limsup|liminf|max|min|sup|inf|gcd|lcm|bmod|pmod|mod|det)(?![A-Za-z])"
    r"|\\(?:operatorname\*?|text)\{\s*(?:lim|max|min|sup|inf|gcd|lcm|mod|det)\s*\}|(?<![A-Za-z\\])mod(?![A-Za-z])"
)
_ELLIPSIS = re.compile(r"\\[lcv]?dots(?![A-Za-z])|\.\.")
_IMPLICATION = re.compile(r"\\(?:implies|Rightarrow|Leftrightarrow|iff|to|rightarrow)(?![A-Za-z])")
_DIGITS_APART = re.compile(r"[+-]?\d+(?: +\d+)+")
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
    """An answer in the brackets of the gold where its order is clear without them, by three places or by names.

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
    if (decided := compare_exactly(gold, answer)) is not None:
        return decided
    if len(answer) > MAX_ANSWER_CHARS:
        return Status.TOO_LONG
    if is_words(gold) and (decided := _compare_words(gold, answer)) is not None:
        return decided
    if _is_evasive(gold, answer):
        return Status.UNPARSABLE
    if has_several_values(gold):
        return _compare_lists(values(gold), values(answer))
    return Status.UNPARSABLE if len(values(answer)) > 1 else compare_values(gold, answer)


def _compare_lists(golds: list[str], answers: list[str]) -> Status | None:
    exact_golds, exact_answers = {rational(gold) for gold in golds}, {rational(answer) for answer in answers}
    if None in exact_golds or None in exact_answers:
        return None
    return Status.OK if exact_golds == exact_answers else Status.WRONG


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


def _is_evasive(gold: str, answer: str) -> bool:
    """Whether an answer has the form of one and leaves the question open.

    A sum, integral, limit, maximum or remainder that the gold does not have leaves the work to the verifier; an
    ellipsis, an implication or digits apart say nothing exact; words that negate are read over by math-verify.
    """
    forms = (_UNEVALUATED, _ELLIPSIS, _IMPLICATION)
    if any(form.search(answer) and not form.search(gold) for form in forms):
        return True
    return bool(_DIGITS_APART.fullmatch(answer)) or bool(_NEGATION.search(answer) and not _NEGATION.search(gold))


def _without_prose(text: str) -> str:
    r"""`\text{The answer is } 42` without its words; words that negate stay, for `_is_evasive` to see."""
    found = _PROSE_FIRST.match(text)
    return text[found.end() :] if found and not _NEGATION.search(found[1]) else text
