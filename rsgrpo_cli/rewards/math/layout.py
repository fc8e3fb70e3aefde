r"""Takes off what only lays an answer out: environments of lines, fonts around a formula, what is struck through.

`\begin{aligned} x &= 1 \\ y &= 2 \end{aligned}` is `x = 1, y = 2`. A matrix stays, and so does a function by cases.
String work, linear in the text.
"""

from __future__ import annotations

import re

_STRUCK = re.compile(r"\\(?:[bx]?cancel|sout)\s*\{(?:[^{}]|\{[^{}]*\})*\}")
_LOADED = re.compile(r"\\(?:require|usepackage)\s*\{\w*\}")
_BRACED_LINES = re.compile(
    r"\s*(?:\\left\s*)?\\\{\s*\\begin\{(array|matrix|aligned)\}(?:\{[lcr]*\})?(.*)\\end\{\1\}\s*(?:\\right\s*\.)?\s*",
    re.DOTALL,
)
_LINES = re.compile(
    r"\s*\\begin\{(?P<name>aligned|alignedat|align\*?|gathered|gather\*?|split|equation\*?|cases|array)\}"
    r"(?P<columns>\{[lcr\d]*\})?(?P<said>.*)\\end\{(?P=name)\}[\s.]*",
    re.DOTALL,
)
_ROW = re.compile(r"\\\\(?:\s*\[[^\[\]]*\])?|\\newline(?![A-Za-z])")
_CONDITION = re.compile(r"&|\\text|\bif\b|<|>|\\[lg]eq?")
_FONT = re.compile(r"\s*\\(?:text\w*|math(?:rm|it|bf|sf)|mbox)\s*\{(?P<said>.*)\}[\s.]*", re.DOTALL)
_FORMULA = re.compile(r"\\(?:[dtc]?frac|sqrt|pi|pm|infty|times|cdot|left|binom)(?![A-Za-z])")
_WORDS = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")


def without_layout(text: str) -> str:
    r"""A text without environments of lines, fonts around a formula and struck parts; several lines become a list."""
    text = _LOADED.sub(" ", text)
    if (left := _STRUCK.sub(" ", text)).strip():
        text = left
    if found := _BRACED_LINES.fullmatch(text):
        text = f"\\begin{{cases}}{found[2]}\\end{{cases}}"
    if found := _LINES.fullmatch(text):
        text = _joined(found["name"], found["said"], text)
    if (found := _FONT.fullmatch(text)) and _is_formula(found["said"]):
        text = found["said"]
    return text


def _joined(name: str, said: str, text: str) -> str:
    """The lines of an environment as a list; the text itself where they are a matrix or a function by cases."""
    rows = [row.strip(" \n,;&") for row in _ROW.split(said) if row.strip(" \n,;&")]
    if not rows or r"\begin" in said:
        return text
    by_cases = name == "cases" and any(_CONDITION.search(row) or "=" not in row for row in rows)
    if by_cases or (name == "array" and (len(rows) > 1 or "&" in rows[0])):
        return text
    lines: list[str] = []
    for row in (row.replace("&", " ").strip() for row in rows):
        if lines and row.startswith("="):  # continues the line before
            lines[-1] = f"{lines[-1]} {row}"
        else:
            lines.append(row)
    return ", ".join(lines)


def _is_formula(said: str) -> bool:
    r"""Whether what is set in a font is a formula, and one that the font encloses: `\text{a} + \text{b}` is two."""
    depth = 0
    for char in said:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return bool(_FORMULA.search(said)) and not _WORDS.search(said)
