"""Where settings come from, TOML files, a run's config.json and flags, and how they are laid over one another."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsgrpo_cli.config.estimators import SCHEDULE
from rsgrpo_cli.config.samples import with_general
from rsgrpo_cli.config.typed import without_dates
from rsgrpo_cli.errors import MissingError, UsageError

Overrides = dict[str, Any]
"""Dotted field names and their values: {"advantage.beta": 4.0}. None means not given."""


def load_settings(path: Path) -> dict[str, Any]:
    """Read what `--config` names: a TOML file, or another run's config.json.

    Raises:
        MissingError: If the file does not exist.
        UsageError: If it cannot be read.
    """
    if path.suffix != ".json":
        return load_toml(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise _no_file(path) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}", "correct it, or give a TOML file") from error
    except IsADirectoryError as error:
        raise _a_folder(path) from error
    if not isinstance(data, dict) or not isinstance(data.get("config"), dict):
        raise UsageError(f"{path} is not a run's config.json", "settings of your own go into a TOML file")
    return dict(data["config"])


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML configuration; dates in it are text, as they are with `--set`."""
    try:
        data: dict[str, Any] = without_dates(tomllib.loads(path.read_text(encoding="utf-8-sig")))
        return data
    except FileNotFoundError as error:
        raise _no_file(path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", _way(error)) from error
    except IsADirectoryError as error:
        raise _a_folder(path) from error


def _way(error: Exception) -> str:
    """What to do about a file that is not TOML."""
    if isinstance(error, UnicodeDecodeError):
        return "save it as UTF-8"
    return "correct that; one that works, to compare: rsgrpo recipes toy"


def _a_folder(path: Path) -> UsageError:
    there = [str(one) for suffix in ("toml", "json") for one in sorted(path.glob(f"*.{suffix}"))]
    return UsageError(f"{path} is a folder, not a configuration file", f"there: {', '.join(there)}" if there else _GIVE)


def _no_file(path: Path) -> MissingError:
    """That there is no such file, with those of its kind beside it."""
    there = sorted(one.name for one in path.parent.glob(f"*{path.suffix}") if one.is_file()) if path.suffix else []
    hint = f"there: {', '.join(there)}" if there else _GIVE
    return MissingError(f"no configuration file at {path}", hint)


_GIVE = "check the path given with --config"


def nested(overrides: Overrides) -> dict[str, Any]:
    """{"a.b": 1} as {"a": {"b": 1}}, leaving out what is None."""
    tree: dict[str, Any] = {}
    for name, value in overrides.items():
        if value is not None:
            *sections, field = name.split(".")
            branch = tree
            for section in sections:
                branch = branch.setdefault(section, {})
                if not isinstance(branch, dict):
                    raise UsageError(f"{name} is not a setting: {section} was given a value of its own")
            branch[field] = value
    return tree


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, section by section."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if isinstance(value, Mapping) and isinstance(result.get(name), Mapping):
                value = _merged_section(name, result[name], value)
            result[name] = value
    return result


def _merged_section(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    samples = new.get("num_samples") if name == "eval" else None
    if isinstance(samples, Mapping):
        return {**old, **new, "num_samples": with_general(samples, old.get("num_samples"))}
    if name == "advantage" and new.get("estimator", old.get("estimator")) != old.get("estimator"):
        # Another estimator: the old one's own knobs (beta, eps) are not its.
        return {"scale": old["scale"], **new} if "scale" in old else dict(new)
    other = "schedule" in new and new["schedule"] != old.get("schedule")
    if name == "advantage" and old.get("estimator", "rs_grpo") == "rs_grpo" and other:
        old = {field: value for field, value in old.items() if field not in SCHEDULE}
    return {**old, **new}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values
