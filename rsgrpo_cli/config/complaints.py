"""What pydantic says of a value that does not fit, in the words of this project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PLAIN = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "model_type": "must be a section of settings",
    "tuple_type": "must be a list, such as [1, 32]",
    "literal_error": "must be {expected}",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
}
"""Its commonest complaints, by type."""


def in_words(complaint: Mapping[str, Any]) -> str:
    """One of a `ValidationError`'s errors, without the name of what it is about: must be above 0, not -1."""
    message = str(complaint["msg"]).removeprefix("Value error, ")
    plain = _PLAIN.get(complaint["type"])
    if plain is None:
        return message[:1].lower() + message[1:]
    limits = {name: _short(limit) for name, limit in complaint.get("ctx", {}).items()}
    return f"{plain.format(**limits)}, not {_short(complaint['input'])!r}"


def _short(given: Any) -> Any:
    """A number without a point that nothing follows; a huge one stays 1e+300."""
    return int(given) if isinstance(given, float) and given.is_integer() and abs(given) < 1e15 else given
