r"""Reads the outer shape of a normalised answer: how many values, of what kind, with which labels and units.

String work only, on text that `text.normalise` has seen and that is at most a few thousand characters long.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from rsgrpo_cli.rewards.math.numbers import power_of_ten
from rsgrpo_cli.rewards.math.units import is_known_unit, power_of, unit_of

T = TypeVar("T")

_PIECE = re.compile(r"\\[A-Za-z]+|\\[\s\S]|[^\\]")
_OPEN = frozenset({"(", "[", "{", r"\{", r"\langle"})
_CLOSE = frozenset({")", "]", "}", r"\}", r"\rangle"})
_TEXT_BETWEEN = re.compile(r",?\s*\\text\{[\s,]*(?:and|or)(?: also| else)?[\s,]*\}")
_WORD_BETWEEN = re.compile(
    r",?\s+(?:and|or)\s+|(?<=[\d)\]}])(?:and|or)(?=[-(\[\\\d]|[A-Za-z]\s*[=(_])"  # "(11,7)or(7,11)"
)
_NAME_OF_SET = re.compile(
    r"^(?:[A-Za-z](?:_\w)?|\((?:\s*[A-Za-z]\s*,){1,3}\s*[A-Za-z]\s*\))\s*(?:=|\\in(?![A-Za-z]))\s*(?=\\\{(?:[^{}\\]|\\(?!\})[\s\S]|[{}])*\\\}$)"
)

_INTEGER = re.compile(r"([+-]?)\s*(\d+)")
_FRACTION = re.compile(
    r"(-?)\s*\\frac\{\s*(-?)\s*(\d{1,100})\s*\}\{\s*(-?)\s*(\d{1,100})\s*\}|(-?)\s*(\d{1,100})/(\d{1,100})"
)
_DECIMAL = re.compile(r"-?\d{0,50}\.\d{1,50}")

_TEXT_ONLY = re.compile(r"\(?\\text\{[^{}]*[^\W\d_][^{}]*\}\)?|\([^\W\d_]+\)|[^\W\d_]+(?: [^\W\d_]+)*")
_TEXT_COMMAND = re.compile(r"\\text\{([^{}]*)\}")

_SYMBOL = re.compile(
    r"(?:\\(?!frac|sqrt|pi|infty)[A-Za-z]+|[A-Za-z])'*(?:_(?:\{[^{}]*\}|\w))?'*(?:\([^()]*\))?"
    r"|\\text\{[^{}]*\}|\((?:\s*[A-Za-z]\s*,)+\s*[A-Za-z]\s*\)"
)
_SUBSCRIPT = re.compile(r"_(?:\{[^{}]*\}|\\?\w)")
_ARGUMENTS = re.compile(r"(?<=[A-Za-z}'])\s*(?:\([^()]*\)|\[[^\[\]]*\])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_CONSTANT = re.compile(r"\\(?:pi|infty)(?![A-Za-z])")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{\w+\*?\}")
_OPERATOR = re.compile(r"(?<=[\w)}'])\s*[-+/]|\\(?:cdot|times|d?frac)(?![A-Za-z])")
_UNKNOWNS = re.compile(r"(?<![A-Za-z\\])[t-z](?![A-Za-z_(])|(?<![A-Za-z\\])[t-z](?=[t-z](?![A-Za-z]))")
_POWER_OF_NAME = re.compile(
    r"(?P<function>(?<![A-Za-z\\])[A-Za-s]|\\(?:phi|varphi|psi|sigma|tau|pi|Gamma|Phi|Psi))\s*\^\s*(?:\{[^{}]*\}|-?\w)(?=\s*\()"
    r"|(?P<derived>(?<![A-Za-z\\])[A-Za-z])\s*\^\s*\{\s*\(\w+\)\s*\}"  # f^{(3)}
    r"|(?P<matrix>(?<![A-Za-z\\])[A-Z]|\{[A-Z]\})\s*\^\s*\{?\s*(?:-1|T|\\top|\\dagger|\*|c)\s*\}?(?!\w)"
    r"|(?P<variance>\\(?:sigma|chi))\s*\^\s*\{?\s*2\s*\}?(?!\w)"
)
_COMPOSED = re.compile(r"\(\s*[A-Za-z](?:\s*\\circ\s*[A-Za-z])+\s*\)(?=\s*\()")
_LEIBNIZ = re.compile(
    r"\\d?frac\s*\{\s*(?:d|\\partial)(?:\^\{?\d\}?)?(?![A-Za-z]{2})[^{}]*\}\s*\{\s*(?:d|\\partial)\s*[A-Za-z][^{}]*\}"
)
_GROWTH = re.compile(r"\\(?:log|ln|lg|exp|sqrt)(?![A-Za-z])")
_PRODUCT = re.compile(r"[t-z](?:\s*(?:\\cdot)?\s*[t-z])+")

_POWER = r"\s*(?:\^\s*\{?\s*(?P<power>\d)\s*\}?)?$"
_TEXT_TAIL = re.compile(r"(?<=\S)\s*\\text\{([^{}]*)\}" + _POWER)
_WORD_TAIL = re.compile(r"(?:(?<=[\d})])|(?<=\\pi))(\s*)([A-Za-z]+(?:[ .]+[A-Za-z]+|/(?:h|s|hr|min|sec)\b)*)" + _POWER)
_FUNCTION = re.compile(r"(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|arc)")


def key(text: str) -> str:
    """`text` without the white space that means nothing: that between two letters or digits stays."""
    return re.sub(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])", "", text)


def values(text: str) -> list[str]:
    r"""The values that an answer lists: parts between commas, semicolons, "and", "or" outside brackets.

    Set braces around all of it are taken off, with the name of the set or of its element (`x \in \{1, 2\}`);
    `a \pm b` counts as two values. "(1,2)" is one value, "x=1, x=2" is two. A set has each value once.
    """
    text = _WORD_BETWEEN.sub(",", _TEXT_BETWEEN.sub(",", _NAME_OF_SET.sub("", text)))
    is_set = text.startswith(r"\{") and text.endswith(r"\}") and not any(depth < 1 for _, depth in _inner(text))
    parts = (part.strip() for part in split_top(text[2:-2] if is_set else text, {",", ";"}))
    found = [value for part in parts if part for value in _both_signs(part)]
    named = is_set or (bool(found) and all(len(relation(value)) > 1 for value in found))  # "k=2, k=2" says it again
    return list({key(value): value for value in found}.values()) if named else found


def integer(text: str) -> str | None:
    """The canonical digits of an integer of any size: "+007" is "7", "-0" is "0". None for anything else.

    Equal integers give equal strings, so they are compared exactly, without float and without int()'s digit limit.
    """
    found = _INTEGER.fullmatch(text)
    if not found:
        return None
    digits = found[2].lstrip("0") or "0"
    return f"-{digits}" if found[1] == "-" and digits != "0" else digits


def rational(text: str) -> Fraction | None:
    r"""The value of `a`, `a/b` or `\frac{a}{b}` in integers of up to 100 digits; None for anything else."""
    whole = integer(text)
    if whole is not None:
        return Fraction(int(whole)) if len(whole) <= 100 else None
    found = _FRACTION.fullmatch(text)
    if not found:
        return None
    numerator, denominator = int(found[3] or found[7]), int(found[5] or found[8])
    minus = bool(found[1]) + bool(found[2]) + bool(found[4]) + bool(found[6])
    return Fraction(numerator * (-1) ** minus, denominator) if denominator else None


def decimal(text: str) -> Fraction | None:
    r"""The value of a decimal such as ".25", "-3.0" or `1.5\times 10^{8}`, as it is written; None for anything else.

    Of up to 100 digits and an exponent of up to 3.
    """
    return Fraction(text) if _DECIMAL.fullmatch(text) else power_of_ten(text)


def without_percent(text: str) -> str:
    r"""`28\%` without its sign."""
    return text.removesuffix(r"\%").rstrip()


def is_words(text: str) -> bool:
    r"""Whether an answer is words or a label: `\text{east}`, `Yes`, `(ii)`, `C`."""
    return bool(_TEXT_ONLY.fullmatch(text))


def relation(text: str) -> list[str]:
    r"""The sides of an equation, `\approx` and `\in` included; one side where it is none."""
    return [side.strip() for side in split_top(text, {"=", r"\approx", r"\in"})]


def is_symbol(side: str) -> bool:
    """Whether a left side names one thing: `x`, `a_1`, `f(x)`, `(p,q)`, words."""
    return bool(_SYMBOL.fullmatch(side))


def is_label(side: str) -> bool:
    r"""Whether a left side only names what is asked for: letters, and digits in subscripts and arguments alone.

    `m+n`, `f(2)` and `a_1` are labels; `41`, `1+1`, `2x` and `x+1` are not, nor is `x+y`: a sum of unknowns makes an
    equation to be solved. A power that belongs to a name is none: `f^{-1}(x)`, `A^T`, `\sigma^2`, `\frac{d}{dx} f(x)`.
    """
    named = _POWER_OF_NAME.sub(lambda found: next(name for name in found.groups() if name), side)
    side = _COMPOSED.sub("f", _LEIBNIZ.sub(r"\\delta ", named))
    bare = _ARGUMENTS.sub("", _SUBSCRIPT.sub("", _TEXT_COMMAND.sub("a", side)))
    letters = _COMMAND.sub("a", _CONSTANT.sub("1", bare))
    if _UNKNOWNS.search(side) and _GROWTH.search(side):
        return False
    if _UNKNOWNS.search(side) and (_OPERATOR.search(bare.strip(" -+")) or _PRODUCT.fullmatch(bare.strip())):
        return False
    return any(char.isalpha() for char in letters) and not any(char.isdigit() for char in letters)


def components(text: str) -> tuple[str, list[str], str] | None:
    """A tuple or interval as opening bracket, two parts or more, closing bracket; None for anything else."""
    if text[:1] not in {"(", "["} or text[-1:] not in {")", "]"} or any(depth < 1 for _, depth in _inner(text)):
        return None
    parts = [part.strip() for part in split_top(text[1:-1], {","})]
    return (text[0], parts, text[-1]) if len(parts) > 1 else None


def letters(text: str) -> list[str]:
    """The letters outside commands and names of environments: symbols and words."""
    return [char for char in _COMMAND.sub("", _ENVIRONMENT.sub("", text)) if char.isalpha()]


def same_values(golds: Sequence[T], answers: Sequence[T], equal: Callable[[T, T], bool] = operator.eq) -> bool:
    """Whether two lists have the same values in any order; what a gold lists twice, an answer must list twice.

    Of a gold without repetitions an answer may repeat a value: it is a set.
    """
    left = list(answers)
    for one in golds:
        partner = next((place for place, other in enumerate(left) if equal(one, other)), None)
        if partner is None:
            return False
        del left[partner]
    repeats = any(equal(one, other) for place, one in enumerate(golds) for other in golds[:place]) if left else False
    return not left or (not repeats and all(any(equal(one, other) for one in golds) for other in left))


@dataclass(frozen=True, slots=True)
class Measure:
    """A value and what stands behind it.

    Args:
        value: The value.
        unit: The canonical name of a known unit, the words themselves of any other, "" where there are none.
        power: Of the unit: 2 for "cm^2" and "square centimetres".
    """

    value: str
    unit: str = ""
    power: int = 1


def split_unit(text: str, *, numeric: bool = False, symbolic: bool = False) -> Measure:
    r"""Part a value from the unit or noun that ends it: `5\text{ cm}^2`, "42 ways".

    Words without `\text` must follow a number, and a blank unless they are a known unit: `3abc` is a product.

    Args:
        text: One value.
        numeric: Whether the value must be a number, so that a single letter can only be a unit: "5 m".
        symbolic: Whether letters outside `\text` are symbols: `\pi hr^2` is in no hours.
    """
    if found := _TEXT_TAIL.search(text):
        return _measure(text[: found.start()], found[1].strip(" .").lower(), found["power"])
    found = None if symbolic else _WORD_TAIL.search(text)
    if not found or letters(text[: found.start()]):
        return Measure(text)
    if _FUNCTION.match(found[2]) and not unit_of(found[2].lower()):  # "sec" begins "seconds", too
        return Measure(text)
    made = _measure(text[: found.start()], found[2].lower(), found["power"])
    known = is_known_unit(made.unit)
    if len(found[2]) == 1:
        return made if numeric and known and found[2] != "M" else Measure(text)  # "12M": millions
    is_word = any(len(word) > 2 for word in re.split(r"[ ./]+", found[2]))  # "h r" is a product
    return made if known or (numeric and unit_of(found[2].lower())) or (found[1] and is_word) else Measure(text)


def _measure(value: str, words: str, power: str | None) -> Measure:
    if power and "/" in words:  # of "m/s", it is that of the second
        words, power = f"{words}^{power}", None
    return Measure(value, unit_of(words) or words, power_of(words, int(power or 1)))


def split_top(text: str, separators: set[str]) -> list[str]:
    """Split at separators that stand outside all brackets. `!=`, `<=`, `>=`, `:=` are not `=`."""
    parts = [""]
    before = ""
    for piece, depth in _inner(text):
        if not depth and piece in separators and not (piece == "=" and before in "!<>:" and before):
            parts.append("")
        else:
            parts[-1] += piece
        before = piece
    return parts


def _inner(text: str) -> Iterator[tuple[str, int]]:
    """Each piece (a command or a character) with the number of brackets around it; brackets count as inside."""
    depth = 0
    for found in _PIECE.finditer(text):
        piece = found[0]
        depth += piece in _OPEN
        yield piece, depth
        depth = max(0, depth - (piece in _CLOSE))


def _both_signs(value: str) -> list[str]:
    if value.count(r"\pm") != 1:
        return [value]
    left, right = value.split(r"\pm")
    if not left.strip():
        right = right.strip()
    plus = f"{left}+{right}" if left.strip() else right
    return [plus.replace(r"\mp", "-"), f"{left}-{right}".replace(r"\mp", "+")]
