"""Units of measure: their names, and what one is in another, so that `6 ft^2` is `864 in^2`."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise

_KINDS: dict[str, dict[str, tuple[Fraction | int, str]]] = {
    "length": {
        "m": (1, "m meter meters metre metres"),
        "cm": (Fraction(1, 100), "cm centimeter centimeters centimetre centimetres"),
        "mm": (Fraction(1, 1000), "mm millimeter millimeters millimetre millimetres"),
        "km": (1000, "km kilometer kilometers kilometre kilometres"),
        "in": (Fraction(254, 10_000), "in inch inches"),
        "ft": (Fraction(3048, 10_000), "ft foot feet"),
        "yd": (Fraction(9144, 10_000), "yd yard yards"),
        "mi": (Fraction(1_609_344, 1000), "mi mile miles"),
    },
    "mass": {
        "g": (1, "g gram grams"),
        "kg": (1000, "kg kilogram kilograms"),
        "mg": (Fraction(1, 1000), "mg milligram milligrams"),
        "lb": (Fraction(45_359_237, 100_000), "lb lbs pound pounds"),
        "oz": (Fraction(45_359_237, 1_600_000), "oz ounce ounces"),
    },
    "time": {
        "s": (1, "s sec second seconds"),
        "min": (60, "min minute minutes"),
        "h": (3600, "h hr hour hours"),
        "day": (86_400, "day days"),
        "week": (604_800, "week weeks"),
        "month": (0, "month months"),  # of no fixed length
        "year": (0, "year years"),
    },
    "volume": {
        "ml": (1, "ml milliliter milliliters millilitre millilitres"),
        "l": (1000, "l liter liters litre litres"),
        "pint": (Fraction(473_176_473, 1_000_000), "pint pints"),
        "quart": (Fraction(473_176_473, 500_000), "quart quarts"),
        "gallon": (Fraction(473_176_473, 125_000), "gallon gallons"),
    },
    "speed": {
        "km/h": (1000, "km/h kph kmh"),
        "m/s": (3600, "m/s"),
        "mi/h": (Fraction(1_609_344, 1000), "mi/h mph"),
    },
    "potential": {"volt": (1, "volt volts"), "kilovolt": (1000, "kilovolt kilovolts")},  # `3kV` may be a product
    "current": {"ampere": (1000, "amp amps ampere amperes"), "milliampere": (1, "milliampere milliamperes")},
    "energy": {"joule": (1, "joule joules"), "kilojoule": (1000, "kilojoule kilojoules")},
    "force": {"newton": (1, "newton newtons")},
    "power": {"watt": (1, "watt watts"), "kilowatt": (1000, "kilowatt kilowatts")},
    "memory": {  # by thousands or by 1,024
        "byte": (0, "byte bytes"),
        "kilobyte": (0, "kilobyte kilobytes"),
        "megabyte": (0, "megabyte megabytes"),
        "gigabyte": (0, "gigabyte gigabytes"),
    },
    "money": {
        "cent": (1, "cent cents"),
        "dollar": (100, "dollar dollars"),
    },
    "temperature": {  # neither is a multiple of another
        "celsius": (0, "celsius"),
        "fahrenheit": (0, "fahrenheit"),
    },
    "part of the day": {
        "am": (0, "am a.m"),
        "pm": (0, "pm p.m"),
    },
}
_NAMES = {name: unit for units in _KINDS.values() for unit, (_, names) in units.items() for name in names.split()}
_SIZES = {unit: (kind, Fraction(size)) for kind, units in _KINDS.items() for unit, (size, _) in units.items()}
_SYMBOLS = "m s kg g n j w pa hz v a c mol l h min km cm mm ev rad t wb ohm"
_FACTORS = frozenset(_SYMBOLS.split())
_WRITTEN_WITH_A_BAR = {"m per s": "m/s", "km per h": "km/h"}
_COMPOUND = re.compile(r"(?P<name>[a-z]+)(?:\^?(?P<power>-?\d))?|(?P<per>/)|\\cdot|\\,|[ *]")
_TEXT_COMMAND = re.compile(r"\\text\{([^{}]*)\}")
_PART = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,9})?)\s*(?P<unit>[A-Za-z]{1,20})\.?[\s,]*(?:and\s+)?")
_PARTS = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?\s*[A-Za-z]{1,20}\.?[\s,]*(?:and\s+)?){2,4}")
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3}


def unit_of(words: str) -> str:
    """The canonical name of a unit, "square inches" included; "" where the words name none."""
    first, _, rest = words.partition(" ")
    return _NAMES.get(words, "") or (_NAMES.get(rest, "") if first in _POWERS else "") or (_compound(words) or "")


def _compound(words: str) -> str | None:
    r"""A product of units, "m s^-2" or "kg m/s", in one spelling; None where it is none."""
    powers: Counter[str] = Counter()
    sign, behind = 1, 0
    for found in _COMPOUND.finditer(words):
        if found.start() != behind:
            return None
        behind = found.end()
        if found["per"]:
            sign = -1
        elif found["name"] in _FACTORS:
            powers[found["name"]] += sign * int(found["power"] or 1)
        elif found["name"]:
            return None
    if behind != len(words) or (len(powers) < 2 and all(power > 0 for power in powers.values())):
        return None
    over = [name for name in sorted(powers) for _ in range(powers[name])]
    under = [f"per {name}" for name in sorted(powers) for _ in range(-powers[name])]
    made = " ".join(over + under)
    return _WRITTEN_WITH_A_BAR.get(made, made)


def power_of(words: str, written: int) -> int:
    """The power of the unit that words name: as it is written behind them, or 2 for "square inches"."""
    return _POWERS.get(words.partition(" ")[0], written)


def is_known_unit(name: str) -> bool:
    """Whether a name is the canonical one of a unit of measure."""
    return name in _SIZES


def cannot_be_same(unit: str, other: str) -> bool:
    """Whether two units that cannot be converted measure different things for sure: two symbols of units, or quotients.

    A quotient, "cm per s", is another than a single unit or than the same ones to other powers.

    Of other factors it may be the same: N m is J.
    """
    named = [name.replace("/", " per ").split() for name in (unit, other)]
    quotients = ["per" in names for names in named]
    if unit == other or not unit:
        return False
    if {unit, other} <= _FACTORS:
        return True  # volts are no amperes
    if not any(quotients):
        return False
    return set(named[0]) == set(named[1]) if all(quotients) else unit in _SIZES or other in _SIZES


def in_smallest_unit(text: str) -> str:
    r"""`2\text{ hours } 30\text{ minutes}` as `150\text{ min}`; anything else as it is."""
    plain = _TEXT_COMMAND.sub(r"\1", text).strip()
    parts = list(_PART.finditer(plain)) if _PARTS.fullmatch(plain) else []
    named = [unit_of(part["unit"].lower()) for part in parts]
    if len(parts) < 2 or not all(map(is_known_unit, named)):
        return text
    sizes = [factor(name, named[-1], 1) for name in named]
    if None in sizes or any(one <= other for one, other in pairwise(size for size in sizes if size is not None)):
        return text
    total = sum(
        (Fraction(part["number"]) * size for part, size in zip(parts, sizes, strict=True) if size), start=Fraction(0)
    )
    number = str(total) if total.denominator == 1 else f"\\frac{{{total.numerator}}}{{{total.denominator}}}"
    return f"{number}\\text{{ {named[-1]}}}"


def factor(unit: str, other: str, power: int) -> Fraction | None:
    """What makes a number of `unit`, to a power, one of `other`; None where they do not measure the same."""
    (kind, size), (other_kind, other_size) = _SIZES[unit], _SIZES[other]
    if kind != other_kind or not size or not other_size:
        return None
    return (size / other_size) ** power
