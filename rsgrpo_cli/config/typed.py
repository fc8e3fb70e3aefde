"""A setting's value as text, as `--set` takes it, and as a TOML file has it."""

from __future__ import annotations

import json
import tomllib
from datetime import date, time
from typing import Any


def as_typed(found: Any) -> str:
    """A value as `value` reads it again."""
    return found if isinstance(found, str) and value(found) == found else json.dumps(found)


def value(text: str) -> Any:
    """What a text means as a value in a TOML file: a number, true or false, a list; else the text itself."""
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    plain = list(read) == ["value"] and not isinstance(read["value"], date | time)
    return without_dates(read["value"]) if plain else text


def without_dates(found: Any) -> Any:
    """What a TOML file has, with dates and times as text: JSON has no others, and settings are written as that."""
    if isinstance(found, dict):
        return {name: without_dates(value) for name, value in found.items()}
    if isinstance(found, list):
        return [without_dates(value) for value in found]
    return found.isoformat() if isinstance(found, date | time) else found
