r"""Brings a gold and an answer to a common form where both are right in their own: logarithms, residues, sets, points.

What does not depend on the other of the two is `text.normalise`'s; here the gold says how an answer is to be read. Only
spelling changes. Linear in the text.
"""

from __future__ import annotations

import math
import re

from rsgrpo_cli.rewards.math.form import components, key, letters, relation, split_top, values
from rsgrpo_cli.rewards.math.numbers import join_mixed
from rsgrpo_cli.rewards.math.sets import SolutionSet, ascending, join_sets, same_unknown, solution_set
from rsgrpo_cli.rewards.math.text import without_degrees
from rsgrpo_cli.rewards.math.vectors import as_tuple
from rsgrpo_cli.rewards.math.wording import spoken

_NATURAL = re.compile(r"\\ln(?![A-Za-z])")
_LOGARITHM = re.compile(r"\\log(?![A-Za-z])(?!\s*_)")
_RESIDUE = re.compile(
    r"(?:[A-Za-z](?:_\w)?\s*\\equiv\s*)?(?P<rest>-?\d+)(?:\s*(?:\\text\{\s*)?\(?\s*"
    r"(?:\\[pb]?mod(?![A-Za-z])|\\text\{\s*\(?mod\s*\}|mod(?![A-Za-z]))\s*\{?\s*(?P<modulus>\d+)\s*\}?\s*\)?\s*\}?)?"
)
_MAX_RESIDUE_CHARS = 60
_MIXED = re.compile(r"(-?\d+)\s*(?:\\text\{\s*and\s*\}|and)\s*(?:\\frac\{(\d+)\}\{(\d+)\}|(\d+)/(\d+))")
_NUMBERS = re.compile(r"\\mathbb\{([RZNQC])\}")
_COLUMN = re.compile(r"\\begin\{([pb]matrix|array)\}(?:\{\w+\})?(?P<said>.*)\\end\{\1\}", re.DOTALL)
_STACKED_PAIR = re.compile(r"\\binom\{([^{}]*)\}\{([^{}]*)\}")
_TRANSPOSED = re.compile(r"(?P<said>[(\[].+[)\]])\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\text\{T\})\s*\}?")
_MODULUS = re.compile(r"\\[pb]?mod(?![A-Za-z])|(?<![A-Za-z])mod(?![A-Za-z])")
_RATIO = re.compile(r"\d{1,20}(?:\s*:\s*\d{1,20})+")
_AND_OR = re.compile(r",?\s*(?:\\text\{[\s,]*(?:and|or)[\s,]*\}|\b(?:and|or)\b),?\s*")
_WITH_COMMA, _WITH_POINT = re.compile(r"-?\d+,\d+"), re.compile(r"-?\d+\.\d+")
_NAMED_POINT = re.compile(r"[A-Z]'?\s*(\(.*\))")
_PERMUTATIONS = re.compile(r"(?<![A-Za-z\\])P\s*\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)")
_COMBINATIONS = re.compile(r"(?<![A-Za-z\\])C\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)")
_CONSTANT = re.compile(r"(?<=\+)\s*(?:[CcKk](?:_\w)?|\\text\{\s*const(?:ant)?\.?\s*\})\s*$")
_FACTOR, _FACTOR_BY_ANY_NAME = (  # of a homogeneous solution
    re.compile(rf"(?:(?<=[-+=(])|^)\s*[{names}](?=\s*(?:\\cdot\s*)?(?:e\s*\^\s*\{{[^{{}}]*[a-z]|[tx]\s*\^))")
    for names in ("Cc", "CcAKk")
)
_FUNCTION = re.compile(r"(?P<name>[A-Za-z])\s*\(\s*(?P<of>[A-Za-z])\s*\)")
_ROWS = re.compile(r"\[\s*(\[[^\[\]]+\](?:\s*,\s*\[[^\[\]]+\])*)\s*\]")
_INDEX = re.compile(r"(?<![A-Za-z\\])([a-z])\s*(?:\\in(?![A-Za-z])|∈)\s*(?:\\mathbb\s*\{?\s*[ZN]|[ℤℕ])")
_PERIOD = re.compile(r"(?<=[\d}\w])\s*(?:[-+]|\\pm)\s*\d*([knm])\s*(?:\\cdot\s*)?\\pi(?![A-Za-z])")
_PAIR = 2
_NOON = 12


