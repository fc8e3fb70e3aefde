"""The worker's side of `rewards.user`: loads a user's reward function and calls it, in a worker process.

Kept apart so that a worker imports the function and little else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

from rsgrpo_cli.user_code import SourceChangedError, awaited, load_in_worker, short


def caller(name: str, keep_out: str | None = None) -> Callable[..., Any]:
    """Load the function that `name` stands for, and return what serves the parent's jobs.

    Args:
        name: The function; see `user_code.load`, which also says what is raised.
        keep_out: A directory from which nothing is imported.
    """
    function, source = load_in_worker(name, Path(keep_out) if keep_out else None)
    parameters = _Parameters(function)

    def serve(columns: dict[str, list[Any]] | None, expected: str | None = None) -> Any:
        if columns is None:
            return {"source": source, **parameters.described()}
        if expected is not None and expected != source:
            raise SourceChangedError("its source has been changed since this command began")
        return _plain(awaited(parameters.call(columns)))

    return serve


class _Parameters:
    """What a function can be given, and the call that gives it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        parameters = inspect.signature(function).parameters.values()
        self.takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = [one for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
        self.required = [one.name for one in named if one.default is one.empty]
        self.optional = [one.name for one in named if one.default is not one.empty]
        self.by_position = [one.name for one in named if one.kind is one.POSITIONAL_ONLY]

    def described(self) -> dict[str, Any]:
        """For the parent, which reads the columns and knows what there is."""
        return {"required": self.required, "optional": self.optional, "everything": self.takes_all}

    def call(self, columns: Mapping[str, list[Any]]) -> Any:
        """Call the function with the columns it takes."""
        named = {*self.required, *self.optional} - {*self.by_position}
        first = [columns[name] for name in self.by_position if name in columns]
        rest = {name: values for name, values in columns.items() if name not in self.by_position}
        return self.function(*first, **{name: rest[name] for name in rest if self.takes_all or name in named})


# -- what it returns --------------------------------------------------------------------------------------------------


def _plain(returned: Any) -> list[Any] | str:
    """The rewards as floats and None, a text instead of anything else; a text if there is no list."""
    no_list = isinstance(returned, (str, bytes, Mapping, Set)) or not hasattr(returned, "__iter__")
    if no_list or getattr(returned, "ndim", 1) != 1:  # of an array or a tensor with several axes, a row is no reward
        return f"{type(returned).__name__} {short(returned)}"
    return [_reward(value) for value in returned]


def _reward(value: Any) -> float | str | None:
    # NumPy's and torch's scalars are numbers too, and text is not, though float("1") would take it.
    if value is None or isinstance(value, (str, bytes)):
        return None if value is None else short(value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return short(value)
