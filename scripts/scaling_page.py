"""Fills in the simulated tables of docs/scaling.md: `python scripts/scaling_page.py`.

--check only compares them. They are what `python benchmarks/cluster_simulation.py` prints; a test holds the page to it.
"""

from __future__ import annotations

import sys

from page_writer import DOCS, ROOT, fill, finish, table

sys.path.append(str(ROOT / "benchmarks"))

from cluster_scenario import assumed_lengths
from cluster_simulation import simulated_machine
from cluster_tables import tables

PAGE = DOCS / "scaling.md"


def made(text: str) -> str:
    """The page with its tables made again."""
    for one in tables(simulated_machine(), assumed_lengths, "assumed"):
        text = fill(text, one.name, table(one.headers, one.rows))
    return text


if __name__ == "__main__":
    finish(__doc__, lambda: {PAGE: made(PAGE.read_text(encoding="utf-8"))})
