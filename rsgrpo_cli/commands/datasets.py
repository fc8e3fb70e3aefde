"""`rsgrpo datasets`."""

from __future__ import annotations

from typing import Any

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, table


def datasets(as_json: options.JsonOption = False) -> None:
    """List the datasets and benchmarks that are known by name: where they come from, their size and licence."""
    from rsgrpo_cli.pipeline.catalogue import known_datasets

    rows = known_datasets()
    made = table(
        "name", "use", "rows", "from", "split there", "licence", text=("use", "from", "split there", "licence")
    )
    for row in rows:
        count = f"{row['rows']:,}"
        made.add_row(row["name"], row["use"], count, row["repository"], row["split"], row["licence"])
    data: dict[str, Any] = {"datasets": rows}
    lines = ["any other: owner/name[@revision][:config[/split]], or a .jsonl or .parquet file"]
    Output(as_json=as_json).result(data, made, lines=lines)
