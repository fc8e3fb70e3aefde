"""The commands on the documentation's pages, and the files that a page asks its reader to write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
NAMED = re.compile(r"# ([\w-]+\.\w+)\n")
SHELL = ("console", "bash", "sh", "shell")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Args:
        language: What its fence says.
        text: What is in it.
        note: The HTML comment on the line above it; empty where there is none.
    """

    language: str
    text: str
    note: str

    @property
    def file(self) -> str | None:
        """The file that the reader is to write: a block that is no shell's and begins with `# NAME`."""
        found = NAMED.match(self.text)
        return found[1] if found and self.language not in SHELL else None

    @property
    def commands(self) -> list[str]:
        """What is typed after `$ `, without comments; a line that ends in a backslash goes on."""
        if self.language not in SHELL:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [re.sub(r"\s+#.*", "", line).strip() for line in typed]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["text"], match["note"] or "") for match in found]
