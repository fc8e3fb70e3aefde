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
    is_label,
    is_words,
    key,
    letters,
    rational,
    relation,
    same_values,
    split_top,
    values,
)
from rsgrpo_cli.rewards.math.gold import read_gold
from rsgrpo_cli.rewards.math.notation import clock, common_form, grouped_points, in_terms_of
from rsgrpo_cli.rewards.math.text import normalise
from rsgrpo_cli.rewards.math.units import in_smallest_unit
from rsgrpo_cli.rewards.math.value import UNEVALUATED, compare_exactly, compare_values, same_number
from rsgrpo_cli.rewards.math.wording import (
    agrees,
    begins_with_words,
    cardinal,
    choice,
    date,
    is_symbol_like,
    same_words,
    spoken,
    without_words,
)
from rsgrpo_cli.rewards.types import Status

GRADING_RULES_VERSION = 30
"""Part of the reward's identity: raise it with every change that can change a verdict."""

MAX_ANSWER_CHARS = 2_000
# Beyond this not even the spelling is looked into: only the identical text and the same integer are right.
_MAX_NORMALISED_CHARS = 10_000

_LONGEST_INTERVAL = 2
_SIDES = 2

_ELLIPSIS = re.compile(r"\\[lcv]?dots(?![A-Za-z])|\.\.")
_UNDER_LIMIT = re.compile(r"\\lim\s*_\s*\{[^{}]*\}")
_IMPLICATION = re.compile(r"\\(?:implies|Rightarrow|Leftrightarrow|iff|to|rightarrow)(?![A-Za-z])")
_DIGITS_APART = re.compile(r"[+-]?\d+(?: +\d+)+")
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)(\s*(?:\\text\{[^{}\d]*\}(?:\^\{?\d\}?)?|\\%)?)")
_ONE = r"((?:[^=,;<>\\]|\\(?!leq|geq|neq|in(?![A-Za-z])|approx|text\{\s*(?:and|or))[^=,;<>])+?)"
_EITHER = re.compile(rf"(?=[^=]*\d){_ONE}\s*(?:\\text\{{\s*or\s*\}}|\bor\b)\s*(?=[^=]*\d){_ONE}")
_SURE_DECIMAL_COMMA = re.compile(r"([+-]?0),(\d+)")  # no thousands, and hardly a list
_OPTION = re.compile(  # "(C) 5"
    r"^\s*(?:\\text\{\s*\((?P<text>[A-J])\)\s*\}\s*|\((?P<plain>[A-J])\)\s+)(?![\s}=+*/^_,;)]|\\(?:cap|cup|setminus|times|cdot|in|to)\b|$)"
)
_OPTION_ALONE = re.compile(r"(?:\\text\{\s*)?\(?[A-J][.)]?\s*\}?\.?")
_NEGATION = re.compile(r"\b(?:not|never|neither|except|isn't|no)\b", re.IGNORECASE)
_SET = re.compile(r"\\\{((?:[^{}\\|:]|\\(?!mid|[{}])[A-Za-z]+|\{[^{}]*\})+)\\\}")
_DEGREES_IN_WORDS = re.compile(r"(?<=\d)\s*(?:\\text\{\s*)?degrees?\b\s*\}?")
_ANGLE = re.compile(r"\\circ(?![A-Za-z])|[°º˚]|\bdegrees?\b|\\deg")
_PI = re.compile(r"\\pi(?![A-Za-z])|π")
_WORD_AS_TEXT = re.compile(r"\\text\{\s*([A-Za-z]+)\s*\}")
_CENTS = re.compile(r"\bcents?\b")
_DOLLARS = re.compile(r"\s*\\?\$\s*[\d.]")
_CENTS_BEHIND = re.compile(r"\d\s*(?:\\text\{\s*)?(?:cents?\b|¢)|\d\s*\\text\{\s*¢")
_ALL_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_UNREADABLE = re.compile(
    r"[@#?]|\\&|\\(?:cancel|oplus|ominus|not)(?![A-Za-z])|^\s*(?:[<>]|\\(?:neq|leq|geq|approx|sim)(?![A-Za-z]))"
)
"""What denies a value, strikes it out or leaves open what it is."""


