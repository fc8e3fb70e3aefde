"""Where the base model of a run is, once the run or the model has been moved."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from rsgrpo_cli.bundled import bundled_model
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.run.identity import Identity, pinned, read_identity
from rsgrpo_cli.run.run_commands import command
from rsgrpo_cli.run.run_dir import RunDir


def find_base(run: RunDir, model: str, find: Callable[[str], Path]) -> Path:
    """The directory of a run's base model.

    Args:
        run: The run.
        model: The model's name in the settings.
        find: What of `models` finds it by its name.

    Raises:
        MissingError: If it is not there, saying how to go on with the run where it was a directory once.
    """
    try:
        return find(pinned(run.path, model))
    except MissingError as error:
        if not run.has_results() or _is_from_hub(model, read_identity(run.path)):
            raise
        raise MissingError(f"{error.message}, and run {run.name} was made with it", _way(run, model)) from error


def lost_base(run: RunDir, model: str) -> str | None:
    """That a run's base model was a directory and is not there, with what to do; None unless that can be told."""
    name = pinned(run.path, model)
    if bundled_model(name) or Path(name).is_dir() or not run.has_results() or _may_be_on_hub(name):
        return None
    return f"no model at {name!r}: {_way(run, model)}"


def _may_be_on_hub(model: str) -> bool:
    return model.count("/") == 1 and not model.startswith((".", "/", "~"))


def _is_from_hub(model: str, identity: Identity | None) -> bool:
    """Whether a model was downloaded: "models/mine" may be a folder too."""
    was_local = identity is not None and identity.base.get("model") == model and identity.revision is None
    return _may_be_on_hub(model) and not was_local


def _way(run: RunDir, model: str) -> str:
    """What to do where the model has been moved: say where, once; a run that recorded too little takes a link."""
    link = f"ln -s DIR {shlex.quote(model)}"
    if read_identity(run.path) is None:
        return f"if it has moved to DIR, link it: {link}"
    return f"if it has moved to DIR, say so once, to train, eval or prepare: {command(run, 'train')} --model DIR"