def with_same_index(gold: str, answer: str) -> str:
    r"""`n\pi, n \in \mathbb{Z}` as `k\pi, k \in \mathbb{Z}`: both say that their letter is any integer.

    A gold that does not say so, `\frac{\pi}{4}+k\pi`, has one letter, before \pi and behind a sign.

    Args:
        gold: As it is written.
        answer: As it is written.
    """
    wanted, found = _any_integer(gold), _any_integer(answer)
    if not wanted or not found or wanted == found or wanted in letters(answer):
        return answer
    return re.sub(
        rf"\\[A-Za-z]+|(?<![A-Za-z]){found}(?![A-Za-z])",
        lambda part: part[0] if part[0].startswith("\\") else wanted,
        answer,
    )


def _any_integer(text: str) -> str:
    """The letter that stands for any integer; "" where none does."""
    said = _INDEX.findall(text)
    if not said and set(letters(text)) <= {"k", "n", "m"} and (period := _PERIOD.search(text)):
        said = [period[1]]
    return said[0] if len(said) == 1 else ""


def in_terms_of(gold: str, answer: str) -> str:
    """An answer in the notation of its gold: the same logarithm, without a modulus that the gold leaves out.

    Args:
        gold: Normalised.
        answer: Normalised.
    """
    if _NATURAL.search(gold) and not _NATURAL.search(answer):
        answer = _LOGARITHM.sub(r"\\ln", answer)
    elif _LOGARITHM.search(gold) and not _NATURAL.search(gold) and not _LOGARITHM.search(answer):
        answer = _NATURAL.sub(r"\\log", answer)
    if not _MODULUS.search(gold) and (found := residue(answer)) and abs(found[0]) < (found[1] or 0):
        return str(found[0])
    if gold.strip() == r"\emptyset" and spoken(answer) == spoken(gold):
        return gold
    if components(gold) and (named := _NAMED_POINT.fullmatch(answer)) and components(named[1]):
        return named[1]
    if has_several(gold) and all(map(components, values(gold))):
        points = [_NAMED_POINT.fullmatch(part) for part in values(answer)]
        if len(points) > 1 and all(point and components(point[1]) for point in points):
            return ", ".join(point[1] for point in points if point)
    answer = _of_the_same(gold, answer)
    if (factor := _FACTOR.search(gold)) and len(_FACTOR_BY_ANY_NAME.findall(answer)) == 1:
        answer = _FACTOR_BY_ANY_NAME.sub(factor[0].strip(), answer)
    if (constant := _CONSTANT.search(gold)) and (other := _CONSTANT.search(answer)):
        answer = f"{answer[: other.start()]}{constant[0]}"
    if not components(gold):
        answer = _COMBINATIONS.sub(r"\\binom{\1}{\2}", answer)
        answer = _PERMUTATIONS.sub(lambda found: str(math.perm(int(found[1]), int(found[2]))), answer)
    if not has_several(gold) and (mixed := _MIXED.fullmatch(answer)):
        return join_mixed(f"{mixed[1]}\\frac{{{mixed[2] or mixed[4]}}}{{{mixed[3] or mixed[5]}}}")
    if numbers := _NUMBERS.fullmatch(gold):
        return gold if answer.strip() == numbers[1] else answer
    return _named_alike(gold, join_sets(grouped_points(answer)))


def _of_the_same(gold: str, answer: str) -> str:
    """`f(t) = t - 1` as `f(x) = x - 1` where the gold is a function of x."""
    (wanted, *rest), (label, *sides) = relation(gold), relation(answer)
    one, other = _FUNCTION.fullmatch(wanted), _FUNCTION.fullmatch(label)
    if not rest or len(sides) != 1 or not one or not other or one["name"] != other["name"] or one["of"] == other["of"]:
        return answer
    if one["of"] in letters(sides[0]):
        return answer
    renamed = re.sub(
        rf"\\[A-Za-z]+|{other['of']}", lambda found: found[0] if found[0][0] == "\\" else one["of"], sides[0]
    )
    return f"{wanted} = {renamed}"


