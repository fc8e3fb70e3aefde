"""A run's config.json: its resolved settings, and where it was forked from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import CHECK, read_json
from rsgrpo_cli.config import RunConfig, parse
from rsgrpo_cli.config.removed import without_removed, without_speed
from rsgrpo_cli.errors import ArtifactError, MissingError, UsageError

VERSION = 1


def read(path: Path) -> RunConfig:
    """The settings.

    Raises:
        MissingError: If there is no such file.
        ArtifactError: If it is damaged.
    """
    hint = "nothing else holds a run's settings: put the file back as it was, or start another run"
    data = _read(path, "version", "config")
    if data["version"] != VERSION:
        raise ArtifactError(f"{path} is not a run configuration of this version of rsgrpo", hint)
    try:
        return _parsed(path, data["config"])
    except UsageError as error:  # not what the user gave now, but the file's content
        raise ArtifactError(f"{path} is damaged: {error.message}", hint) from error


def _read(path: Path, *names: str) -> Any:
    try:
        return read_json(path, *names)
    except ArtifactError as error:
        hint = "nothing else holds a run's settings: put the file back as it was, or start another run"
        if "was changed" in error.message:
            hint = f'put the file back as it was; if the change is meant, take the line "{CHECK}" out of it'
        raise ArtifactError(error.message, hint) from error


def _parsed(path: Path, settings: Any) -> RunConfig:
    """A run's settings, also where an older version wrote them."""
    if isinstance(settings, Mapping):
        settings = without_speed(settings)
        try:
            without_removed(settings)
        except ValueError as error:
            hint = "continue the run with the version of rsgrpo that made it, or start another"
            raise ArtifactError(f"{path}: {error}", hint) from error
    return parse(settings)


def is_there(folder: Path) -> bool:
    """Whether a folder is a run's: it has a config.json, and not that of another program, such as a model's.

    One that cannot be read counts, so that what is wrong with it is said.
    """
    try:
        data = read_json(folder / "config.json")
    except MissingError:
        return False
    except ArtifactError:
        return True
    return not isinstance(data, dict) or bool({"version", "config"} & data.keys())


def read_origin(path: Path) -> dict[str, Any] | None:
    """Which run and step it was forked from, None if it was not.

    Raises:
        ArtifactError: If that is not what stands there.
    """
    origin = _read(path, "version").get("forked_from")
    if origin is None:
        return None
    of_its_kind = isinstance(origin, dict) and isinstance(origin.get("run"), str)
    if not of_its_kind or type(origin.get("step")) is not int:
        hint = "put the file back as it was, or take forked_from out of it"
        raise ArtifactError(f"{path} is damaged: forked_from does not name a run and a step", hint)
    return dict(origin)


def content(config: RunConfig, forked_from: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is written into the file."""
    data: dict[str, Any] = {"version": VERSION, "config": config.model_dump(mode="json")}
    return data | ({"forked_from": dict(forked_from)} if forked_from else {})
