"""The directory of a step's rollouts: part files, and a manifest that is there when they all are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsgrpo_cli import disk
from rsgrpo_cli.artifacts import Lineage, combined_id, count_rows, read_json, read_lineage, write_json
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.run_dir import Freshness, freshness, rollout_parts
from rsgrpo_cli.schemas import ROLLOUTS, ArtifactSchema
from rsgrpo_cli.stages.rollout import Part


def folder_state(folder: Path, wanted: Lineage, parts: Sequence[Part]) -> Freshness:
    """How the rollouts in a directory relate to those wanted: missing, too, where a part of these is."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return Freshness.MISSING
    made = read_json(manifest, parts=dict)["parts"]
    if not made:
        raise ArtifactError(f"{manifest} names no parts", "remove it, and run the same command again")
    state = freshness(folder / f"{next(iter(made))}.parquet", ROLLOUTS, wanted)
    gone = any(not (folder / f"{name}.parquet").is_file() for name in made)
    lacking = state == Freshness.CURRENT and (gone or any(part.name not in made for part in parts))
    return Freshness.MISSING if lacking else state


def start_folder(folder: Path, keep: set[str], *, force: bool) -> None:
    """Take back the manifest, and remove parts that are not part of the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    for path in rollout_parts(folder):
        if force or path.stem not in keep:
            discard(path, ROLLOUTS)


def discard(path: Path, kind: ArtifactSchema) -> None:
    """Remove an artifact that is to be made again; what is not one of ours is set aside."""
    try:
        read_lineage(path, kind)
    except MissingError:
        return
    except ArtifactError:
        disk.set_aside(path)
    else:
        path.unlink()


def finish_folder(folder: Path) -> dict[str, Any]:
    """Write the manifest; return a summary of the rollouts."""
    parts = {path.stem: read_lineage(path, ROLLOUTS).id for path in rollout_parts(folder)}
    rows = sum(count_rows(path) for path in rollout_parts(folder))
    write_json(folder / "manifest.json", {"id": combined_id(parts.values()), "rows": rows, "parts": parts})
    return {"completions": rows}
