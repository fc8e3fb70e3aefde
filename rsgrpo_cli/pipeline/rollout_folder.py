"""The directory of a step's rollouts: part files, and a manifest that names the parts of all finished rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import Lineage, combined_id, count_rows, read_json, read_lineage, write_json
from rsgrpo_cli.disk import make_directory
from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.pipeline.parts import discard
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.staleness import Freshness, freshness
from rsgrpo_cli.run.step_dir import part_files
from rsgrpo_cli.schemas import ROLLOUTS
from rsgrpo_cli.stages.rollout import Part


def folder_state(folder: Path, wanted: Lineage, parts: Sequence[Part]) -> Freshness:
    """How the rollouts in a directory relate to those wanted: missing, too, where a part of these is."""
    manifest = folder / manifests.NAME
    if not manifest.is_file():
        return Freshness.MISSING
    made = read_json(manifest, parts=dict)["parts"]
    if not made:
        raise ArtifactError(f"{manifest} names no parts", "remove it, and run the same command again")
    state = freshness(folder / f"{next(iter(made))}.parquet", ROLLOUTS, wanted)
    gone = any(not (folder / f"{name}.parquet").is_file() for name in made)
    lacking = state == Freshness.CURRENT and (gone or any(part.name not in made for part in parts))
    return Freshness.MISSING if lacking else state


def start_round(folder: Path, wanted: Lineage, parts: Sequence[Part], *, force: bool) -> list[int]:
    """Prepare a directory for further parts: remove files that are not part of the plan.

    The manifest stays if all that it names is there and part of the plan: what has rewards already still counts while
    the next round is sampled.

    Args:
        folder: The directory.
        wanted: The lineage of every part.
        parts: The parts of all rounds, in order.
        force: Make everything again.

    Returns:
        How many parts each of the rounds so far has made.
    """
    make_directory(folder)
    manifest, names = folder / manifests.NAME, [part.name for part in parts]
    made = read_json(manifest, parts=dict) if manifest.is_file() else {"parts": {}}
    done = list(made["parts"])
    there = all(freshness(folder / f"{name}.parquet", ROLLOUTS, wanted) == Freshness.CURRENT for name in done)
    grows = not force and there and done == names[: len(done)]
    if not grows:
        manifest.unlink(missing_ok=True)
    for path in part_files(folder):
        if force or path.stem not in names:
            discard(path, ROLLOUTS)
    return rounds(made) if grows else []


def finish_round(folder: Path, parts: Sequence[Part], before: Sequence[int]) -> dict[str, Any]:
    """Write the manifest; return a summary of the rollouts.

    Args:
        folder: The directory.
        parts: The parts of all rounds.
        before: From `start_round`.
    """
    paths = [folder / f"{part.name}.parquet" for part in parts]
    ids = {path.stem: read_lineage(path, ROLLOUTS).id for path in paths}
    rows = sum(map(count_rows, paths))
    made = {"rounds": [*before, len(paths) - sum(before)]}
    write_json(folder / manifests.NAME, {"id": combined_id(ids.values()), "rows": rows, **made, "parts": ids})
    return {"completions": rows}


def rounds(manifest: dict[str, Any] | None) -> list[int]:
    """How many parts each round of sampling made; an older manifest counts as one round."""
    if not manifest or not manifest["parts"]:
        return []
    noted = manifest.get("rounds")
    if isinstance(noted, list) and all(type(n) is int for n in noted) and sum(noted) == len(manifest["parts"]):
        return noted
    return [len(manifest["parts"])]