def _named_alike(gold: str, answer: str) -> str:
    """`(a,b) = (2,7)` as `a=2, b=7` where the gold is written so, and the other way round."""
    names, point = _named_point(answer)
    if point and all(len(relation(value)) == _PAIR for value in values(gold)):
        return ", ".join(f"{name}={value}" for name, value in zip(names, point, strict=True))
    wanted, _ = _named_point(gold)
    parts = [relation(value) for value in values(answer)]
    if wanted and [key(part[0]) for part in parts] == wanted and all(len(part) == _PAIR for part in parts):
        return f"({','.join(wanted)})=({', '.join(part[1] for part in parts)})"
    return answer


def _named_point(text: str) -> tuple[list[str], list[str]]:
    """The names and the values of `(a,b) = (2,7)`; none of either for anything else."""
    sides = [components(side.strip()) for side in split_top(text, {"="})]
    if len(sides) != _PAIR or not sides[0] or not sides[1] or len(sides[0][1]) != len(sides[1][1]):
        return [], []
    return [key(name) for name in sides[0][1]], sides[1][1]


def has_several(gold: str) -> bool:
    """Whether a gold lists several values."""
    return len(values(gold)) > 1


def residue(text: str) -> tuple[int, int | None] | None:
    r"""A residue and its modulus, `3 \pmod{7}`; None for the modulus of a plain integer, None for anything else."""
    found = _RESIDUE.fullmatch(text) if len(text) <= _MAX_RESIDUE_CHARS else None
    return (int(found["rest"]), int(found["modulus"]) if found["modulus"] else None) if found else None


def same_residue(gold: tuple[int, int | None], answer: tuple[int, int | None]) -> bool:
    """Whether two residues are the same class; without its modulus, the same number."""
    if gold[1] and answer[1]:
        return gold[1] == answer[1] and (gold[0] - answer[0]) % gold[1] == 0
    modulus = gold[1] or answer[1]
    return gold[0] == answer[0] and (modulus is None or abs(gold[0]) < modulus)


def common_form(gold: str, answer: str) -> tuple[str, str]:
    """Both, as intervals where they are sets of one unknown, as points where one is a point and one its coordinates.

    Args:
        gold: From `answer.normalise_gold`.
        answer: From `answer.normalise_answer`.
    """
    gold, answer = _angles_alike(gold, answer)
    if key(gold) == key(answer):
        return gold, answer
    if _WITH_COMMA.fullmatch(gold) and _WITH_POINT.fullmatch(answer):  # "1,22" is a list or, as here, a decimal
        return gold.replace(",", "."), answer
    one, other = solution_set(gold), solution_set(answer)
    if r"\cup" in gold and one and not other:
        other = _union(values(answer))
    if one and other and same_unknown(one, other):
        return one.intervals, other.intervals
    if key(ascending(gold)) == key(ascending(answer)):
        return gold, gold
    return _as_points(gold, answer)


def _union(parts: list[str]) -> SolutionSet | None:
    """The union of intervals that are listed: "(1,2) or (3,4)"; None where one of them is none."""
    sets = [found for part in parts if (found := solution_set(part))]
    if len(sets) < _PAIR or len(sets) != len(parts) or len({one.unknown for one in sets}) != 1:
        return None
    return SolutionSet(r"\cup".join(one.intervals for one in sets), sets[0].unknown)


def _angles_alike(gold: str, answer: str) -> tuple[str, str]:
    r"""Degrees among other values in radians where the other of the two has \pi, and else without their sign."""
    if r"\circ" in gold + answer:
        radians = r"\pi" in gold + answer
        return without_degrees(gold, radians=radians), without_degrees(answer, radians=radians)
    return gold, answer


