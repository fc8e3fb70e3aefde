"""A policy as a directory that other tools load: whole or not at all, with nothing of the run's own in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import read_json
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.disk import no_space_is_named, sync_directory
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.run_dir import RunDir


def check_policy(run: RunDir, version: int) -> None:
    """Make sure that there is something of a policy to export.

    Raises:
        UsageError: If it is the base model.
        MissingError: If its checkpoint is not there (any more).
    """
    have = ", ".join(map(str, run.versions())) or "none yet"
    if version == 0:
        raise UsageError(
            f"policy 0 of run {run.name} is the base model {run.config().model.name}, nothing of it was trained",
            f"choose one with --policy; checkpoints: {have}",
        )
    if version not in run.versions():
        raise MissingError(f"run {run.name} has no checkpoint {version}", f"checkpoints: {have}")


def export(run: RunDir, version: int, target: Path, *, merge: bool, card: str) -> Path:
    """Write a policy's directory.

    Args:
        run: The run.
        version: The policy, of which there is a checkpoint.
        target: A directory that is not there yet, or empty.
        merge: Write one complete model in the type of the base's weights: an adapter is added to its base in float32,
            then cast. Without it, what was trained goes out as it is: an adapter, or float32 weights.
        card: Text of its README.md.

    Raises:
        UsageError: If there is something at `target`.
        ArtifactError: If the checkpoint is damaged.
    """
    checkpoint, config = run.checkpoint(version), run.config()
    run.check_checkpoint(version, trainer=False)
    with no_space_is_named(target), _whole_directory(target) as folder:
        if merge:
            from rsgrpo_cli.policy.checkpoints import save_complete_model

            save_complete_model(config.model, checkpoint, folder)
        else:
            for path in sorted(checkpoint.rglob("*")):
                name = path.relative_to(checkpoint)
                if path.is_file() and name.parts[0] not in ("manifest.json", "trainer"):
                    (folder / name).parent.mkdir(exist_ok=True)
                    shutil.copyfile(path, folder / name)
            _name_base(folder / "adapter_config.json", config)
        # PEFT leaves a card of its own, with nothing filled in.
        (folder / "README.md").write_text(card, encoding="utf-8")
    return target


@contextmanager
def _whole_directory(target: Path) -> Iterator[Path]:
    """A directory to fill that gets its name when it is full; what fails leaves nothing."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} exists and is not an empty directory", "choose another with --out, or remove it")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in partial.rglob("*"):
            if path.is_file():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        os.replace(partial, target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _name_base(path: Path, config: RunConfig) -> None:
    """PEFT records the folder that the base was loaded from, which means nothing elsewhere; a Hub id does."""
    name, _, revision = config.model.name.partition("@")
    if path.is_file() and not Path(name).is_dir() and "/" in name:
        data: dict[str, Any] = read_json(path)
        data |= {"base_model_name_or_path": name, "revision": revision or None}
        path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
