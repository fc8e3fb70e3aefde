"""Reads a vector that is written as a sum of unit vectors: `as_tuple`."""

from __future__ import annotations

import re

from rsgrpo_cli.rewards.math.form import letters, split_top

_UNIT = re.compile(r"\\hat\s*\{\s*\\?([ijk])(?:math)?\s*\}|\{\s*([ijk])\s*\}|\\([ij])math(?![A-Za-z])")
_TERM = re.compile(r"(?P<factor>.*?)\s*(?:\\cdot\s*)?(?P<name>[ijk])")
_SIZES = (2, 3)


def as_tuple(text: str, size: int) -> str | None:
    r"""`2\hat{i}-3\hat{j}` as `(2, -3)`; None for anything else. With no `j` and no `k` it may be a complex number.

    Args:
        text: One value, normalised.
        size: How many components it must have.
    """
    if size not in _SIZES:
        return None
    found: dict[str, str] = {}
    for term in split_top(_UNIT.sub(r"\1\2\3", text).replace("-", "+-"), {"+"}):
        if not term.strip():
            continue
        match = _TERM.fullmatch(term.strip())
        if not match or match["name"] in found or set(letters(match["factor"])) & set("ijk"):
            return None
        factor = match["factor"].strip()
        found[match["name"]] = f"{factor}1" if factor in ("", "-") else factor
    names = "ijk"[:size]
    if not set(found) <= set(names) or not set(found) - {"i"}:
        return None
    return f"({', '.join(found.get(name, '0') for name in names)})"
