"""The data set's own columns that a user's reward function takes: checked before anything is sampled, and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import read_lineage, read_notes, read_table, write_table
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.rewards.types import Wants
from rsgrpo_cli.rewards.user import DEFAULT_COLUMNS, STANDARD_COLUMNS
from rsgrpo_cli.schemas import PROMPTS
from rsgrpo_cli.tasks.columns import columns_of, read_columns
from rsgrpo_cli.tasks.sources import Source

EVERYTHING = "*"
"""Stands among the names of what was read for a function with **columns."""


def check_source(reward: str, wants: Wants, source: Source) -> None:
    """Refuse a function that a dataset cannot serve.

    Raises:
        UsageError: Naming what it lacks and what there is.
    """
    there = columns_of(source)
    missing = [name for name in wants.required if name not in {*STANDARD_COLUMNS, *DEFAULT_COLUMNS, *there}]
    if missing:
        own = f"data set {source.name} has " + (f"the columns {', '.join(there)}" if there else "no further columns")
        raise UsageError(
            f"the reward function {reward} needs {', '.join(missing)}; {own}, and every function can have "
            f"{', '.join((*STANDARD_COLUMNS, *DEFAULT_COLUMNS))}",
            "give the parameter a default, or add the column to the data set",
        )


def with_columns(prompts: pa.Table, source: Source, wants: Wants) -> tuple[pa.Table, dict[str, Any]]:
    """Prompts with the columns of their dataset that a function takes, and what to note about them."""
    indices = [info["index"] for info in prompts["extra_info"].to_pylist()]
    own = [name for name in wants.named if name not in STANDARD_COLUMNS]
    rows = read_columns(source, indices, own, everything=wants.everything)
    texts = [_as_json(rows.get(index)) for index in indices]
    field = PROMPTS.schema.field("extra_columns")
    plain = prompts.drop_columns(["extra_columns"]) if "extra_columns" in prompts.schema.names else prompts
    return plain.append_column(field, pa.array(texts, field.type)), {"columns": _marks(wants)}


def are_there(path: Path, wants: Wants) -> bool:
    """Whether prompts have been given all that a function takes, as far as their dataset has it."""
    noted = read_notes(path, PROMPTS).get("columns", [])
    return isinstance(noted, list) and set(_marks(wants)) <= set(noted)


def lacks(path: Path, wants: Wants) -> bool:
    """Whether a function cannot be called for want of a column that prompts have not been given."""
    return not are_there(path, Wants(required=tuple(name for name in wants.required if name not in DEFAULT_COLUMNS)))


def add_columns(path: Path, source: Source, wants: Wants) -> None:
    """Give prompts that are there the columns that a function takes, beside those they have. They keep their id."""
    noted = [name for name in read_notes(path, PROMPTS).get("columns", []) if isinstance(name, str)]
    both = Wants(
        optional=tuple({*wants.named, *noted} - {EVERYTHING}), everything=wants.everything or EVERYTHING in noted
    )
    table, notes = with_columns(read_table(path, PROMPTS), source, both)
    write_table(path, table, PROMPTS, read_lineage(path, PROMPTS), notes)


def _marks(wants: Wants) -> list[str]:
    named = sorted(name for name in wants.named if name not in STANDARD_COLUMNS)
    return [*named, EVERYTHING] if wants.everything else named


def _as_json(row: Mapping[str, Any] | None) -> str | None:
    return json.dumps(row, ensure_ascii=False) if row else None
