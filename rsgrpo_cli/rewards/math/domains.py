r"""The kind of number that a letter stands for, `k \in \mathbb{Z}`: whether an answer says another than its gold.

Leaving it out is right, and so is another letter; `k\pi, k \in \mathbb{R}` is every number. String work, linear.
"""

from __future__ import annotations

import re

_IN = re.compile(
    r"(?<![A-Za-z\\])(?P<letter>[a-z])(?:_\w)?\s*(?:\\in(?![A-Za-z])|∈)\s*"
    r"(?:(?:\\(?:mathbb|mathbf|Bbb)\s*)?\{?\s*(?P<name>[NZQRC])(?![A-Za-z])\s*\}?|(?P<symbol>[ℕℤℚℝℂ]))"
    r"(?P<part>\s*[\^_]\s*\{?\s*(?:[+*>0]|\\(?:ge|geq|geqslant|ast|star)(?![A-Za-z])))?"
)
_IN_WORDS = re.compile(
    r"\b(?:any|all|every|each|an?|some|arbitrary)\s+(?:arbitrary\s+)?"
    r"(?P<kind>real|rational|complex|natural|(?:positive|non-?negative)\s+(?:integer|whole))\b"
)
_SYMBOLS = dict(zip("ℕℤℚℝℂ", "NZQRC", strict=True))
_WORDS = {"real": "R", "rational": "Q", "complex": "C"}
_UNKNOWNS = frozenset("xyzt")


def contradict(gold: str, answer: str) -> bool:
    r"""Whether an answer says of its letter that it is of another kind than the one of the gold.

    Args:
        gold: As it is written.
        answer: As it is written.
    """
    golds, answers = _kinds(gold), _kinds(answer)
    if any(golds[letter] != answers[letter] for letter in golds.keys() & answers.keys()):
        return True
    if len(golds) != 1:
        return False
    (wanted,) = golds.values()
    if answers:
        (letter, kind), *rest = answers.items()
        return not rest and not golds.keys() & answers.keys() and letter not in _UNKNOWNS and kind != wanted
    said = _IN_WORDS.search(answer)
    return said is not None and wanted != _WORDS.get(said["kind"], "N")


def _kinds(text: str) -> dict[str, str]:
    """The set of each letter; that of the whole numbers from 0 or 1 on is N, however it is written."""
    found = {}
    for said in _IN.finditer(text):
        name = said["name"] or _SYMBOLS[said["symbol"]]
        in_part = {"Z": "N", "N": "N"}.get(name, f"{name}+")
        found[said["letter"]] = in_part if said["part"] else name
    return found
