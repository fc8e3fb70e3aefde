"""Steps that were made with other settings than the run's own: a single stage may be."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rsgrpo_cli.artifacts import read_json
from rsgrpo_cli.config.base import StageConfig
from rsgrpo_cli.config.estimators import VARIANTS
from rsgrpo_cli.config.typed import as_typed
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import CHAIN, Step, stage_command


def departures(run: RunDir, step: int) -> list[tuple[str, str, Any, Any]]:
    """Where a step was made with other settings than the run's: (artifact, setting, what it was, the run's own)."""
    found = Step(run, step)
    return [(what, *change) for what in CHAIN for change in _changes(run, what, _settings_if_readable(found, what))]


def own_settings(run: RunDir, step: int, what: str) -> list[str]:
    """The flags with which an artifact of a step, one of CHAIN, is made again as it was.

    An update's are told by the policy that it made. What cannot be read tells nothing.
    """
    made = _settings_if_readable(Step(run, step), what)
    if what == "updates":
        made = _settings_of_policy(run, step + 1)
    changed = {name: was for name, was, _ in _changes(run, what, made) if name != "seed"}
    if "estimator" in changed:
        changed |= _knobs(made)
    return [
        word
        for name, was in changed.items()
        if was is not None  # which no flag says
        for word in ("--set", f"{_SECTIONS[what]}.{name}={as_typed(was)}")
    ]


def ways_out(run: RunDir, step: int, replaced: Collection[str]) -> str:
    """What to do about a step of which something was made from what has been replaced since.

    Where what is there now has other settings than the run's own, making it again with the run's own most likely
    restores what was there before.

    Args:
        run: The run.
        step: The step.
        replaced: What was replaced, as the lineage of what was made from it calls it.
    """
    fork = f"branch off before it: {shlex.join(['rsgrpo', 'fork', 'NEW', '--run', str(run.path), '--step', str(step)])}"
    made = [(step, what) for what in CHAIN if what in replaced]
    made += [(step - 1, "updates")] if step and "policy" in replaced else []
    for number, what in made:
        if any(name == what for name, *_ in departures(run, number)):
            again = stage_command(run, number, what, "--force")
            return f"make the {what} of step {number} again with the run's own settings: {again}; or {fork}"
    return fork


_SECTIONS = dict(zip(CHAIN, ("rollout", "score", "advantage", "update"), strict=True))


def _knobs(made: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the estimator that advantages were made with, which the run's own may not have."""
    ours = VARIANTS.get(made["estimator"])
    names = ours.model_fields if ours else made.keys() - {"identity", "step"}
    return {name: value for name, value in made.items() if name in names}


def _settings_of_policy(run: RunDir, version: int) -> Mapping[str, Any]:
    try:
        lineage = read_json(run.checkpoint(version) / manifests.NAME, lineage=dict)["lineage"]
    except (ArtifactError, MissingError):
        return {}
    settings = lineage.get("config")
    return settings if isinstance(settings, dict) else {}


def _settings_if_readable(step: Step, what: str) -> Mapping[str, Any]:
    """For notes about a run: a damaged file has none, and whoever needs the file itself says what is wrong with it."""
    try:
        return step.artifact(what).first.config
    except (ArtifactError, MissingError):
        return {}


def _changes(run: RunDir, what: str, made: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Settings that differed; "auto" engines are resolved in the lineage, and settings newer than it are not in it."""
    config = run.config()
    section: StageConfig = getattr(config, _SECTIONS[what])
    left_out = section.left_out() if made else {}
    own = left_out | section.decisive() | ({"seed": config.seed} if what == "rollouts" else {})
    made = {**left_out, **made}
    for name, value in own.items():
        if name != "engine" and name in made and made[name] != value:
            yield name, made[name], value
