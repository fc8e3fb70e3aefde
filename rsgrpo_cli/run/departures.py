"""Steps that were made with other settings than the run's own: a single stage may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rsgrpo_cli.artifacts import read_json
from rsgrpo_cli.config.typed import as_typed
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import CHAIN, Step


def departures(run: RunDir, step: int) -> list[tuple[str, str, Any, Any]]:
    """Where a step was made with other settings than the run's: (artifact, setting, what it was, the run's own)."""
    found = Step(run, step)
    return [
        (what, *change) for what in CHAIN for change in _changes(_settings_if_readable(found, what), _own(run, what))
    ]


def own_settings(run: RunDir, step: int, what: str) -> list[str]:
    """The flags with which an artifact of a step, one of CHAIN, is made again as it was.

    An update's are told by the policy that it made. What cannot be read tells nothing.
    """
    made = _settings_if_readable(Step(run, step), what)
    if what == "updates":
        made = _settings_of_policy(run, step + 1)
    changed = _changes(made, _own(run, what))
    return [
        word
        for name, was, _ in changed
        if name != "seed"
        for word in ("--set", f"{_SECTIONS[what]}.{name}={as_typed(was)}")
    ]


_SECTIONS = dict(zip(CHAIN, ("rollout", "score", "advantage", "update"), strict=True))


def _own(run: RunDir, what: str) -> dict[str, Any]:
    """What the run's settings say of an artifact."""
    config = run.config()
    own: dict[str, Any] = getattr(config, _SECTIONS[what]).decisive()
    return own | ({"seed": config.seed} if what == "rollouts" else {})


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


def _changes(made: Mapping[str, Any], own: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Settings that differed; "auto" engines are resolved in the lineage, and settings newer than it are not in it."""
    for name, value in own.items():
        if name != "engine" and name in made and made[name] != value:
            yield name, made[name], value