@lru_cache(maxsize=4096)
def normalise_gold(gold: str) -> str:
    """The spelling of a reference answer that answers are compared with; of a worked solution, its final answer."""
    text = grouped_points(_alone(_OPTION.sub("", normalise(read_gold(gold)))))
    bare = text if is_words(text) else without_words(text, introduced=False)
    if found := _SURE_DECIMAL_COMMA.fullmatch(bare):
        return f"{found[1]}.{found[2]}"
    if (count := cardinal(text)) is not None:
        return count
    if (found := _EITHER.fullmatch(text)) and same_number(found[1], found[2]):
        return found[1]  # "1/2 or 0.5"
    return text if letters(bare) else bare  # a number after words is that number; "even n" is more than n


def gold_beside(gold: str, answer: str) -> str:
    r"""`normalise_gold`, or what of it an answer calls for.

    That is the letter of an option, `\textbf{(C)}\ 5`, beside an answer that names another or no value; radians beside
    an answer with \pi; the dollars of `\$4` beside one in cents.
    """
    text, written = normalise_gold(gold), _written(gold)
    option, in_words = _OPTION.match(written), cardinal(written) is not None
    if (option or in_words) and len(answer) <= _MAX_NORMALISED_CHARS:
        given = normalise(answer)
        if in_words and cardinal(given) is not None:
            return written  # words beside words
        if option and (chosen := choice(given)) is not None:
            letter = option["text"] or option["plain"]
            agrees_on_it = chosen == letter.casefold() and not _OPTION_ALONE.fullmatch(given)
            return text if agrees_on_it else rf"\text{{{letter}}}"
    if _PI.search(answer) and not _PI.search(text) and not _ANGLE.search(answer) and _ANGLE.search(gold):
        return normalise(_DEGREES_IN_WORDS.sub(r"^\\circ", read_gold(gold)), radians=True)
    in_dollars = gold.lstrip(" $").startswith("\\$") and _CENTS_BEHIND.search(answer) and not letters(text)
    return rf"{text}\text{{ dollars}}" if in_dollars else text


@lru_cache(maxsize=4096)
def _written(gold: str) -> str:
    return normalise(gold)


def spelt_alike(gold: str, answer: str) -> bool:
    """Whether an answer is the reference answer itself, words included: whatever it says, it says the same."""
    if len(answer) > _MAX_NORMALISED_CHARS:
        return False
    return key(normalise(answer, thousands=False)) == _spelling(gold) != ""


@lru_cache(maxsize=4096)
def _spelling(gold: str) -> str:
    return key(normalise(read_gold(gold), thousands=False))


def _alone(text: str) -> str:
    r"""The value of a set that has one, `\{(1,2)\}`."""
    alone = _SET.fullmatch(text)
    if not alone or alone[1].strip() == r"\emptyset":  # the set that holds the empty one
        return text
    return alone[1].strip() if len(values(text)) == 1 else text


@lru_cache(maxsize=4096)
def has_several_values(gold: str) -> bool:
    """Whether a reference answer (normalised) lists several values, in any order."""
    return len(values(gold)) > 1


def is_readable_unparsed(gold: str) -> bool:
    """Whether a reference answer (normalised) is compared without algebra: empty, a number, a time, words."""
    read = (integer, rational, clock)
    return not gold or is_words(gold) or any(kind(gold) is not None for kind in read)


def normalise_answer(answer: str, gold: str) -> str:
    """The spelling of an answer to be compared with `gold` (normalised)."""
    if len(answer) > _MAX_NORMALISED_CHARS:
        return answer.strip()
    several = has_several_values(gold)
    radians = r"\pi" in gold and r"\circ" not in gold and not _PI.search(answer)
    text = normalise(answer, thousands=not several, radians=radians)
    if _CENTS.search(gold) and _DOLLARS.match(answer):
        text += r"\text{ dollars}"
    if several and (alone := _ALL_TEXT.fullmatch(text)):
        text = alone[1]
    if is_words(gold) or key(text) == key(gold):
        return text
    text = _without_open_sums(text, gold)
    text = without_words(_alone(text))
    if not several and (found := _EITHER.fullmatch(text)) and not any(map(_names_something, found.groups())):
        text = f"{found[1]} = {found[2]}"  # "1/2 or 0.5": both have to be right
    if not several and not components(gold) and (found := _DECIMAL_COMMA.fullmatch(text)):
        text = f"{found[1]}.{found[2]}{found[3]}"
    return _bracketed_as(gold, in_terms_of(gold, text))


