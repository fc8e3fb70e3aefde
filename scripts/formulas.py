"""A Markdown extension for the site: formulas between dollar signs become MathML, which browsers draw by themselves.

So the pages need no script and no network for them. `mkdocs.yml` names it; `make docs` puts this folder on the path.
"""

from __future__ import annotations

import re

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

FORMULA = r"(?<![\\$])(\${1,2})(?!\s)([^$]+?)(?<!\s)\1(?![$\d])"
BEFORE_ESCAPES_AFTER_CODE = 185


class Formula(InlineProcessor):  # type: ignore[misc]
    """`$x$` in a line, `$$x$$` on lines of its own."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:
        """MathML for a formula; the parser's name for this method is fixed."""
        made = convert(m[2], display="block" if m[1] == "$$" else "inline")
        return str(self.md.htmlStash.store(made)), m.start(), m.end()


class Formulas(Extension):  # type: ignore[misc]
    """Registers `Formula`."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Called by Markdown."""
        md.inlinePatterns.register(Formula(FORMULA, md), "formula", BEFORE_ESCAPES_AFTER_CODE)


def makeExtension(**settings: object) -> Formulas:
    """What Markdown looks for in a module that it is given by name."""
    return Formulas(**settings)
