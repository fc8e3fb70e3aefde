r"""Notation with a meaning of its own: products of groups, permutations, `cis`, the symbols of units, `[1;2]`.

Applied by `text.normalise` behind `spellings.COMMANDS`. Each rule takes time linear in a text without runs of blanks.
"""

from __future__ import annotations

import math
import re

from rsgrpo_cli.rewards.math.spellings import GAP, Rule

_GROUP = r"(?:\\mathbb\{[ZQRC]\}|[CZ](?=_))(?:_\{?\d+\}?)?(?:\^\{?[2-9]\}?)?"
_FACTOR = re.compile(r"(?:\\mathbb\{(?P<name>[ZQRC])\}|[CZ])(?:_\{?(?P<order>\d+)\}?)?(?:\^\{?(?P<power>\d)\}?)?")
_UNIT = r"(?:km|cm|kg|mol|min|[mgshNJWKAV])"
_LARGEST = 100


def _group(found: re.Match[str]) -> str:
    r"""`C_2\oplus C_4` as `\mathbb{Z}_{2} \times \mathbb{Z}_{4}`, whatever the order; each power as so many factors."""
    factors: list[str] = []
    for factor in _FACTOR.finditer(found[0]):
        name = f"\\mathbb{{{factor['name'] or 'Z'}}}" + (f"_{{{factor['order']}}}" if factor["order"] else "")
        factors += [name] * int(factor["power"] or 1)
    return r" \times ".join(sorted(factors))


def _permutations(found: re.Match[str]) -> str:
    """`{}_5P_2` as the number that it is."""
    of, taken = (int(number) for number in found.groups() if number)
    return str(math.perm(of, taken)) if taken <= of <= _LARGEST else found[0]


def _double_factorial(found: re.Match[str]) -> str:
    number = int(found[1])
    return str(math.prod(range(number, 0, -2))) if number <= _LARGEST else found[0]


def _multinomial(found: re.Match[str]) -> str:
    return f"\\frac{{{found[1]}!}}{{{' '.join(f'{part.strip()}!' for part in found[2].split(','))}}}"


def _cis(found: re.Match[str]) -> str:
    r"""`2 \operatorname{cis} 60^\circ` as cosine and sine."""
    angle = found[1] or found[2] or found[3]
    return f"(\\cos({angle.strip()})+i\\sin({angle.strip()}))"


NAMED: tuple[Rule, ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"^\s*\(?{_GROUP}\)?(?:\s*\\(?:times|oplus)\s*{_GROUP})*\s*$", _group),
        (r"(?:\{\}\s*)?[_^]\{?(\d+)\}?\s*P_\{?(\d+)\}?|(?<![\w\\.])(\d+)P_?\{?(\d+)\}?(?!\w)", _permutations),
        (r"(?<![\w\\.])(\d+)C(\d+)(?!\w)", r"\\binom{\1}{\2}"),
        (r"(?<![\w!])(\d+)!!(?!\s*!)", _double_factorial),
        (r"\\binom\{(\d+)\}\{(\d+(?:\s*,\s*\d+)+)\}", _multinomial),
        (r"\\binom\s*(\d)\s*(\d)(?!\d)", r"\\binom{\1}{\2}"),
        (
            r"(?:\\operatorname\*?\{\s*cis\s*\}|\\text\{\s*cis\s*\}|\\?(?<![A-Za-z])cis)\s*"
            r"(?:\(([^()]*)\)|\{((?:[^{}]|\{[^{}]*\})*)\}|([^()=,+]+)$)",
            _cis,
        ),
        (r"\\mathbb\{S\}(?=\s*\^)", "S"),
        (r"\\operatorname\*?\{\s*((?:S|G|PS|PG)L|SO|SU|Sp|Aut|Gal|Hom|End)\s*\}", r"\\text{\1}"),
        (
            r"(?<![A-Za-z])((?:\\text\{)?(?:S|G|PS|PG)L\}?)\((\d|n)\s*,\s*(\\mathbb\{\w\}(?:_\{?\w+\}?)?)\)",
            r"\1_\2(\3)",
        ),
        (
            r"(\\(?:sin|cos|tan|cot|sec|csc|ln))\s*([A-Za-z](?![A-Za-z])|\\(?:theta|alpha|beta|gamma|phi|omega)(?![A-Za-z]))"
            r"(?=\s*\\(?:cdot|times)\s*\d)",
            r"\1(\2)",
        ),
        (r"(?<![\\A-Za-z])abs\(([^()]*)\)", r"|\1|"),
        (rf"(?<=[\d}}]){GAP}\\text\{{\s*([kMm]?)\\?\s*(?:Ω|\\Omega)\s*\}}\s*$", r"\\text{ \1ohm}"),
        (rf"(?<=[\d}}]){GAP}(?:\\text\{{\s*([kM])\s*\}})?\\Omega(?![A-Za-z])\s*$", r"\\text{ \1ohm}"),
        (rf"(?<=[\d}}]){GAP}\\mu{GAP}\\text\{{\s*([A-Za-z])\s*\}}\s*$", r"\\text{ micro\1}"),
        (r"(?<=[\d}])(?:\s|~|\\[,;: ]){1,4}\\text\{\s*K\s*\}\s*$", r"\\text{ kelvin}"),
        (r"\\text\{([^{}]*[A-Za-z])\s*\}\s*\^\s*\{?\s*(-\d)\s*\}?\s*$", r"\\text{\1\2}"),
        (rf"(?<=\d)\s+((?:{_UNIT}\s+){{1,3}}{_UNIT})\s*\^\s*\{{?\s*(-\d)\s*\}}?\s*$", r"\\text{ \1\2}"),
        (r"([(\[])([^()\[\];,]{1,99});([^()\[\];,]{1,99})(?=[)\]])", r"\1\2,\3"),
        (r"(?<=[\d})])\s*(?:\\q?quad\s*){1,4}(?=[A-Za-z](?:_\w)?\s*=)", ", "),
        (r"(?<=,)\s*\\text\{\s*([A-Za-z]{3,}(?: [a-z]+)?)\s*:\s*\}(?=\s*[-\d\\])", r" \\text{\1}="),
        (r"(\\frac\{[^{}]*\}\{[^{}]+\})\{\}\s*$", r"\1"),
        (r"^\s*__\s*([^_]+?)\s*__\s*$", r"\1"),
    )
)
