r"""Numbers that LaTeX would read as something else: `1e-05` (Euler's number), `2 1/2` (1), `1.5 x 10^8` (a symbol).

`spell_out` writes them as LaTeX has them, `power_of_ten` reads what it wrote. String work, linear in the text.
"""

from __future__ import annotations

import re
from fractions import Fraction

# Text in a font is skipped: nothing in it is arithmetic, and it must not get braces.
_TEXT = r"\\text\{[^{}]*\}"
_MANTISSA = r"(?<![\w.\\^])(?P<mantissa>\d{1,50}(?:\.\d{0,50})?|\.\d{1,50})"
_E_NOTATION = re.compile(rf"{_TEXT}|{_MANTISSA}(?P<e>[eE])(?P<sign>[+-]?)(?P<digits>\d{{1,3}})(?![\w^({{!']|\.\d)")
_EXPONENT = r"(?:\{\s*(?P<a>[+-]?\s*\d{1,3})\s*\}|\(\s*(?P<b>[+-]?\s*\d{1,3})\s*\)|(?P<c>[+-]?\d{1,3}))"
_TIMES_TEN = re.compile(
    rf"{_TEXT}|{_MANTISSA}\s*(?:[xX*]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*{_EXPONENT}(?![\w^(!]|\.\d)"
)
_TEN_ALONE = re.compile(r"(?<![\w.\\^])10\s*(?:\^|\*\*)\s*(?P<c>[+-]?\d{2,3}|[+-]\d)(?![\w^(!]|\.\d)")
_IN_LINE = re.compile(
    rf"{_TEXT}|(?<![\w./^}})\\])(?<!\d )(?P<whole>\d{{1,9}}) (?P<top>\d{{1,9}})/(?P<under>\d{{1,9}})(?![\w/^({{!]|\.\d)"
)
_STACKED = re.compile(
    rf"{_TEXT}|(?<![\w./^}})\\])(?<!\d )(?P<whole>\d{{1,9}})\s*\\frac\{{(?P<top>\d{{1,9}})\}}\{{(?P<under>\d{{1,9}})\}}"
    r"(?![\w^({!])"
)
_POWER_OF_TEN = re.compile(
    r"(?P<minus>-?)(?:(?P<mantissa>\d{0,50}(?:\.\d{1,50})?)\\times ?)?10\^\{?(?P<exponent>-?\d{1,3})\}?"
)
_EITHER_WAY = re.compile(r"(?P<minus>-?)(?P<mantissa>\d{1,50})e(?P<exponent>[+-][1-9]\d?)")


def spell_out(text: str) -> str:
    r"""`1e-05`, `1.5 x 10^8` and `10^-5` as `1\times 10^{-5}` and so on, `2 1/2` as `\frac{5}{2}`.

    `2e-5` stays as it is: that may be Euler's number twice, less five (`readings`). So do `e-5`, `2e` and `e^2`.
    """
    text = _E_NOTATION.sub(_from_e_notation, text)
    text = _TIMES_TEN.sub(_from_times_ten, text)
    text = _TEN_ALONE.sub(lambda found: f"10^{{{_exponent(found['c'])}}}", text)
    return _IN_LINE.sub(_from_mixed, text)


def join_mixed(text: str) -> str:
    r"""`2\frac{1}{2}` as `\frac{5}{2}`, where a proper fraction in integers follows an integer."""
    return _STACKED.sub(_from_mixed, text)


def power_of_ten(text: str) -> Fraction | None:
    r"""The value of `1.5\times 10^{8}`, `10^{-5}` and the like; None for anything else."""
    found = _POWER_OF_TEN.fullmatch(text)
    if not found or found["mantissa"] == "":
        return None
    value = Fraction(found["mantissa"] or 1) * Fraction(10) ** int(found["exponent"])
    return -value if found["minus"] else value


def readings(text: str) -> list[str]:
    r"""The readings of a text: one, but `2e-5` is both itself and `2\times 10^{-5}`."""
    found = _EITHER_WAY.fullmatch(text)
    return [text, _scientific(found["minus"] + found["mantissa"], found["exponent"])] if found else [text]


def _from_e_notation(found: re.Match[str]) -> str:
    mantissa, sign, digits = found["mantissa"], found["sign"], found["digits"]
    if mantissa is None:
        return found[0]
    # Euler's number is a small letter, and its factor and what is added to it are written short: "2e-5", "2e+1".
    may_be_euler = found["e"] == "e" and sign and "." not in mantissa and mantissa != "1" and digits[0] != "0"
    return found[0] if may_be_euler and len(digits) < 3 else _scientific(mantissa, sign + digits)


def _from_times_ten(found: re.Match[str]) -> str:
    exponent = found["a"] or found["b"] or found["c"]
    return _scientific(found["mantissa"], exponent) if exponent else found[0]


def _from_mixed(found: re.Match[str]) -> str:
    if found["whole"] is None:
        return found[0]
    whole, top, under = int(found["whole"]), int(found["top"]), int(found["under"])
    return f"\\frac{{{whole * under + top}}}{{{under}}}" if 0 < top < under else found[0]


def _scientific(mantissa: str, exponent: str) -> str:
    mantissa = mantissa.removesuffix(".")
    mantissa = f"0{mantissa}" if mantissa.startswith(".") else mantissa
    return f"{mantissa}\\times 10^{{{_exponent(exponent)}}}"


def _exponent(text: str) -> int:
    return int(text.replace(" ", ""))
