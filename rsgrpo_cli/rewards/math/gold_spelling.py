r"""Spells a reference answer as a person would answer it: what a program, a spreadsheet or a form has written.

`sin(pi/3)` becomes `\sin(pi/3)`, `Fraction(1, 2)` becomes `1/2`, "Result: 12" becomes `12`, "May 5" becomes
`\text{May 5}`. Of reference answers only: what a model answers is read by stricter rules. String work, linear in the
text; a second application changes nothing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

_NUMBER = r"[+-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LATEX_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|max|min|gcd|lcm"
_NOT_NAMES = rf"(?!(?:{_LATEX_FUNCTIONS}|det|pi|sqrt|mod|base)\b)"

_ENTITY = re.compile(r"&(?:lt|gt|le|ge|ne|amp|nbsp|minus|times|radic|pi|deg|frac12|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_BYTES = re.compile(r"\s*[bu](['\"])([^'\"\\]*)\1\s*")
_WRAPPED_NUMBER = re.compile(
    rf"\s*(?:(?:np|numpy|torch|tf|sp|sympy|decimal|fractions|mpmath)\.)?(?:float|int|bool_?|tensor|array|Integer|Float"
    rf"|Decimal|mpf|Fraction|Rational)\d*\(\s*['\"]?({_NUMBER})(?:\s*[,/]\s*(\d+))?['\"]?\s*\)\s*"
)
_CURRENCY_BEFORE = re.compile(
    r"\A\s*[-+]?\s*(?:(?:US|CA?|AU?|NZ|HK|S)\s?\\?\$|(?:USD|EUR|GBP|INR|CNY|RMB|JPY|Rs\.?)\s*)(?=\d)"
)
_INFINITY = re.compile(r"\s*([+-]?)\s*(?:inf|infty|infinity)\s*", re.IGNORECASE)
_IMAGINARY = re.compile(r"(?<=[\d)])\s*\*?\s*[Ij](?![A-Za-z])|(?<=[+-])\s*I(?![A-Za-z])")
_REPEATING = re.compile(r"\s*([+-]?\d*\.\d*)\((\d+)\)\s*")
_ABOUT = re.compile(rf"[A-Za-z\s]*(?:≈|\\approx)\s*(\$?{_NUMBER}\$?)\s*")  # an exact value before it would count
_UNION = re.compile(r"(?<=[)\]])\s*U\s*(?=[(\[])")
_DIGITS_IN_CODE = re.compile(r"\s*([+-]?\d{1,3}(?:_\d{3})+)\s*")
_MIXED = re.compile(r"\s*(\d+) and (\d+)/(\d+)\s*")
_LINES = re.compile(rf"\s*\$?{_NUMBER}\$?(?:\s*\n\s*\$?{_NUMBER}\$?)+\s*")
_SET = re.compile(r"(∈|\\in)\s*\{([^{}]*)\}\s*")
_CALL = re.compile(rf"(?<![\\A-Za-z])(a(?:sin|cos|tan)|{_LATEX_FUNCTIONS})(?=\s*\()")
_ARGUMENT = re.compile(r"(?<![\\A-Za-z])(abs|cbrt|exp)\(([^()]*)\)")
_TWO_ARGUMENTS = re.compile(r"(?<![\\A-Za-z])(?:binomial|binom|comb|nCr)\(\s*(\w+)\s*,\s*(\w+)\s*\)")
_APART = re.compile(r"(?<=[\d})])\s*(?:\\q?quad\s*)+(?=[A-Za-z](?:_\w)?\s*=)|(?<=[\d})])\s+(?=[A-Za-z](?:_\w)?\s*=)")

_HEADING = re.compile(
    r"\A\s*(?:[^\W\d_]{3,}(?: [^\W\d_]+){0,3}\s*[:：]\s*(?=[\d$\\(+-]|[A-Za-z]\s*=)|(?:Ans|No|Nr)\.\s*(?=\d))"
)
_WITH_COLONS = re.compile(rf"\s*[A-Za-z]\s*:\s*{_NUMBER}(?:\s*[,;]\s*[A-Za-z]\s*:\s*{_NUMBER})*\s*")
_NAME = re.compile(
    rf"\A\s*\$?{_NOT_NAMES}(?:(?:\\(?:angle|triangle|overline)\s*)?\{{?[A-Z]{{2,4}}\}}?"
    rf"|[A-Za-z][a-z]{{2,}}(?: [a-z]+){{0,3}})\s*=\s*(?=[\d$.-]|\\(?:frac|sqrt|pi))"
)
VERB = re.compile(
    r"(?<![^\W\d_])(?:is|are|was|were|has|have|had|gets?|got|so|because|since|therefore|thus|hence|equals|which|then|we|he|she"
    r"|they|there|must|gives?|needs?|makes?)(?![^\W\d_])",
    re.IGNORECASE,
)
"""What answers in words hardly have, and sentences do."""
_OPTION = re.compile(r"\s*(?:option|choice|alternative)\s+\(?([A-Z])\)?\.?\s*", re.IGNORECASE)
# Words and numbers, no mathematics: "May 5", "7 hours 30 minutes". A number and a noun, "5 apples", are left alone.
_PHRASE = re.compile(
    rf"{_NOT_NAMES}(?:[A-Za-z]{{2,}}\.? ){{1,3}}\d+(?:st|nd|rd|th)?(?:,? [A-Za-z\d]+){{0,2}}"
    r"|\d+ [A-Za-z]{2,},?(?: and)? \d+ [A-Za-z]{2,}"
)


def as_answered(gold: str) -> str:
    """The spelling in which a completion would give this answer; the same text where it is one already."""
    text = html.unescape(gold) if _ENTITY.search(gold) else gold
    if found := _BYTES.fullmatch(text):
        text = found[2]
    if found := _WRAPPED_NUMBER.fullmatch(text):
        text = f"{found[1]}/{found[2]}" if found[2] else found[1]
    text = _CURRENCY_BEFORE.sub(lambda found: "-" if "-" in found[0] else "", text, count=1)
    text = _HEADING.sub("", text, count=1)
    for pattern, spelled in _WHOLE:
        if found := pattern.fullmatch(text):
            return spelled(found)
    text = _NAME.sub("", text, count=1) if text.count("=") == 1 else text
    text = _UNION.sub(r" \\cup ", text)
    text = _SET.sub(lambda found: f"{found[1]} \\{{{found[2]}\\}}", text)
    return _APART.sub(", ", _from_code(text))


def _from_code(text: str) -> str:
    """A formula as programs write it, in LaTeX."""
    if not re.search(r"[A-Za-z]{2,}\(|[Ij](?![A-Za-z])", text):
        return text
    text = _TWO_ARGUMENTS.sub(r"\\binom{\1}{\2}", text)
    text = _ARGUMENT.sub(lambda found: _OF_ONE[found[1]].format(found[2]), text)
    text = _CALL.sub(lambda found: f"\\{_ARC.get(found[1], found[1])}", text)
    letters = {char for char in re.sub(r"\\?sqrt|\\?pi|\\frac", "", text) if char.isalpha()}
    return _IMAGINARY.sub("i", text) if letters in ({"I"}, {"j"}) else text


_OF_ONE = {"abs": "|{}|", "cbrt": r"\sqrt[3]{{{}}}", "exp": "e^{{{}}}"}
_ARC = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_WHOLE: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_INFINITY, lambda found: rf"{found[1].replace('+', '')}\infty"),
    (_REPEATING, lambda found: rf"{found[1]}\overline{{{found[2]}}}"),
    (_DIGITS_IN_CODE, lambda found: found[1].replace("_", "")),
    (_MIXED, lambda found: f"{found[1]} {found[2]}/{found[3]}" if int(found[2]) < int(found[3]) else found[0]),
    (_LINES, lambda found: ", ".join(found[0].split())),
    (_ABOUT, lambda found: found[1]),
    (_WITH_COLONS, lambda found: found[0].replace(":", "=")),
    (_OPTION, lambda found: found[1]),
    (_PHRASE, lambda found: found[0] if VERB.search(found[0]) else rf"\text{{{found[0]}}}"),
)