def _as_points(gold: str, answer: str) -> tuple[str, str]:
    """Coordinates in the order of a point, where only one of the two has the brackets. A set has no order."""
    if r"\begin{" in gold and (rows := _ROWS.fullmatch(answer)):
        lines = [row.strip(" []").replace(",", "&") for row in re.split(r"\]\s*,\s*\[", rows[1])]
        return gold, "\\begin{pmatrix}" + "\\\\".join(lines) + "\\end{pmatrix}"
    if _column(gold) and (stacked := _STACKED_PAIR.fullmatch(answer)):
        answer = f"({stacked[1]}, {stacked[2]})"
    size = len(found[1]) if (found := components(_column(gold) or gold)) else 0
    if size and (vector := as_tuple(answer, size)):
        answer = vector
    if (found := components(_column(answer) or answer)) and (vector := as_tuple(gold, len(found[1]))):
        gold = vector
    if (one := _column(gold)) and (other := _column(answer) or _column(_unlabelled(answer), as_point=True)):
        return one, other
    if (other := _column(answer)) and (one := _column(gold, as_point=True)):
        return one, other
    point_gold, point_answer = components(gold), components(_unlabelled(answer))
    golds, answers = values(gold), values(answer)
    if gold.startswith(r"\{") or answer.startswith(r"\{"):
        return gold, answer
    if point_gold and not point_answer and len(answers) == len(point_gold[1]) == _PAIR and _are_round(point_gold):
        return gold, f"({', '.join(answers)})"
    unnamed = all(len(relation(value)) == 1 for value in golds)
    if point_answer and len(golds) == len(point_answer[1]) > 1 and unnamed and _are_round(point_answer):
        return f"({', '.join(golds)})", _unlabelled(answer)
    return gold, answer


def _column(text: str, as_point: bool = False) -> str | None:
    """A matrix of one column, or `(1,2)^T`, as `(1,2)`; also a point, if asked for; None for anything else."""
    if found := _TRANSPOSED.fullmatch(text):
        text, as_point = found["said"], True
    if as_point and (parts := components(text)):
        return f"({', '.join(parts[1])})"
    found = _COLUMN.fullmatch(text.strip())
    rows = [row.strip() for row in found["said"].split("\\\\") if row.strip()] if found else []
    return f"({', '.join(rows)})" if len(rows) > 1 and not any("&" in row or "," in row for row in rows) else None


def _unlabelled(answer: str) -> str:
    """The right side of `(x,y) = (1,2)`."""
    sides = split_top(answer, {"="})
    return sides[1].strip() if len(sides) == _PAIR and components(sides[0].strip()) else answer


def _are_round(point: tuple[str, list[str], str]) -> bool:
    return (point[0], point[2]) == ("(", ")") and not any(r"\infty" in part for part in point[1])


def grouped_points(text: str) -> str:
    """`p=5,q=2;p=7,q=2` as `(5,2), (7,2)`, where the same unknowns come again in the same order."""
    named = [relation(part) for part in split_top(_AND_OR.sub(";", text), {",", ";"})]
    if len(named) <= _PAIR or any(len(sides) != _PAIR or not all(sides) for sides in named):
        return text
    names = [key(sides[0]) for sides in named]
    size = len(dict.fromkeys(names))
    if size < _PAIR or size == len(names) or names != names[:size] * (len(names) // size):
        return text
    groups = [named[start : start + size] for start in range(0, len(named), size)]
    return ", ".join(f"({', '.join(sides[1] for sides in group)})" for group in groups)


def clock(text: str) -> tuple[int, int, str] | None:
    r"""A time of day as hour, minute and "am", "pm" or ""; None for anything else. `05:00`, `5:00 \text{ p.m.}`."""
    found = _CLOCK.fullmatch(text)
    if not found or not (found["minute"] or found["half"]):
        return None
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    return (hour, minute, (found["half"] or "").casefold().replace(".", "")) if hour < 25 and minute < 60 else None


_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?:\s*:\s*(?P<minute>\d{2}))?\s*(?:\\text\{)?\s*(?P<half>[ap]\.?\s?m\.?|[AP]\.?M\.?)?\s*\}?"
)


def same_time(gold: tuple[int, int, str], answer: tuple[int, int, str]) -> bool:
    """Whether two times are the same; where one does not say which half of the day, it may be either."""
    hours = [hour % 12 + 12 * (half == "pm") if half else hour for hour, _, half in (gold, answer)]
    vague = any(not half and hour <= _NOON for hour, _, half in (gold, answer)) and (bool(gold[2]) != bool(answer[2]))
    same = hours[0] % _NOON == hours[1] % _NOON if vague else hours[0] == hours[1]
    return same and gold[1] == answer[1]


def ratio(text: str) -> tuple[int, ...] | None:
    """The numbers of `1:4` or `1:2:3`; None for anything else."""
    return tuple(int(part) for part in text.split(":")) if _RATIO.fullmatch(text) else None


def proportional(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two ratios are the same."""
    return len(one) == len(other) and all(
        left * other[0] == right * one[0] for left, right in zip(one, other, strict=True)
    )
