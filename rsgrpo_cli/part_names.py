"""Names of the part files of an evaluation, part-LOW-HIGH-BLOCK: which samples of a block of prompts are in each."""

from __future__ import annotations

import re

_PART = re.compile(r"part-([0-9]{5,})-([0-9]{5,})-([0-9]{5,})")


def sample_range(stem: str) -> tuple[int, int] | None:
    """First (inclusive) and last (exclusive) sample of a part, by its name without suffix; None for another file."""
    found = _PART.fullmatch(stem)
    return (int(found[1]), int(found[2])) if found else None
