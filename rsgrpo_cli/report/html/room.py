"""What fits into the page: texts once each, cut where they are long, within a number of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rsgrpo_cli.report.html.page import embedded

PAGE_BYTES = 2_000_000
"""The page gets no larger than this, whatever the runs hold."""
HEAD, TAIL = 600, 300
"""Characters that are kept of a long text: of its beginning, and of its end."""

Cut = str | list[Any]
"""A text, or [beginning, number of characters left out, end]."""


def cut(text: str, head: int = HEAD, tail: int = TAIL) -> Cut:
    """A text without its middle, if it is long."""
    if len(text) <= head + tail:
        return text
    return [text[:head], len(text) - head - tail, text[-tail:] if tail else ""]


def cost(value: Any) -> int:
    """Bytes of a value in the page."""
    return len(embedded(value).encode("utf-8", "replace")) + 1


class Room:
    """The space that is left for some part of the page.

    Args:
        total: Bytes.
    """

    def __init__(self, total: int) -> None:
        self.left = max(total, 0)

    def share(self, parts: int) -> Room:
        """One of so many equal parts of it, taken out of it."""
        part = Room(self.left // parts)
        self.left -= part.left
        return part

    def give_back(self, part: Room) -> None:
        """Add what a part has left."""
        self.left += part.left

    def take(self, amount: int) -> bool:
        """Take some of it, if so much is left."""
        if amount > self.left:
            return False
        self.left -= amount
        return True


class Texts:
    """The texts of the page, each once; everything else names them by their number."""

    def __init__(self) -> None:
        self.listed: list[Cut] = []
        self._numbers: dict[str, int] = {}

    def add(self, texts: Sequence[str], room: Room, beside: int = 0) -> list[int] | None:
        """The numbers of some texts; None, and nothing added, where there is no room for all of them.

        Args:
            texts: The texts.
            room: What they are taken from.
            beside: Bytes of what is going to name them.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._numbers]
        kept = [cut(text) for text in new]
        if not room.take(sum(map(cost, kept)) + beside):
            return None
        for text, short in zip(new, kept, strict=True):
            self._numbers[text] = len(self.listed)
            self.listed.append(short)
        return [self._numbers[text] for text in texts]
