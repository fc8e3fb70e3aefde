"""Reference answers as they come out of a data set: text, numbers, lists, gaps."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rsgrpo_cli.tasks.chats import GAPS, answer_in

_SPACE_AROUND = re.compile(r"\A[^\S\x0b\x0c]+|\s+\Z")
"""White space, but no form feed at the beginning: that is what an escape has made of the `\\f` of `\\frac`."""
_NO_ANSWER = re.compile(
    r"[\s?.…_$*/—–-]+|(?:the )?(?:proof|proved|proven|q\.?e\.?d|not ?found|no answer|omitted|placeholder|todo"
    r"|(?:answer )?(?:not (?:provided|available|given)|unavailable|missing)"
    r"|see (?:the )?(?:solution|proof|above|below|explanation|figure|diagram|graph|picture)"
    r"|略|证明略?|见(?:解析|证明))[.。]?",
    re.IGNORECASE,
)
"""What data sets write where a problem has no final answer: NuminaMath has "proof" and "notfound"."""
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_LONGEST_DECIMAL = 40


@dataclass(frozen=True, slots=True)
class Gold:
    """A reference answer.

    Args:
        text: As mathematics is written; empty where there is none.
        stored: As a user's own reward function gets it: lists and objects as JSON.
        complaint: Why it is no mathematical answer; empty where it may be one.
    """

    text: str
    stored: str
    complaint: str = ""


def read_gold(value: Any) -> Gold:
    """Read the value of an answer column.

    Text stays as it is. A list has several values, "3, -3". A chat has what the assistant says at its end. A missing
    value, NaN included, is no answer, and neither is a word for it; a function of the user's own gets the word.
    """
    if (said := answer_in(value)) is not None:
        value = said
    if isinstance(value, list | tuple):
        return _of_list(list(value))
    if isinstance(value, Mapping):
        complaint = "it is an object: name the part of it that is the answer with --answer-column COLUMN.KEY"
        stored = _json(value)
        return Gold(stored, stored, complaint)
    text = _plain(value)
    if text is None:
        complaint = f"it is of the type {type(value).__name__}: write it as text"
        return Gold(str(value), str(value), complaint)
    if _NO_ANSWER.fullmatch(text):
        return Gold("", text)
    return Gold(text, text, "it has a NUL character" if "\0" in text else "")


def _of_list(found: list[Any]) -> Gold:
    while len(found) == 1 and isinstance(found[0], list | tuple):
        found = list(found[0])
    stored = _json(found)
    parts = [_plain(part) for part in found]
    if not any(part is None or part for part in parts):
        return Gold("", "")
    known = [part for part in parts if part]
    if len(known) < len(parts):
        return Gold(stored, stored, "it is a list with something in it that is neither text nor a number")
    if any("\0" in part for part in known):
        return Gold(stored, stored, "it has a NUL character")
    if len(known) == 1:
        return Gold(known[0], stored)
    # "1,000" would be two values among others.
    return Gold(", ".join(part.replace(",", "") if _GROUPED.fullmatch(part) else part for part in known), stored)


def _plain(value: Any) -> str | None:
    """A single value as text; empty where it is missing, None where it is no text and no number."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if value is None:
        return ""
    if isinstance(value, str):
        text = _SPACE_AROUND.sub("", value)
        return "" if text in GAPS else text
    if isinstance(value, float | Decimal):
        return _number(value)
    return str(value) if isinstance(value, int) else None


def _number(value: float | Decimal) -> str:
    r"""A number in digits, for `1e-05` would be read as Euler's; as `m\times 10^{e}` where these are very many."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return r"\infty" if value > 0 else r"-\infty"
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    if exact and not -_LONGEST_DECIMAL <= exact.adjusted() <= _LONGEST_DECIMAL:
        mantissa, _, exponent = f"{exact:e}".partition("e")
        return rf"{_short(mantissa)}\times 10^{{{int(exponent)}}}"
    return _short(f"{exact:f}")


def _short(digits: str) -> str:
    """A column of integers with a gap reads as floats: 42.0 is 42."""
    whole, dot, fraction = digits.partition(".")
    return whole if dot and not fraction.strip("0") else digits


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