def _names_something(side: str) -> bool:
    r"""Whether a side of "or" is a word or a letter: `none \text{ or } 42` is a hedge, and no label with its value."""
    return is_words(side) or is_label(side)


def _without_open_sums(text: str, gold: str) -> str:
    r"""`1+2+\cdots+2^9 = 2^{10}-1` without the side that leaves terms out: how it was found, not what it is."""
    sides = relation(text)
    closed = [side for side in sides if not _ELLIPSIS.search(side)]
    return " = ".join(closed) if closed and len(closed) < len(sides) and not _ELLIPSIS.search(gold) else text


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
    if _statement(gold) == _statement(answer):
        return Status.OK
    if (decided := compare_exactly(gold, answer)) is not None:
        return decided
    if len(answer) > MAX_ANSWER_CHARS:
        return Status.TOO_LONG
    if (day := date(gold)) and (other_day := date(answer)):
        return Status.OK if _same_day(day, other_day) else Status.WRONG
    gold, answer = _in_one_unit(gold, answer)
    if is_words(gold) and (decided := _compare_words(gold, answer)) is not None:
        return decided
    gold, answer = common_form(gold, answer)
    if _is_evasive(gold, answer):
        return Status.UNPARSABLE
    if has_several_values(gold):
        return _compare_lists(values(gold), values(answer))
    return Status.UNPARSABLE if len(values(answer)) > 1 else compare_values(gold, answer)


def _same_day(gold: tuple[str, int, str], answer: tuple[str, int, str]) -> bool:
    """Whether two dates are the same; an answer may add the year."""
    return gold[:2] == answer[:2] and gold[2] in ("", answer[2])


def _in_one_unit(gold: str, answer: str) -> tuple[str, str]:
    """Both in one unit each, "2 h 30 min" in minutes, where both name units: alone, 150 does not say of what."""
    return (in_smallest_unit(gold), in_smallest_unit(answer)) if letters(gold) and letters(answer) else (gold, answer)


def _statement(text: str) -> list[str]:
    r"""The sides of an equation, sorted: `\text{AB} = \text{CD}` says no more than `CD = AB`."""
    return sorted(key(_WORD_AS_TEXT.sub(r"\1", side)) for side in split_top(text, {"="}))


def _compare_lists(golds: list[str], answers: list[str]) -> Status | None:
    exact_golds, exact_answers = ([rational(value) for value in listed] for listed in (golds, answers))
    if None in exact_golds or None in exact_answers:
        return None
    return Status.OK if same_values(exact_golds, exact_answers) else Status.WRONG


def _compare_words(gold: str, answer: str) -> Status | None:
    """Compare as words; None where a bare gold such as `ab` or `C` may be a symbol after all."""
    if same_words(gold, answer) or agrees(gold, answer):
        return Status.OK
    wanted = spoken(gold)
    if len(wanted) == 1 and not wanted.isdigit() and (chosen := choice(answer)) is not None:  # "(C) 42"
        if chosen == wanted and (r"\text" in gold or not gold.islower()):
            return Status.OK
        if not chosen or r"\text" in gold or not is_symbol_like(gold):  # no letter: it names several
            return Status.WRONG
    if r"\text" in gold or len(values(answer)) > 1:
        return Status.WRONG
    return None


def _is_evasive(gold: str, answer: str) -> bool:
    """Whether an answer has the form of one and leaves the question open.

    A sum, integral, limit, maximum or remainder that the gold does not have leaves the work to the verifier; an
    ellipsis, an implication or digits apart say nothing exact; words that negate are read over by math-verify.
    """
    answer = _UNDER_LIMIT.sub(r"\\lim", answer)
    forms = (_ELLIPSIS, _IMPLICATION)
    label, *sides = relation(answer)
    said = " = ".join(sides) if sides and is_label(label) else answer  # `\text{Var}(X)` and `\#S` may stand for a value
    if any(form.search(answer) and not form.search(gold) for form in forms):
        return True
    if _UNREADABLE.search(said) and not _UNREADABLE.search(gold):
        return True
    if all(map(UNEVALUATED.search, relation(answer))) and not UNEVALUATED.search(gold):
        return True  # `17 \bmod 5 = 2` says what it is
    if begins_with_words(said) and not begins_with_words(gold) and not is_words(gold):
        return True
    return bool(_DIGITS_APART.fullmatch(answer)) or bool(_NEGATION.search(answer) and not _NEGATION.search(gold))
