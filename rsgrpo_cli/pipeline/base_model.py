"""The base model of a run, compared with the one that the run was made with whenever it is opened."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import hash_json, read_lineage
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.errors import StaleError
from rsgrpo_cli.modeling.prompt_tokens import chat_template_id
from rsgrpo_cli.models import model_directory, weights_id
from rsgrpo_cli.run.base_place import find_base
from rsgrpo_cli.run.identity import Identity, read_identity, write_identity
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import evaluations
from rsgrpo_cli.run.step_dir import part_files
from rsgrpo_cli.schemas import ROLLOUTS

ACCEPT = "--accept-changes"
_LABELS = {
    "weights": "weights",
    "config": "config.json",
    "tokenizer": "tokenizer",
    "chat_template": "chat template",
    "stop_tokens": "stop tokens (generation_config.json)",
    "generation_config": "generation_config.json",
    "tokenizer_config": "tokenizer settings (tokenizer_config.json, special_tokens_map.json)",
}
"""What is compared, and what it is called."""
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")
_IRRELEVANT = {
    "transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache",
    "_from_model_config", "name_or_path", "tokenizer_file", "special_tokens_map_file",
}  # fmt: skip
"""Entries of these files that change with whoever saved them, and decide nothing."""


def base_facts(directory: Path, weights: str) -> dict[str, str | None]:
    """What of a base model decides its completions, or goes into checkpoints, by name; None where it has no such file.

    Args:
        directory: The model's.
        weights: Hash of its weights.
    """
    config, defaults, settings, special = (
        {name: value for name, value in _json(directory / file).items() if name not in _IRRELEVANT}
        for file in ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
    )
    stops = defaults.pop("eos_token_id", None)
    settings.pop("chat_template", None)
    files = sorted(directory / name for name in _TOKENIZER if (directory / name).is_file())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return {
        "weights": weights,
        "config": hash_json(config),
        "tokenizer": hash_json([[path.name, digest] for path, digest in zip(files, digests, strict=True)]),
        "chat_template": chat_template_id(directory),
        "stop_tokens": None if stops is None else json.dumps(stops),
        "generation_config": hash_json(defaults) if defaults else None,
        "tokenizer_config": hash_json([settings, special]) if settings or special else None,
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # whoever loads the model says what is wrong with it
        return {}
    return data if isinstance(data, dict) else {}


def open_base(run: RunDir, model: str, *, accept: bool, record: bool = True) -> tuple[Path, str]:
    """The base model of a run, once it is compared with the one that the run was made with.

    Args:
        run: The run.
        model: Its base model's name.
        accept: As of `compare_base`.
        record: The same.

    Returns:
        The model's directory, and the hash of its weights.

    Raises:
        StaleError: If the model has changed and that is not accepted.
        MissingError: If it is not here.
    """
    directory = find_base(run, model, model_directory)
    weights = weights_id(directory)
    compare_base(run, model, directory, base_facts(directory, weights), accept=accept, record=record)
    return directory, weights


def without_moved(run: RunDir, overrides: Overrides) -> Overrides:
    """The settings that are asked for, without the model's name if that is a directory with the run's own base model.

    The run keeps the name that its policies are known by, and records the directory, where the model is found from now
    on. The files have to be those that the run was made with; any other model stays among the settings.

    Args:
        run: The run.
        overrides: What is asked for.

    Raises:
        MissingError: If the directory that is named holds no model.
    """
    wanted, model = overrides.get("model.name"), run.config().model.name
    if not wanted or wanted == model or not Path(wanted).is_dir():
        return overrides
    directory, recorded = model_directory(wanted), read_identity(run.path)
    if recorded is None or recorded.base.get("model") != model:
        return overrides
    place = os.path.abspath(directory)
    if recorded.place != place:
        found = base_facts(directory, weights_id(directory))
        if any(found[name] != was for name, was in recorded.base.items() if name in _LABELS):
            return overrides
        write_identity(run.path, replace(recorded, place=place))
    return {name: value for name, value in overrides.items() if name != "model.name"}


def compare_base(
    run: RunDir, model: str, directory: Path, found: dict[str, str | None], *, accept: bool, record: bool = True
) -> None:
    """Compare what was found of a base model with what the run recorded, and record what it has not.

    Args:
        run: The run.
        model: Its base model's name.
        directory: Where that is.
        found: From `base_facts`.
        accept: Go on with what has changed, and say so in the log and in `identity.json`.
        record: Write down what was not recorded yet.

    Raises:
        StaleError: If something has changed and that is not accepted.
    """
    recorded = read_identity(run.path)
    if recorded is not None and recorded.base.get("model") != model:
        recorded = None  # of another model than the run has now
    known = dict(recorded.base) if recorded else known_from_artifacts(run)
    changed = {name: (known[name], found[name]) for name in _LABELS if name in known and known[name] != found[name]}
    if changed and not accept:
        raise StaleError(_what_changed(run, model, changed), _ways_back(model, recorded))
    made = recorded or Identity({})
    if changed:
        changes = [{"name": name, "was": was, "is": now} for name, (was, now) in changed.items()]
        run.record({"stage": "accept-changes", "changes": changes})
        made = replace(made, accepted=(*made.accepted, *changes))
    revision = made.revision if recorded and not changed else _commit(directory)
    made = replace(made, base={"model": model, **found}, revision=revision)
    if made != recorded and (record or changed):
        write_identity(run.path, made)


def known_from_artifacts(run: RunDir) -> dict[str, str | None]:
    """Of a run that recorded nothing: the weights that its first samples are from."""
    folders = [run.rollouts(0)]
    folders += [run.evaluation(version, name) / "rollouts" for version, name in evaluations(run) if version == 0]
    parts = [path for folder in folders for path in part_files(folder)[:1]]
    return {"weights": read_lineage(parts[0], ROLLOUTS).inputs["policy"]} if parts else {}


def _what_changed(run: RunDir, model: str, changed: dict[str, tuple[str | None, str | None]]) -> str:
    told = ", ".join(f"{_LABELS[name]} {was or 'none'}, now {now or 'none'}" for name, (was, now) in changed.items())
    return f"the base model {model} is not the one that run {run.name} was made with: {told}"


def _ways_back(model: str, recorded: Identity | None) -> str:
    back = "put the old files back"
    if recorded is not None and recorded.revision:
        back = f"get the old files: hf download {model.partition('@')[0]} --revision {recorded.revision}"
    return f"{back}; or start a new run; to continue with the changed model: {ACCEPT}"


def _commit(directory: Path) -> str | None:
    """The commit of a model in the Hub's cache (models--OWNER--NAME/snapshots/COMMIT)."""
    return directory.name if directory.parent.name == "snapshots" else None


def accepted(run: RunDir) -> dict[str, str]:
    """For the lineage of what the base model decides: empty unless changes of it were accepted."""
    identity = read_identity(run.path)
    return identity.note if identity else {}
