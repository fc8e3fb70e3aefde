"""Branch a run: a new one that shares everything before a step. It is there as a whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rsgrpo_cli import disk
from rsgrpo_cli.artifacts import read_table, write_json
from rsgrpo_cli.config import Overrides, OwnEstimatorConfig, changed_fields, decides_training, difference, override
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import ArtifactError, MissingError, StaleError, UsageError
from rsgrpo_cli.pipeline import rebuilding
from rsgrpo_cli.pipeline.base_model import open_base
from rsgrpo_cli.pipeline.own_estimator import completed_run, without_lost_settings
from rsgrpo_cli.run import config_file, manifests
from rsgrpo_cli.run.checked_steps import require_own_settings
from rsgrpo_cli.run.identity import read_identity, refuse_unasked, write_identity
from rsgrpo_cli.run.run_dir import RunDir, numbered
from rsgrpo_cli.run.staleness import is_of_what_is_there, is_sound_history
from rsgrpo_cli.run.step_dir import Step, rewards_of
from rsgrpo_cli.schemas import HISTORY, REWARDS, ROLLOUTS

_OURS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.parquet|manifest\.json")
"""Names of the files in steps and evaluations; what else lies there is not shared."""


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """Leave to rebuild the policy that a fork starts from, where it has no checkpoint.

    Args:
        out: Where it is said what that costs.
        accept_changes: Go on although the base model has changed.
        accept_inexact: Take a policy that is not the same bit for bit.
    """

    out: Output
    accept_changes: bool = False
    accept_inexact: bool = False


def fork(source: RunDir, step: int, target: Path, overrides: Overrides, leave: Rebuilding | None = None) -> RunDir:
    """A new run that shares everything before step `step`, and continues with other settings.

    That step's rollouts and rewards are shared as well, unless sampling is what changes.

    Files are hard-linked: an artifact is only ever replaced, never written into, so neither run can change the other's.
    The source may be in use: only what is complete is shared.

    Args:
        source: The run to branch off.
        step: The first step that the new run does itself.
        target: Where the new run goes.
        overrides: Its other settings.
        leave: To rebuild the policy of that step; without it there must be a checkpoint.

    Raises:
        MissingError: If the policy of that step does not exist (any more).
        UsageError: If there is something at `target`, or the policy of that step is of another model, or learned
            from other problems, than wanted; or if an estimator of the user's own cannot be loaded.
        ArtifactError: If the disk is full; nothing is left behind then.
    """
    _require_free(target)
    if target.resolve().is_relative_to(source.path.resolve()):
        raise UsageError(f"{target} lies inside run {source.name}", "choose a place outside the run that is forked")
    if step > 0 and leave is None and step not in source.versions():
        have = ", ".join(map(str, source.versions())) or "none"
        raise MissingError(
            f"run {source.name} has no checkpoint {step} to fork from",
            f"checkpoints: {have}, or 0; a run keeps more of them with --checkpoint-every 1 --keep-checkpoints N",
        )
    config = override(without_lost_settings(source.config(), overrides), overrides)
    if any(name.startswith("advantage.") for name in overrides):
        config = completed_run(config, None if "advantage.estimator" in overrides else source.path)
    changed = changed_fields(source.config(), config)
    if step > 0:
        _require_same_past(changed, f"policy {step} of run {source.name}")
    origin = {"run": source.name, "step": step}
    with (
        _start(source, step, target, leave) as (rebuilt, inexact),
        disk.explain_full_disk(target),
        disk.workshop(target) as partial,
    ):
        _share(source, step, partial, rollouts=_samples_alike(changed), evaluations=_same_policies(changed))
        if rebuilt is not None:
            _take_over(rebuilt, partial / source.checkpoint(step).relative_to(source.path))
        recorded = read_identity(source.path)
        if recorded is not None and _same_policies(changed):
            # The reward and the estimator may differ from here on: that is one of the reasons to branch.
            write_identity(partial, replace(recorded, rewards=(), estimators=()))
        note = {"inexact": inexact} if inexact else {}
        write_json(partial / "config.json", config_file.content(config, origin | note))
        names = [path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file()]
        disk.publish(partial, target, "choose another name")
    disk.clear_leftovers(target, names)
    return RunDir(target)


@contextmanager
def _start(
    source: RunDir, step: int, target: Path, leave: Rebuilding | None
) -> Iterator[tuple[Path | None, str | None]]:
    """The checkpoint of the policy that a fork starts from if it was rebuilt for that, and how it is inexact if so."""
    if leave is None or step == 0 or step in source.versions():
        yield None, None
        return
    accept = {"accept_changes": leave.accept_changes, "accept_inexact": leave.accept_inexact}
    with rebuilding.checkpoint_of(source, step, target, leave.out, **accept) as (folder, inexact):
        yield folder, inexact


def check_base(source: RunDir, overrides: Overrides, *, accept: bool) -> None:
    """Compare the base model with the one that a run was made with, where it is at hand and goes on to be used.

    Elsewhere `train` compares: a run may be branched where its model is not.

    Raises:
        StaleError: If it has changed and that is not accepted.
    """
    model = source.config().model.name
    if overrides.get("model.name", model) != model:
        return
    try:
        open_base(source, model, accept=accept, record=False)
    except MissingError:
        return


def require_trusted(source: RunDir, overrides: Overrides, *, trust: bool) -> None:
    """Refuse a fork that would load an estimator which only the source's configuration names.

    Raises:
        UsageError: If it would.
    """
    cfg = source.config().advantage
    changes = any(name.startswith("advantage.") for name in overrides)
    if isinstance(cfg, OwnEstimatorConfig) and changes and not trust and "advantage.estimator" not in overrides:
        refuse_unasked(source.path, "estimator", cfg.estimator)


def require_whole(run: RunDir) -> None:
    """Refuse to continue a run that would train something else than it did.

    That is a fork without the policy that it starts from, and a run with the settings of another.

    Raises:
        StaleError: If it is such a fork.
        ArtifactError: If it has other settings.
    """
    require_own_settings(run)
    origin = run.origin()
    if origin is not None and run.newest_version() < origin["step"]:
        step = origin["step"]
        raise StaleError(
            f"run {run.name} was forked from {origin['run']} at step {step}, and policy {step} is not in it",
            f"fork again under another name: rsgrpo fork NAME --run {origin['run']} --step {step}",
        )


def _require_free(target: Path) -> None:
    RunDir.require_name(target)
    if RunDir.is_there(target):
        raise UsageError(f"{target} is a run already", "choose another name")
    if not disk.is_free(target):
        raise UsageError(f"{target} exists and is not a run", "choose another name")


def _share(source: RunDir, step: int, folder: Path, *, rollouts: bool, evaluations: bool) -> None:
    """Link everything into `folder` that the new run has in common with its source."""
    for path in (source.prompts, *(source.path / "benchmarks").glob("*.parquet")):
        _link_all(source, path, folder)
    for earlier in range(step):
        _link_all(source, source.step(earlier), folder)
    if rollouts and _is_sound(source, step, "rollouts"):
        # The rewards first: a source at work may add to both, and rewards of only some rollouts can be added to.
        if _is_sound(source, step, "rewards"):
            _link_all(source, rewards_of(source, step).place, folder)
        _link_all(source, source.rollouts(step), folder)
    if _is_sound(source, step, "history"):
        _link_all(source, source.history(step), folder)
    for version in source.versions():
        if version <= step:
            _link_checkpoint(source, version, folder, needed=version == step)
    for version in numbered(source.path / "evals"):
        if version <= step and evaluations:
            # The summary before the samples that it is of: more of these may appear in between.
            for path in sorted(
                source.evaluations(version).rglob("*.parquet"), key=lambda path: (len(path.parts), path)
            ):
                if _OURS.fullmatch(path.name):
                    _link_all(source, path, folder)


def _is_sound(source: RunDir, step: int, what: str) -> bool:
    """Whether what a step has can be gone on with: branching is the way out of what is stale or damaged."""
    kinds = {"rollouts": ROLLOUTS, "rewards": REWARDS, "history": HISTORY}
    try:
        for path in [source.history(step)] if what == "history" else Step(source, step).artifact(what).paths:
            read_table(path, kinds[what], list(kinds[what].keys))
        return is_sound_history(source, step) if what == "history" else is_of_what_is_there(source, step, what)
    except (ArtifactError, MissingError):
        return False


def _take_over(checkpoint: Path, place: Path) -> None:
    """Link a rebuilt checkpoint into the new run; its own files go when the fork is done."""
    for name in [*manifests.files_of(checkpoint / manifests.NAME), manifests.NAME]:
        _link(checkpoint / name, place / name)


def _link_checkpoint(source: RunDir, version: int, folder: Path, *, needed: bool) -> None:
    """Link the files that a checkpoint's manifest names, the manifest last: a train may remove it at the same time."""
    place = source.checkpoint(version)
    try:
        for name in [*manifests.files_of(place / manifests.NAME), manifests.NAME]:
            _link(place / name, folder / place.relative_to(source.path) / name)
    except (FileNotFoundError, MissingError) as error:
        if needed:
            have = ", ".join(map(str, source.versions())) or "none"
            raise MissingError(
                f"checkpoint {version} of run {source.name} is not complete (any more)", f"checkpoints: {have}"
            ) from error
        shutil.rmtree(folder / place.relative_to(source.path), ignore_errors=True)  # links that were just made


