"""The worker's side of `rewards.user`: loads a user's reward function and calls it, in a worker process.

Kept apart so that a worker imports the function and little else.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rsgrpo_cli.rewards.worker import load


class MissingColumnError(LookupError):
    """The function asks for a column that the prompts do not have."""


def caller(name: str) -> Callable[..., Any]:
    """Load the function that `name` ("package.module:function") stands for, and return what serves the parent's jobs.

    The module may stand in the current directory, as it may for `python -m`; the `rsgrpo` command alone would not
    look there.

    Raises:
        Exception: Whatever the import raises.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    function = load(name)
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = {
        parameter.name: parameter.default is parameter.empty
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }

    def serve(columns: dict[str, list[Any]] | None) -> Any:
        if columns is None:
            return _source_hash(function)
        missing = [column for column, required in named.items() if required and column not in columns]
        if missing:
            raise MissingColumnError(f"it needs {', '.join(missing)}; there are {', '.join(sorted(columns))}")
        return _plain(function(**{key: value for key, value in columns.items() if takes_all or key in named}))

    return serve


def _plain(returned: Any) -> list[Any] | str:
    """The rewards as floats and None, a text in place of anything that is neither; a text where there is no list."""
    if isinstance(returned, (str, bytes)) or not hasattr(returned, "__iter__"):
        return f"{type(returned).__name__} {_short(returned)}"
    return [_reward(value) for value in returned]


def _reward(value: Any) -> float | str | None:
    # NumPy's and torch's scalars are numbers too, and text is not, though float("1") would take it.
    if value is None or isinstance(value, (str, bytes)):
        return None if value is None else _short(value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return _short(value)


def _short(value: Any) -> str:
    return repr(value)[:80]


def _source_hash(function: Callable[..., Any]) -> str:
    """Hash of the file the function stands in, for the lineage; empty where there is none (a C extension)."""
    path = inspect.getsourcefile(inspect.unwrap(function))
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if path else ""
