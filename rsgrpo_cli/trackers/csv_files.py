"""CSV files below the run: `metrics.csv`, a row per step, and `evaluations.csv`, a row per number of an evaluation."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rsgrpo_cli import disk
from rsgrpo_cli.schemas import METRICS, SUMMARY
from rsgrpo_cli.trackers.values import Evaluation

_METRICS = [name for name in METRICS.schema.names if name != "status_counts"]
_EVALUATIONS = ["policy", "benchmark", *SUMMARY.schema.names]


class CsvFiles:
    """The two files, in a folder; a step that is in `metrics.csv` already is not written again."""

    def __init__(self, folder: Path) -> None:
        self._metrics = _File(folder / "metrics.csv", _METRICS)
        self._evaluations = _File(folder / "evaluations.csv", _EVALUATIONS)
        self._there = {int(row["step"]) for row in self._metrics.rows()}

    def step(self, step: int, row: Mapping[str, Any]) -> None:
        """Add a step."""
        if step not in self._there:
            self._there.add(step)
            self._metrics.add([row])

    def evaluation(self, found: Evaluation) -> None:
        """Add the numbers of an evaluation."""
        self._evaluations.add({"policy": found.policy, "benchmark": found.benchmark, **row} for row in found.rows)

    def close(self) -> None:
        """Nothing is left to do: every row is on disk."""


class _File:
    """A CSV file with these columns. One with others is written anew; a line that a crash cut short goes."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self._columns = path, columns
        known = self.rows()
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if not text.endswith("\n") or text.partition("\n")[0].strip() != ",".join(columns):
            self._write_anew(known)

    def rows(self) -> list[dict[str, str]]:
        """The whole rows that are there."""
        if not self.path.is_file():
            return []
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        return list(csv.DictReader(whole.splitlines()))

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, at once."""
        with open(disk.open_own(self.path, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8", newline="") as file:
            self._writer(file).writerows(rows)

    def _write_anew(self, rows: Iterable[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(rows)
        disk.write_atomically(self.path, lambda file: file.write(text.getvalue().encode()))

    def _writer(self, file: TextIO) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self._columns, extrasaction="ignore", lineterminator="\n")
