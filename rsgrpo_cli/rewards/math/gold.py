r"""Reads a reference answer that was not written as one: a worked solution, a list as text. And says what is none.

Linear in the text but for lists, which are parsed up to 10,000 characters.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Sequence

from rsgrpo_cli.rewards.extraction import extract_stated
from rsgrpo_cli.rewards.math.gold_spelling import VERB, as_answered

MAX_GOLD_CHARS = 2_000
"""No completion is given more characters for its answer."""
_MAX_LIST_CHARS = 10_000

_WORKED = re.compile(
    r"\\(?:boxed|fbox)(?![A-Za-z])|####|<answer>|\banswer\s*(?:is\b|:|=)|\bAnswer\b\s*：|答案|\bans[.:]", re.IGNORECASE
)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
# Of text only: "[0, 1]" is an interval. Tuples and sets of texts are Python's.
_LIST = re.compile(r"\s*(?:\[\s*(?:['\"][\s\S]*['\"]|-?[\d./]+)\s*\]|[({]\s*['\"][^:]*['\"]\s*,?\s*[)}])\s*")
_EMPTY = re.compile(r"\s*(?:\[\s*\]|\{\s*\}|\(\s*\)|\[\s*(?:''|\"\"|null|None|nan|NaN)\s*\])\s*")
_WRAPPED = re.compile(r"\s*\[\s*(\[[^\[\]]*\])\s*\]\s*")
_NUMBERS = re.compile(r"\s*\[\s*(-?[\d.]+(?:\s*,\s*-?[\d.]+)*)\s*\]\s*")
_PAIR = 2
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SIDE_BY_SIDE = re.compile(r"(['\"])\s+(?=['\"])")  # NumPy writes no commas
_LATEX_ESCAPE = re.compile(r"(?<!\\)\\(?=[A-Za-z(){}\[\],;!|%$])(?!u[0-9a-fA-F]{4})")

# A form feed before "rac" is a backslash that an escape has eaten, and is mended.
_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1f\x7f]|[\x07\x08\x0b\x0c](?![a-z])")
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\s*\{\s*(['\"])[^'\"]*\1\s*:"), "it is an object: give the answer a column of its own"),
    (re.compile(r"\s*[\[(]\s*\["), r"it is a list of lists: write a matrix as \begin{pmatrix}, values as 1, 2"),
    (
        re.compile(r"\s*(?:\d{4}-\d\d?-\d\d?|\d\d?([/.])\d\d?\1\d{4})(?:[T ]\d\d?:\d\d.*)?\s*\Z"),
        "it is a date, which would be read as a calculation",
    ),
    (
        re.compile(
            r"\s*(?:\\text\{)?(?:about|around|approximately|approx\.?|roughly|nearly|almost|exactly|at (?:least|most)"
            r"|(?:more|less|fewer|greater) than|over|under|up to)\s+[\d$\\.-]",
            re.IGNORECASE,
        ),
        "it has a word before its number: write the number alone",
    ),
    (
        re.compile(
            r"\s*(?:\w+\.)?(?:array|tensor|Matrix|Interval|FiniteSet|Union|Piecewise|Eq|Symbol|OrderedDict|Fraction|Rational"
            r"|(?:frozen)?set|list|tuple|dict|datetime|date|Timestamp)\(|\s*lambda\s+[\w, ]*:"
        ),
        "it is written as code: write it in LaTeX",
    ),
    (
        re.compile(r"(?:[^=]*\d\s*[-+*/x×÷]\s*\d[^=]*=[^=]*(?:[\n,;]|\Z)){2,}", re.DOTALL),
        "it is a calculation: write its result alone",
    ),
    (
        re.compile(r".*\d\s*\([^\W\d_]{3,}(?:[ -][^\W\d_]+)*\)\s*\Z"),
        "it has a word in brackets behind its number: write the number alone",
    ),
)

_MATHS = re.compile(r"\$[^$]*\$|\\\([\s\S]*?\\\)|\\\[[\s\S]*?\\\]|\\[A-Za-z]+")
_TEXT = re.compile(r"\\text(?:bf|it|rm|normal)?\s*\{[^{}]*\}")
_WORD = re.compile(r"[^\W\d_]{2,}(?:['’][a-z]+)?")
_CONCLUDES = re.compile(r"\s*(?:thus|hence|therefore|so|this|that|which|it|we)\b", re.IGNORECASE)
_HAN = re.compile(r"[\u4e00-\u9fff]")
# No gold of the known data sets has as many: it is words such as "no real solutions" that must stay.
_MAX_WORDS, _MAX_WORDS_WITH_VERB, _MAX_WORDS_AS_TEXT, _MAX_HAN = 8, 4, 15, 20


def read_gold(gold: str, *, among_lists: bool = False) -> str:
    """What a completion has to answer: the final answer of a worked solution, the values of a list as text.

    What a program or a form has written is spelled as a person answers it; everything else is returned as it is. An
    empty list is no answer.

    Args:
        gold: A reference answer as its data set has it.
        among_lists: Whether `hold_lists` says so of its column: then "[0, 1]" is two values.
    """
    if _EMPTY.fullmatch(gold):
        return ""
    if (numbers := _numbers(gold, among_lists)) is not None:
        return ", ".join(numbers)
    if (listed := _listed(gold)) is not None:
        # "1,000" would be two values among others.
        return read_gold(", ".join(part.replace(",", "") if _GROUPED.fullmatch(part) else part for part in listed))
    if _WORKED.search(gold):
        gold = extract_stated(gold) or gold
    return as_answered(gold)


def hold_lists(golds: Sequence[str]) -> bool:
    """Whether all these answers are lists of numbers in brackets, and not all of them could be intervals."""
    lengths = {len(found[1].split(",")) if (found := _NUMBERS.fullmatch(gold)) else 0 for gold in golds}
    return bool(lengths - {_PAIR}) and 0 not in lengths


def is_worked(gold: str) -> bool:
    """Whether a reference answer is a worked solution whose final answer can be taken out."""
    return bool(_WORKED.search(gold)) and _listed(gold) is None and read_gold(gold) != as_answered(gold)


def complaint_about(gold: str) -> str | None:
    """Why no completion would be found right, however it writes the answer; None where there is no such reason.

    Args:
        gold: From `read_gold`.
    """
    if len(gold) > MAX_GOLD_CHARS:
        return f"it has {len(gold)} characters, and no more than {MAX_GOLD_CHARS} of an answer are read"
    for form, complaint in _FORMS:
        if form.match(gold):
            return complaint
    if control := _CONTROL.search(gold):
        return f"it has the control character U+{ord(control[0]):04X}"
    if _BOX.search(gold):
        return "it is a worked solution, and its last box is empty or never closed"
    if _is_sentence(gold):
        return "it is a sentence, and no final answer (a box, '####', 'The answer is') can be taken out of it"
    return None


def _listed(gold: str) -> list[str] | None:
    """The elements of a list of texts, or of one number, written as JSON or as Python does."""
    if wrapped := _WRAPPED.fullmatch(gold):
        gold = wrapped[1]
    if len(gold) > _MAX_LIST_CHARS or not _LIST.fullmatch(gold):
        return None
    escaped = _LATEX_ESCAPE.sub(r"\\\\", gold.strip())
    try:
        found = json.loads(escaped)
    except (ValueError, RecursionError):
        found = _python_list(_SIDE_BY_SIDE.sub(r"\1, ", escaped))
    found = sorted(found) if isinstance(found, set) else list(found) if isinstance(found, tuple) else found
    if not isinstance(found, list) or not found:
        return None
    if len(found) == 1 and isinstance(found[0], int | float):
        return [gold.strip()[1:-1].strip()]
    return [text.strip() for text in found] if all(isinstance(text, str) and text.strip() for text in found) else None


def _numbers(gold: str, among_lists: bool) -> list[str] | None:
    """The elements of a list of numbers, where it can be no interval: the ends of one ascend."""
    found = _NUMBERS.fullmatch(gold)
    numbers = [number.strip() for number in found[1].split(",")] if found else []
    try:
        descends = len(numbers) == _PAIR and float(numbers[0]) >= float(numbers[1])
    except ValueError:
        return None
    return numbers if numbers and (among_lists or descends) else None


def _python_list(text: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # an escape that Python has not
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_sentence(gold: str) -> bool:
    """Whether a text is prose: many words, or a verb with some, or with a number. What is set as text counts less."""
    outside = _TEXT.sub(" ", gold)
    prose = _MATHS.sub(" 0 ", outside)
    found = _WORD.findall(prose)
    if len(found) > _MAX_WORDS or len(_WORD.findall(_MATHS.sub(" ", gold))) > _MAX_WORDS_AS_TEXT:
        return True
    if len(_HAN.findall(prose)) > _MAX_HAN:
        return True
    says_more = any(char.isdigit() for char in prose) or len(found) > _MAX_WORDS_WITH_VERB
    return bool(VERB.search(prose)) and (says_more or bool(_CONCLUDES.match(prose)))
