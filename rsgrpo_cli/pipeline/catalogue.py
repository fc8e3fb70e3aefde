"""What can be trained and evaluated on by name, as rows for a table."""

from __future__ import annotations

from typing import Any

from rsgrpo_cli.bundled import bundled_data
from rsgrpo_cli.tasks.files import read_rows
from rsgrpo_cli.tasks.registry import REGISTRY
from rsgrpo_cli.tasks.sources import BUNDLED


def known_datasets() -> list[dict[str, Any]]:
    """A row for each split of each dataset that has a name: the bundled ones first."""
    rows: list[dict[str, Any]] = []
    for name, bundled in BUNDLED.items():
        for split, file in bundled.files.items():
            count = len(read_rows(bundled_data() / file))
            rows.append(_row(name, split, count, "bundled", split, "Apache-2.0"))
    for name, splits in REGISTRY.items():
        for split, entry in splits.items():
            where = f"{entry.split} of {entry.config}" if entry.config else entry.split
            rows.append(_row(name, split, entry.rows, entry.repository, where, entry.licence))
    return rows


def _row(name: str, split: str, rows: int, repository: str, where: str, licence: str) -> dict[str, Any]:
    use = "training" if split == "train" else "evaluation"
    return {"name": name, "use": use, "rows": rows, "repository": repository, "split": where, "licence": licence}
