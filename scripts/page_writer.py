"""How every generated page is written, or compared with what it should be (`--check`)."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def finish(about: str | None, make: Callable[[], Mapping[Path, str]]) -> None:
    """Write the pages whose text differs; with --check only name them, and exit with 1 if there are any.

    Args:
        about: The script's docstring, for --help.
        make: Makes the text of each page.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where a page is out of date")
    check = parser.parse_args().check
    pages = make()
    old = {path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text}
    if check:
        names = ", ".join(sorted(path.relative_to(ROOT).as_posix() for path in old))
        sys.exit(f"out of date: {names}; run python scripts/{Path(sys.argv[0]).name}" if old else 0)
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages[path], encoding="utf-8")


def heading(title: str, script: str, source: str) -> str:
    """The top of a page that is generated whole."""
    return f"# {title}\n\nWritten by `python scripts/{script}` from {source}; a test keeps it so.\n"


def fill(text: str, name: str, made: str) -> str:
    """A page written by hand with the part between `<!-- table NAME -->` and `<!-- end -->` made again."""
    begin, end = f"<!-- table {name} -->\n", "<!-- end -->"
    before, place, rest = text.partition(begin)
    if not place or end not in rest:
        sys.exit(f"a page has no place for the table {name}")
    return before + begin + made + end + rest.partition(end)[2]


def filled(text: str, name: str) -> str:
    """What such a part of a page is now."""
    return text.partition(f"<!-- table {name} -->\n")[2].partition("<!-- end -->")[0]


def places(text: str) -> list[str]:
    """The names of the tables that a page has a place for."""
    return re.findall(r"^<!-- table (\S+) -->$", text, re.MULTILINE)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A Markdown table; `align` is that of all columns but the first, such as `---:`."""
    rule = f"| {' | '.join(['---', *(align for _ in headers[1:])])} |" if align else "|" + "---|" * len(headers)
    lines = ["| " + " | ".join(line) + " |" for line in (headers, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"