def _link_all(source: RunDir, path: Path, folder: Path) -> None:
    """Link a file, or the files below a directory, that are ours, a manifest before what it names."""
    if path.is_dir() and not path.is_symlink():
        inside = [entry for entry in path.iterdir() if entry.is_dir() or _OURS.fullmatch(entry.name)]
        for entry in sorted(inside, key=lambda entry: (entry.name != manifests.NAME, entry.name)):
            _link_all(source, entry, folder)
    elif path.is_file():
        _link(path, folder / path.relative_to(source.path))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in disk.NO_LINKS:
            raise
        shutil.copyfile(source, target)


def _require_same_past(changed: Mapping[str, tuple[Any, Any]], policy: str) -> None:
    """Refuse a fork of a trained policy that would need another past: another model or other problems."""
    for name, (was, wanted) in changed.items():
        problems = name.startswith("prepare.") and decides_training(name)
        if problems or name in ("model.name", "model.lora_rank", "model.lora_alpha"):
            raise UsageError(
                f"{policy} was trained with {difference(name, was, wanted)}",
                "only a fork of the base model can change that: --step 0",
            )


def _same_policies(changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether the policies shared are the same, and compute alike: else their evaluations are of others."""
    return not any(name.startswith("model.") and decides_training(name) for name in changed)


def _samples_alike(changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether a step would sample as it did before some settings were changed.

    Rollouts that were resampled have more groups than any other mode would make of them; the others can be added to.
    """
    deciding = {name for name in changed if decides_training(name)}
    if changed.get("rollout.zero_variance", ("keep",))[0] != "resample":
        deciding.discard("rollout.zero_variance")
    return not any(name.partition(".")[0] in ("seed", "model", "prepare", "rollout", "vllm") for name in deciding)
