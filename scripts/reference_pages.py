"""Writes the reference pages that are made from code: `python scripts/reference_pages.py`; --check only compares."""

from __future__ import annotations

import ast

from page_writer import DOCS, ROOT, finish, heading

LANGUAGES = {".py": "python", ".slurm": "bash"}


def examples_page() -> str:
    """The files of examples/, whole."""
    parts = [heading("Examples", "reference_pages.py", "the files of `examples/`, which tests run")]
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix in LANGUAGES:
            text = path.read_text(encoding="utf-8")
            parts.append(f"## {path.name}\n\n{_about(path.suffix, text)}\n\n```{LANGUAGES[path.suffix]}\n{text}```\n")
    return "\n".join(parts)


def _about(suffix: str, text: str) -> str:
    """The first sentence of a file about itself."""
    first = (ast.get_docstring(ast.parse(text)) or "") if suffix == ".py" else text.splitlines()[1].lstrip("# ")
    return first.partition("\n")[0]


def pages() -> dict[str, str]:
    """Name below docs/ and text of every page."""
    return {"examples.md": examples_page()}


if __name__ == "__main__":
    finish({DOCS / name: text for name, text in pages().items()})
