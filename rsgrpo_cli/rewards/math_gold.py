r"""Reads a reference answer that was not written as one: a worked solution, a list as text. And says what is none.

Linear in the text but for lists, which are parsed up to 10,000 characters.
"""

from __future__ import annotations

import ast
import json
import re
import warnings

from rsgrpo_cli.rewards.extraction import extract_stated

MAX_GOLD_CHARS = 2_000
"""No completion is given more characters for its answer."""
_MAX_LIST_CHARS = 10_000

_WORKED = re.compile(
    r"\\(?:boxed|fbox)(?![A-Za-z])|####|<answer>|\banswer\s*(?:is\b|:|=)|\bAnswer\b\s*：|答案", re.IGNORECASE
)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
# Of text only: "[0, 1]" is an interval.
_LIST = re.compile(r"\s*\[\s*(?:['\"][\s\S]*['\"]|-?[\d./]+)\s*\]\s*")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SIDE_BY_SIDE = re.compile(r"(['\"])\s+(?=['\"])")  # NumPy writes no commas
_LATEX_ESCAPE = re.compile(r"(?<!\\)\\(?=[A-Za-z(){}\[\],;!|%$])(?!u[0-9a-fA-F]{4})")

_MATHS = re.compile(r"\$[^$]*\$|\\\([\s\S]*?\\\)|\\\[[\s\S]*?\\\]|\\[A-Za-z]+")
_TEXT = re.compile(r"\\text(?:bf|it|rm|normal)?\s*\{[^{}]*\}")
_WORD = re.compile(r"[^\W\d_]{2,}(?:['’][a-z]+)?")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_VERB = re.compile(
    r"(?<![^\W\d_])(?:is|are|was|were|has|have|had|gets?|got|so|because|since|therefore|thus|hence|equals|which|then|we|he|she"
    r"|they|there|must|gives?|needs?|makes?)(?![^\W\d_])",
    re.IGNORECASE,
)
"""What answers in words hardly have, and sentences do."""
# No gold of the known data sets has as many: it is words such as "no real solutions" that must stay.
_MAX_WORDS, _MAX_WORDS_WITH_VERB, _MAX_WORDS_AS_TEXT, _MAX_HAN = 8, 4, 15, 20


def read_gold(gold: str) -> str:
    """What a completion has to answer: the final answer of a worked solution, the values of a list as text.

    Everything else is returned as it is.
    """
    if (listed := _listed(gold)) is not None:
        # "1,000" would be two values among others.
        return read_gold(", ".join(part.replace(",", "") if _GROUPED.fullmatch(part) else part for part in listed))
    if _WORKED.search(gold):
        return extract_stated(gold) or gold
    return gold


def is_worked(gold: str) -> bool:
    """Whether a reference answer is a worked solution whose final answer can be taken out."""
    return _listed(gold) is None and read_gold(gold) != gold


def complaint_about(gold: str) -> str | None:
    """Why no completion would be found right, however it writes the answer; None where there is no such reason.

    Args:
        gold: From `read_gold`.
    """
    if len(gold) > MAX_GOLD_CHARS:
        return f"it has {len(gold)} characters, and no more than {MAX_GOLD_CHARS} of an answer are read"
    if _BOX.search(gold):
        return "it is a worked solution, and its last box is empty or never closed"
    if _is_sentence(gold):
        return "it is a sentence, and no final answer (a box, '####', 'The answer is') can be taken out of it"
    return None


def _listed(gold: str) -> list[str] | None:
    """The elements of a list of texts, or of one number, written as JSON or as Python does."""
    if len(gold) > _MAX_LIST_CHARS or not _LIST.fullmatch(gold):
        return None
    escaped = _LATEX_ESCAPE.sub(r"\\\\", gold.strip())
    try:
        found = json.loads(escaped)
    except (ValueError, RecursionError):
        found = _python_list(_SIDE_BY_SIDE.sub(r"\1, ", escaped))
    if not isinstance(found, list) or not found:
        return None
    if len(found) == 1 and isinstance(found[0], int | float):
        return [gold.strip()[1:-1].strip()]
    return [text.strip() for text in found] if all(isinstance(text, str) and text.strip() for text in found) else None


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
    with_number = any(char.isdigit() for char in prose)
    return bool(_VERB.search(prose)) and (with_number or len(found) > _MAX_WORDS_WITH_VERB)
