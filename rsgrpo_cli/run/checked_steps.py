"""Which steps were found consistent before, and have not been touched since: their footers need not be read again.

`checked.parquet` lists the files of each such step with their size and time. So `status` and a resume ask the file
system about old steps and read nothing of them, and what they cost hardly grows with the number of steps.
"""

from __future__ import annotations

import os
from functools import cached_property

import pyarrow as pa

from rsgrpo_cli.artifacts import Lineage, hash_json, read_lineage, read_table, write_table
from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.run.departures import departures
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import Stale, stale_links
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import CHECKED, PROMPTS


def require_own_settings(run: RunDir) -> None:
    """Refuse settings that are not those that the run's steps were made with: the config.json of another run.

    A single stage may have been run with settings of its own; the list of checked steps tells, as it holds the run's.

    Raises:
        ArtifactError: If config.json was replaced.
    """
    if not run.checked.is_file():
        return
    try:
        recorded = read_lineage(run.checked, CHECKED).config.get("settings")
    except ArtifactError:  # whoever needs the list says so, and makes it again
        return
    if recorded in (None, _settings_id(run)):
        return
    changed = next((change for step in run.steps() for change in departures(run, step)), None)
    if changed is not None:
        what, name, was, now = changed
        raise ArtifactError(
            f"{run.path / 'config.json'} has different settings from those that the run was made with: "
            f"the {what} have {name} {was}, not {now}",
            f"put the file back as it was; or start another run with its settings: rsgrpo train --config "
            f"{run.path / 'config.json'}",
        )


def _settings_id(run: RunDir) -> str:
    config = run.config()
    own = [section.decisive() for section in (config.rollout, config.score, config.advantage, config.update)]
    return hash_json([config.seed, *own])


class CheckedSteps:
    """The steps of a run that were found consistent.

    Args:
        run: The run.
        table: Of `schemas.CHECKED`, with the files of steps that were checked before.
    """

    def __init__(self, run: RunDir, table: pa.Table | None = None) -> None:
        self.run = run
        # Not by empty_table, which would import pandas: `status` is to be quick.
        self.table = pa.Table.from_batches([], CHECKED.schema) if table is None else table
        self._noted: dict[int, list[tuple[int, str, int, int]]] = {}
        """Rows of the steps that were checked since, none for one that is not as it should be."""

    @classmethod
    def read(cls, run: RunDir) -> CheckedSteps:
        """What an earlier process noted; nothing if the run has other settings or other prompts by now.

        Raises:
            ArtifactError: If the table is damaged.
        """
        found = cls(run)
        if run.checked.is_file() and dict(read_lineage(run.checked, CHECKED).config) == found._context:
            found.table = read_table(run.checked, CHECKED).replace_schema_metadata(None)
        return found

    def untouched(self) -> set[int]:
        """Steps whose files, and those of the step before, are as they were when the step was checked before."""
        root, stat = f"{self.run.path}/steps/", os.stat
        steps, names, sizes, times = (self.table[name].to_pylist() for name in CHECKED.schema.names)
        changed = set()
        for step, name, size, time in zip(steps, names, sizes, times, strict=True):
            try:
                found = stat(root + name)
            except FileNotFoundError:
                changed.add(step)
            else:
                if found.st_size != size or found.st_mtime_ns != time:
                    changed.add(step)
        same = {*steps} - changed
        return {step for step in same if step == 0 or step - 1 in same}

    def note(self, step: int) -> list[Stale]:
        """Check a finished step, and remember it if all of it belongs together and has the run's own settings.

        Returns:
            What of it is stale.

        Raises:
            MissingError, ArtifactError: If one of its files is gone or damaged.
        """
        rows = self._noted[step] = []
        problems = stale_links(self.run, step)
        if not problems and not departures(self.run, step):
            root = self.run.path / "steps"
            files = [(path.relative_to(root).as_posix(), path.stat()) for path in Step(self.run, step).files]
            rows += [(step, name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
        return problems

    def write(self) -> None:
        """Save the table."""
        import pyarrow.compute as pc  # `status` only reads, and is to be quick

        rows = [dict(zip(CHECKED.schema.names, row, strict=True)) for rows in self._noted.values() for row in rows]
        kept = self.table.filter(pc.invert(pc.is_in(self.table["step"], pa.array(self._noted, pa.int32()))))
        self.table = pa.concat_tables([kept, pa.Table.from_pylist(rows, schema=CHECKED.schema)]).sort_by("step")
        self._noted.clear()
        write_table(self.run.checked, self.table, CHECKED, Lineage("train", self._context, {}))

    @cached_property
    def _context(self) -> dict[str, str]:
        """What the check depends on beside the steps' files."""
        prompts = self.run.prompts
        return {
            "settings": _settings_id(self.run),
            "prompts": read_lineage(prompts, PROMPTS).id if prompts.is_file() else "",
        }
