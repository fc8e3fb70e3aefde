r"""Reads the formula that a box is only a part of: `\boxed{4.2}\times 10^3`, `\frac{\boxed{42}}{2}`, `x<\boxed{42}`.

Only what can be nothing else is read: an operator with a value, an exponent, the argument of a root, a fraction or a
function, digits against the box. A box in an equation of numbers, `\frac{3}{4}=\frac{\boxed{9}}{12}`, or before an
equals sign is a gap that is filled, and its content the answer. No more than 80 characters on each side are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_REACH = 80
_MOST_BOXES = 4
# In what is searched, a box before the last is one character of Unicode's private area.
_HELD, _BOX = 0xE000, r"[\ue000-\ue00f]"
_GROUP, _FRACTION = r"\{[^{}]{1,20}\}", r"\\[dt]?frac\s*"

_NAME = r"\\(?:pi|theta|alpha|beta|lambda|omega|phi|mu|infty)(?![A-Za-z])"
_ROOT = r"\\sqrt\s*(?:\[\s*\w\s*\]\s*)?"
_NUMBER = r"\d(?:[\d,]*\d)?(?:\.\d+)?"
_ATOM = (
    rf"(?>(?:{_NUMBER}|{_BOX}|{_NAME}|{_ROOT}{_GROUP}|{_FRACTION}\s*{_GROUP}\s*{_GROUP}"
    r"|(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])|\([^(){}$\\]{1,20}\))(?:\s*\^\s*(?:\{[^{}]{1,12}\}|\w))?)"
)
# "\times 10^3 J" ends in a unit.
_PRODUCT = rf"{_ATOM}(?:(?:\s(?=\\))?{_ATOM}){{0,3}}"
# Outside a formula "-" and "*" may be decoration; "^\circ" is a unit, and "\pm 5" behind a number its error.
_SURE = (
    r"(?:\+|/(?!\s*[smhgdlL](?!\w))|\^(?!\s*\{?\s*(?:\\(?:circ|degree|prime)|'))|\\(?:cdot|times|div)(?![A-Za-z])"
    r"|\\[mp][mp](?![A-Za-z])(?!\s*[\d.]+(?![\d.]|\s*\\(?:sqrt|pi))))"
)
_OPERATOR = rf"(?:{_SURE}|-(?!-)|\*(?!\*))"
_FUNCTION = r"\\(?:log|ln|lg|sin|cos|tan|cot|exp)(?![A-Za-z])(?:\s*_\s*(?:\{\w{1,3}\}|\w))?"
_OPENS = rf"(?:{_FRACTION}\s*(?:{_GROUP}\s*)?\{{|{_ROOT}\{{|{_FUNCTION}\s*[({{]?|{_ATOM}\s*\^\s*\{{?)"
_BEGINS = r"(?P<begins>\$|\\[\[(]|=|&|\\(?:approx|equiv)(?![A-Za-z])|^|(?<=[\s:,*]))"
_BEFORE = re.compile(
    rf"{_BEGINS}\s*(?P<said>[-+]?\s*(?:{_PRODUCT}\s*{_OPERATOR}\s*){{0,4}}(?:{_OPENS}\s*)?"
    rf"(?:{_PRODUCT}\s*{_OPERATOR}\s*){{0,2}}(?:\\pm\s*|{_PRODUCT}\s?)?)\Z"
)
_HELD_LAST = re.compile(rf"{_BOX}\s*\Z")
_SURE_BEFORE = re.compile(rf"{_OPENS}|{_BOX}|\\(?:cdot|times|pm)(?![A-Za-z])|\+")
_DIGITS_BEFORE = re.compile(r"(?:(?<![\w.\\])|(?<=[$=]))(?P<said>0\.|(?<=[$=])-?\d+\.)\Z")
# Of single letters behind a box those that are no units.
_FACTOR = (
    rf"(?:{_NAME}|{_ROOT}\{{[^{{}}]{{1,20}}\}}|[abcinkpqrtxyz](?![A-Za-z]))(?:\s*\^\s*(?:\{{[^{{}}]{{1,12}}\}}|\w))?"
)
_BEHIND = re.compile(rf"(?:{_FACTOR})?(?:\s*{_OPERATOR}\s*(?:\{{[^{{}}]{{1,20}}\}}|{_PRODUCT})){{0,4}}")
_SURE_BEHIND = re.compile(rf"(?:\s*{_SURE}\s*(?:\{{[^{{}}]{{1,20}}\}}|{_PRODUCT})){{0,4}}")
_DIGITS_BEHIND = re.compile(r"(?P<unclear>(?!000)\d+)|(?:\.\d|(?:,|\{,\}|\\,)?\d{3}(?!\d))[\d,]*(?:\.\d+)?")
_PART_BEHIND = re.compile(r"\s*\\[dt]?frac\s*\{(\d{1,9})\}\s*\{(\d{1,9})\}")
_POWER_OF_TEN = re.compile(r"\s*\\(?:times|cdot)\s*10\s*\^")
_ENDS = re.compile(r"\s*(?:[.,;:!]?\s*(?:\$|\\[\])]|\\end\b|\\\\|&)|\\(?:text|q?quad)(?![A-Za-z])|\\[,;])")
_GOES_ON = re.compile(r"\s*(?:\$\s*)?(?:[=<>≈]|\\(?:approx|leq?|geq?|neq?|equiv|lt|gt)(?![A-Za-z])|\\?[-+*/^_]|\w\()")
_NUMBERS_ONLY = re.compile(
    r"(?=.*\d)(?:[-\d\s.,+*/^(){}\ue000-\ue00f]|\\(?:[dt]?frac|sqrt|cdot|times|left|right)(?![A-Za-z]))+"
)
_SIDE = re.compile(r"(?:\$|\\[\[(]|=|^)(?P<said>[^$=\n]{1,60}?)\s*\Z")
_BOUND = re.compile(
    r"(?:(?<![\w\\])[-\d./]+\s*(?:<|\\leq?(?![A-Za-z])|\\lt(?![A-Za-z]))\s*|(?<![\w\\</]))"  # "<b>" is a mark of HTML
    r"\|?[A-Za-z](?:_\w)?\|?\s*(?:<|>|\\[lg]t(?![A-Za-z]))\s*\Z"
)
_SCALE = re.compile(
    r"(?:\\[,;: ]|[\s$*~}]|\\[)\]]){0,6}(?:\\text\s*\{\s*)?(?P<said>(?:hundred|thousand|[mbtr]+illion)s?)(?![A-Za-z])"
)
_RELATIONS = ("=", "&", r"\approx", r"\equiv")
_NUMERIC = re.compile(r"[\s$\\]*[-\d][\d.,]*\s*")


def formula_around(text: str, boxes: Sequence[tuple[int, int, str]]) -> str | None:
    """The formula that the last box is a part of, with the contents of boxes in it; None where it stands alone.

    Args:
        text: What was said.
        boxes: Start, end and content of each box, in order.
    """
    _, end, content = boxes[-1]
    before, held = _text_before(text, boxes)
    behind = text[end : end + _REACH].partition("\n")[0]
    for read in (_digits, _bound, _expression):
        if (whole := read(before, content, behind)) is not None:
            for place, box in enumerate(held):
                whole = whole.replace(chr(_HELD + place), f"({box})")
            return whole
    return None


def scale_behind(text: str, end: int, content: str) -> str:
    r"""The word that multiplies what is in a box, `\boxed{42}` million, or names the unit that was asked for; else "".

    Args:
        text: What was said.
        end: Where the box ends.
        content: What is in it.
    """
    found = _SCALE.match(text, end, end + _REACH) if _NUMERIC.fullmatch(content) else None
    return found["said"] if found else ""


def _text_before(text: str, boxes: Sequence[tuple[int, int, str]]) -> tuple[str, list[str]]:
    """What stands before the last box on its line, each box in it as one character; and what these boxes hold."""
    before, left = "", boxes[-1][0]
    held: list[str] = []
    for start, end, content in reversed(boxes[:-1][-_MOST_BOXES:]):
        between = text[end:left]
        if len(between) + len(before) > _REACH or "\n" in between:
            break
        before, left = f"{chr(_HELD + len(held))}{between}{before}", start
        held.append(content)
    reach = max(0, _REACH - len(before))
    return f"{text[max(0, left - reach) : left]}{before}".rpartition("\n")[2], held


def _digits(before: str, content: str, behind: str) -> str | None:
    r"""`\boxed{42}000`, `0.\boxed{42}`, `\boxed{42}.5`, `\boxed{2}\frac{1}{2}`."""
    left = _DIGITS_BEFORE.search(before) if content[:1].isdigit() else None
    right = _DIGITS_BEHIND.match(behind) if content[-1:].isdigit() else None
    if not left and not right:
        part = _PART_BEHIND.match(behind) if content.isdigit() else None
        return f"{content}{part[0]}" if part and int(part[1]) < int(part[2]) else None
    if right and right["unclear"]:
        return f"{content}?{right[0]}"  # "\\boxed{5}8" is neither 5 nor surely 58
    return f"{left['said'] if left else ''}{content}{right[0] if right else ''}"


def _bound(before: str, content: str, behind: str) -> str | None:
    r"""`x<\boxed{42}`, which says of x that it is less; `x \le \boxed{42}` may name the maximum."""
    found = _BOUND.search(before)
    return None if not found or _GOES_ON.match(behind) else f"{found[0]}({content})"


def _expression(before: str, content: str, behind: str) -> str | None:
    r"""`\boxed{x^2}+C`, `\frac{\boxed{42}}{2}`, `10^{\boxed{42}}`, `\boxed{3}/\boxed{4}`."""
    left = _BEFORE.search(before)
    if not left or (left["begins"] in _RELATIONS and _is_of_numbers(before[: left.start()])):
        return None  # in an equation of numbers it is a gap
    said = left["said"]
    if _HELD_LAST.search(said):
        return None  # side by side two boxes are no product
    if (closed := _closed(said, behind)) is None:
        return None
    stop = _length(_BEHIND, behind, closed)
    in_formula = bool(_ENDS.match(behind, stop))
    if not in_formula:
        stop = _length(_SURE_BEHIND, behind, closed)
    tail = behind[:stop]
    if _GOES_ON.match(behind, stop) and not _POWER_OF_TEN.match(tail):
        return None
    if not (in_formula or left["begins"] or _SURE_BEFORE.search(said)):
        said = ""
    if said.strip() in ("", "-", "+") and (not tail.strip() or re.fullmatch(_FACTOR, tail)):
        return None
    return f"{said}({content}){tail}"


def _length(chain: re.Pattern[str], behind: str, start: int) -> int:
    """Where a chain of operators and values that may be empty ends."""
    found = chain.match(behind, start)
    return found.end() if found else start


def _is_of_numbers(before: str) -> bool:
    """Whether what stands before an equals sign is a number or a computation, which a box may complete."""
    side = _SIDE.search(before)
    return bool(side and _NUMBERS_ONLY.fullmatch(side["said"].strip(" &")))


def _closed(said: str, behind: str) -> int | None:
    """How much of what stands behind a box closes the brackets that are open before it; None where they stay open."""
    at = 0
    for opened in _open_brackets(said):
        inner = _BEHIND.match(behind, at)
        closing = re.compile(r"\s*\}" if "{" in opened else r"\s*\)").match(behind, inner.end() if inner else at)
        if not closing:
            return None
        at = closing.end()
        if opened == "frac{":
            if not (denominator := re.compile(r"\s*\{[^{}]{1,30}\}").match(behind, at)):
                return None
            at = denominator.end()
    return at


def _open_brackets(said: str) -> list[str]:
    """The brackets that are open at the end of a text, the innermost first; of a numerator with its command."""
    opened: list[str] = []
    for found in re.finditer(r"frac\s*\{|[({})]", said):
        if found[0] in "})":
            opened[-1:] = []
        else:
            opened.append("frac{" if found[0].startswith("frac") else found[0])
    return opened[::-1]
