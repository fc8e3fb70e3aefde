"""What the ranks of an update are told, and what they leave: files in a directory that all of them see.

order.json                what to update, from what, with which settings
rollouts, advantages      what to learn from (.arrow)
policy_logprobs           before the first optimizer step; of an update in several steps: read or made before it
metrics                   what happened on the way, from the first rank
rank-N.json               why rank N gave up; rank-N.out and rank-N.err have what it printed
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import package_versions, read_json, write_json
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.wording import SHARE_THE_RUN

NAME = "order.json"
ROLLOUTS, ADVANTAGES, LOGPROBS, METRICS = "rollouts", "advantages", "policy_logprobs", "metrics"
_COMPARED = ("rsgrpo", "torch", "transformers", "peft")
"""Packages that every rank must have in one version."""


@dataclass(frozen=True, slots=True)
class Order:
    """One update, for all of its ranks.

    Args:
        config: The run's configuration with the update's settings, as JSON.
        base: Directory of the base model.
        checkpoint: Directory of the policy that is updated, None for the base model.
        made: Where the files of the new policy go.
        version: Of the policy that is updated.
        sampling: How the completions were sampled, as `stages.update.update` takes it.
        versions: The packages of who gives the order.
    """

    config: dict[str, Any]
    base: str
    checkpoint: str | None
    made: str
    version: int
    sampling: dict[str, Any]
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        """Put it where the ranks look."""
        write_json(folder / NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Order:
        """The order in a directory.

        Raises:
            MissingError: If this rank does not see it.
        """
        if not (folder / NAME).is_file():
            raise MissingError(f"{folder} is not visible from this machine", SHARE_THE_RUN)
        found = read_json(folder / NAME, config=dict)
        return cls(**{field.name: found[field.name] for field in fields(cls)})

    def check_versions(self) -> None:
        """Make sure that this rank runs the same code as who gave the order.

        Raises:
            UsageError: Naming the first package that differs.
        """
        own = package_versions()
        for package in _COMPARED:
            if own.get(package) != self.versions.get(package):
                told = f"{package} {own.get(package, 'missing')} here, {self.versions.get(package, 'missing')} there"
                raise UsageError(f"the ranks have different versions: {told}", "install the same on every machine")


def write_table(table: pa.Table, folder: Path, name: str) -> None:
    """One of the directory's tables, which appears whole."""
    partial = folder / f"{name}.partial"
    with pa.ipc.new_file(str(partial), table.schema) as writer:
        writer.write_table(table)
    os.replace(partial, folder / f"{name}.arrow")


def read_table(folder: Path, name: str) -> pa.Table | None:
    """One of the directory's tables, None where it is not there."""
    path = folder / f"{name}.arrow"
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all() if path.is_file() else None


FILES = [NAME, *(f"{name}.{end}" for name in (ROLLOUTS, ADVANTAGES, LOGPROBS, METRICS) for end in ("arrow", "partial"))]
"""All that may lie in the directory."""
