r"""Sets of one real unknown in one spelling, intervals: `solution_set`. And finite sets that are joined: `join_sets`.

`x \le -3 \text{ or } x \ge 3`, `|x| \ge 3`, `\{x \mid x \le -3\} \cup \ldots` and `(-\infty,-3]\cup[3,\infty)` are the
same set. Only spelling is changed; whether the ends are equal is for whoever compares. Linear in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from rsgrpo_cli.rewards.math.form import components, key, rational, split_top

_UNKNOWN = re.compile(r"[A-Za-z](?:_\w)?|\\(?:theta|alpha|beta|lambda|mu)")
_RELATION = {"<", ">", r"\leq", r"\geq", r"\neq", r"\lt", r"\gt"}
_FLIPPED = {"<": ">", ">": "<", r"\leq": r"\geq", r"\geq": r"\leq", r"\neq": r"\neq"}
_OR = re.compile(r",?\s*\\text\{\s*or\s*\}\s*|,?\s+or\s+|\\(?:lor|vee)(?![A-Za-z])|,?\s*\\quad\s*\\text\{or\}\s*\\quad")
_AND = re.compile(r",?\s*\\text\{\s*and\s*\}\s*|,?\s+and\s+|\\(?:land|wedge)(?![A-Za-z])|,")
_BUILDER = re.compile(
    r"\\\{\s*(?P<name>[A-Za-z]|\\\w+)\s*(?:\\in\s*\\mathbb\{?\s*R\s*\}?\s*)?(?:\\mid(?![A-Za-z])|\||:)\s*(?P<said>.+)\\\}"
)
_MEMBER = re.compile(r"(?P<name>[A-Za-z](?:_\w)?|\\theta)\s*\\in(?![A-Za-z])\s*(?P<said>[(\[\\].*)")
_ALL_BUT = re.compile(r"\\mathbb\{?\s*R\s*\}?\s*(?:\\setminus|\\backslash|-)\s*\\\{(?P<said>[^{}\\]*)\\\}")
_ABSOLUTE = re.compile(r"\|\s*(?P<name>[A-Za-z]|\\theta)\s*\|")
_SHIFTED = re.compile(r"\|\s*(?P<times>\d*)\s*(?P<name>[A-Za-vxy])\s*(?P<shift>[+-]\s*[^|]+)\|")  # w, z: complex
_FINITE = re.compile(r"\\\{(?P<said>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\\\}")
_JOIN = re.compile(r"\s*\\cup(?![A-Za-z])\s*")
_HALF_LINE = re.compile(
    r"\\mathbb\{R\}(?:(?P<plus>\^\{?\+\}?)|(?P<minus>\^\{?-\}?)|_\{?(?P<sign>[<>]|\\[lg]eq)\s*0\}?)"
)
_PAIR, _CHAIN = 2, 3


@dataclass(frozen=True)
class SolutionSet:
    r"""A set of real numbers.

    Args:
        intervals: `(-\infty,-3]\cup[3,\infty)`.
        unknown: Its letter, where the spelling had one.
    """

    intervals: str
    unknown: str | None = None


def solution_set(text: str) -> SolutionSet | None:
    """The set that a normalised text describes; None where it is no inequality, interval or union of them."""
    text = text.strip()
    if found := _BUILDER.fullmatch(text):
        inner = _inequalities(found["said"])
        return inner if inner and inner.unknown == found["name"] else None
    if found := _ALL_BUT.fullmatch(text):
        return _without_points(found["said"].split(","), None)
    if found := _MEMBER.fullmatch(text):
        inner = solution_set(found["said"])
        return SolutionSet(inner.intervals, found["name"]) if inner and inner.unknown is None else None
    if found := _HALF_LINE.fullmatch(key(text)):
        return SolutionSet(_half_line(">" if found["plus"] else "<" if found["minus"] else found["sign"], "0"))
    parts = _JOIN.split(text)
    intervals = [bool((ends := components(part)) and len(ends[1]) == _PAIR) for part in parts]
    if any(intervals) and all(one or _FINITE.fullmatch(part) for one, part in zip(intervals, parts, strict=True)):
        return SolutionSet(r"\cup".join(key(part) for part in parts))
    return _inequalities(text)


def same_unknown(one: SolutionSet, other: SolutionSet) -> bool:
    """Whether two sets can be of the same unknown."""
    return one.unknown is None or other.unknown is None or one.unknown == other.unknown


def join_sets(text: str) -> str:
    r"""`\{1,2\}\cup\{3\}` as one set; anything else as it is."""
    parts = _JOIN.split(text)
    found = [_FINITE.fullmatch(part) for part in parts]
    if len(parts) < 2 or not all(found):
        return text
    members = [value.strip() for one in found if one for value in split_top(one["said"], {","})]
    return r"\{" + ", ".join(dict.fromkeys(members)) + r"\}"


def ascending(text: str) -> str:
    """A chain of inequalities that descends, `4 > x > -4`, read from its other end."""
    sides, signs = _chain(text)
    if len(sides) < _CHAIN or not set(signs) <= {">", r"\geq"}:
        return text
    turned = [_FLIPPED[sign] for sign in reversed(signs)]
    return sides[-1] + "".join(f"{sign} {side}" for sign, side in zip(turned, reversed(sides[:-1]), strict=True))


def _inequalities(text: str) -> SolutionSet | None:
    unions = []
    for either in _OR.split(text):
        parts = _AND.split(either)
        denied = [part for part in parts if r"\neq" in part] if len(parts) > 1 else []
        met = _intersection([_bounded(part) for part in parts if part not in denied] or [None])
        for part in denied:
            met = _without_point(met, part)
        if met is None:
            return None
        unions.append(met)
    names = {one.unknown for one in unions}
    if len(names) != 1 or all(one.intervals.startswith("\\{") for one in unions):
        return None  # a list of points is compared as a list
    return SolutionSet(r"\cup".join(one.intervals for one in unions), unions[0].unknown)


def _intersection(bounds: list[SolutionSet | None]) -> SolutionSet | None:
    """One condition, or a lower and an upper bound of one unknown."""
    first = bounds[0]
    if first is None or len(bounds) == 1:
        return first
    second = bounds[1]
    if len(bounds) > 2 or second is None or first.unknown != second.unknown:
        return None
    lower, upper = (first, second) if first.intervals.endswith(r"\infty)") else (second, first)
    if not lower.intervals.endswith(r",\infty)") or not upper.intervals.startswith(r"(-\infty,"):
        return None
    if r"\cup" in lower.intervals + upper.intervals:
        return None
    low, high = lower.intervals.removesuffix(r",\infty)"), upper.intervals.removeprefix(r"(-\infty,")
    return SolutionSet(f"{low},{high}", first.unknown)


def _without_point(within: SolutionSet | None, denied: str) -> SolutionSet | None:
    r"""An interval, or union of them, without the point of `x \neq 1`."""
    sides, _ = _chain(denied)
    point = rational(key(sides[-1]))
    if within is None or len(sides) != _PAIR or sides[0] != within.unknown or point is None:
        return None
    parts = within.intervals.split(r"\cup")
    for place, part in enumerate(parts):
        low, high = part[1:-1].split(",")
        ends = [rational(end) for end in (low, high)]
        above = r"\infty" in low or (ends[0] is not None and ends[0] < point)
        below = r"\infty" in high or (ends[1] is not None and point < ends[1])
        if above and below:
            parts[place] = f"{part[0]}{low},{key(sides[-1])})\\cup({key(sides[-1])},{high}{part[-1]}"
    return SolutionSet(r"\cup".join(parts), within.unknown)


def _bounded(text: str) -> SolutionSet | None:
    """What one inequality, or chain of two, says of its unknown; an equation says a point."""
    equal = [side.strip() for side in split_top(text, {"="})]
    if len(equal) == _PAIR and _UNKNOWN.fullmatch(equal[0]) and equal[1]:
        return SolutionSet(f"\\{{{key(equal[1])}\\}}", equal[0])
    sides, signs = _chain(ascending(text))
    if len(sides) == 2:
        if _is_unknown(sides[1]) and not _is_unknown(sides[0]):
            sides, signs = [sides[1], sides[0]], [_FLIPPED[signs[0]]]
        return _one_sided(sides[0], signs[0], sides[1])
    if len(sides) == _CHAIN and set(signs) <= {"<", r"\leq"} and _UNKNOWN.fullmatch(sides[1]):
        left, right = "[" if signs[0] == r"\leq" else "(", "]" if signs[1] == r"\leq" else ")"
        return SolutionSet(f"{left}{key(sides[0])},{key(sides[2])}{right}", sides[1])
    return None


def _one_sided(name: str, sign: str, end: str) -> SolutionSet | None:
    end = key(end)
    if found := _SHIFTED.fullmatch(name):
        return _around(found, sign, rational(end))
    if found := _ABSOLUTE.fullmatch(name):
        name, minus = found["name"], f"-({end})" if rational(end) is None else f"-{end}".replace("--", "")
        if sign in ("<", r"\leq"):
            left, right = "()" if sign == "<" else "[]"
            return SolutionSet(f"{left}{minus},{end}{right}", name)
        if sign in (">", r"\geq"):
            right, left = ")(" if sign == ">" else "]["
            return SolutionSet(rf"(-\infty,{minus}{right}\cup{left}{end},\infty)", name)
        return None
    if not _UNKNOWN.fullmatch(name):
        return None
    return _without_points(end.split(","), name) if sign == r"\neq" else SolutionSet(_half_line(sign, end), name)


def _around(found: re.Match[str], sign: str, distance: Fraction | None) -> SolutionSet | None:
    """What `|2x - 3| < 5` says of x; None where a number in it is no rational one."""
    shift = rational(key(found["shift"].replace("+", "")))
    times = int(found["times"] or 1)
    if shift is None or distance is None or distance <= 0 or not times:
        return None
    low, high = (_as_text((end - shift) / times) for end in (-distance, distance))
    if sign in ("<", r"\leq"):
        left, right = "()" if sign == "<" else "[]"
        return SolutionSet(f"{left}{low},{high}{right}", found["name"])
    if sign in (">", r"\geq"):
        right, left = ")(" if sign == ">" else "]["
        return SolutionSet(rf"(-\infty,{low}{right}\cup{left}{high},\infty)", found["name"])
    return None


def _as_text(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _half_line(sign: str, end: str) -> str:
    if sign in ("<", r"\leq"):
        return rf"(-\infty,{end}{')' if sign == '<' else ']'}"
    return rf"{'(' if sign == '>' else '['}{end},\infty)"


def _without_points(points: list[str], name: str | None) -> SolutionSet | None:
    """All real numbers but some."""
    ordered = [(rational(key(point)), key(point)) for point in points]
    if len(ordered) > 1:
        if any(value is None for value, _ in ordered):
            return None
        ordered.sort(key=lambda one: one[0] or 0)
    ends = [r"-\infty", *(point for _, point in ordered), r"\infty"]
    return SolutionSet(r"\cup".join(f"({low},{high})" for low, high in pairwise(ends)), name)


def _is_unknown(side: str) -> bool:
    return any(form.fullmatch(side) for form in (_UNKNOWN, _ABSOLUTE, _SHIFTED))


def _chain(text: str) -> tuple[list[str], list[str]]:
    """The sides of a chain of inequalities, and the signs between them."""
    signs = re.findall(r"\\(?:leq|geq|neq|lt|gt)(?![A-Za-z])|[<>]", text)
    sides = [side.strip() for side in split_top(text, _RELATION)]
    signs = [{r"\lt": "<", r"\gt": ">"}.get(sign, sign) for sign in signs]
    return (sides, signs) if len(sides) == len(signs) + 1 and all(sides) else ([text], [])
