"""A policy as a directory that other tools load: whole or not at all, with nothing of the run's own in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from rsgrpo_cli import disk
from rsgrpo_cli.artifacts import read_json
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.disk import explain_full_disk
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.checkpoint_checks import check_checkpoint
from rsgrpo_cli.run.identity import pinned
from rsgrpo_cli.run.run_dir import RunDir


def check_policy(run: RunDir, version: int) -> None:
    """Make sure that there is something of a policy to export.

    Raises:
        UsageError: If it is the base model.
    """
    if version == 0:
        have = ", ".join(map(str, run.versions())) or "none yet"
        raise UsageError(
            f"policy 0 of run {run.name} is the base model {run.config().model.name}, nothing of it was trained",
            f"choose one with --policy; checkpoints: {have}",
        )


def require_free(target: Path) -> None:
    """Refuse to write to where something is.

    Raises:
        UsageError: If there is something at `target`.
    """
    if not disk.is_free(target):
        raise UsageError(f"{target} exists and is not an empty directory", "choose another with --out, or remove it")


def export(run: RunDir, version: int, checkpoint: Path, target: Path, *, merge: bool, card: str) -> Path:
    """Write a policy's directory.

    Args:
        run: The run.
        version: The policy.
        checkpoint: Its checkpoint: the run's own, or one that was rebuilt.
        target: A directory that is not there yet, or empty.
        merge: Write one complete model in the type of the base's weights: an adapter is added to its base in float32,
            then cast. Without it, what was trained goes out as it is: an adapter, or float32 weights.
        card: Text of its README.md.

    Raises:
        UsageError: If there is something at `target`.
        ArtifactError: If the checkpoint is damaged.
        MissingError: If it is gone: a train at work removes old ones.
    """
    target = target.resolve() if target.name in ("", "..") else target
    require_free(target)
    own = checkpoint == run.checkpoint(version)
    with explain_full_disk(target), disk.workshop(target) as folder:
        try:
            if own:
                check_checkpoint(run, version, trainer=False)
            _fill(run, checkpoint, folder, merge=merge)
        except FileNotFoundError as error:
            if not own or version in run.versions():
                raise
            hint = "the same command again rebuilds the policy"
            raise MissingError(f"checkpoint {version} of run {run.name} was removed meanwhile", hint) from error
        # PEFT leaves a card of its own, with nothing filled in.
        (folder / "README.md").write_text(card, encoding="utf-8")
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        disk.sync_files(folder)
        disk.publish(folder, target, "choose another with --out")
    disk.clear_leftovers(target, names)
    return target


def _fill(run: RunDir, checkpoint: Path, folder: Path, *, merge: bool) -> None:
    config = run.config()
    if merge:
        from rsgrpo_cli.policy.checkpoints import save_complete_model

        name = pinned(run.path, config.model.name)
        save_complete_model(config.model.model_copy(update={"name": name}), checkpoint, folder)
        return
    for name in manifests.files_of(checkpoint / manifests.NAME):
        if not name.startswith("trainer/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkpoint / name, folder / name)
    _name_base(folder / "adapter_config.json", config)


def _name_base(path: Path, config: RunConfig) -> None:
    """PEFT records the folder that the base was loaded from, which means nothing elsewhere; a Hub id does."""
    name, _, revision = config.model.name.partition("@")
    if path.is_file() and not Path(name).is_dir() and "/" in name:
        data: dict[str, Any] = read_json(path)
        data |= {"base_model_name_or_path": name, "revision": revision or None}
        path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
