"""The worker's side of `estimators.user`: loads a user's estimator and calls it, in a worker process.

Kept apart so that a worker imports the function and little else.
"""

from __future__ import annotations

import inspect
import math
import os
import traceback
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rsgrpo_cli.user_code import SourceChangedError, awaited, load_in_worker, short
from rsgrpo_cli.wording import counted

RESERVED = ("estimator", "scale", "identity")
"""What is recorded of every estimator, and so cannot be a setting of a function's own."""
_NONE: Mapping[str, Any] = MappingProxyType({})
_PACKAGE = Path(__file__).resolve().parents[1]


def caller(name: str, keep_out: str | None = None) -> Callable[..., Any]:
    """Load the function that `name` stands for, and return what serves the parent's jobs.

    Args:
        name: The function; see `user_code.load`, which also says what is raised.
        keep_out: A directory from which nothing is imported.
    """
    function, source = load_in_worker(name, Path(keep_out) if keep_out else None)

    def serve(rewards_G: list[float] | None, settings: Mapping[str, Any] = _NONE, expected: str = "") -> Any:
        if rewards_G is None:
            return {"source": source, **described(function)}
        if expected != source:
            raise SourceChangedError("its source has been changed since this command began")
        try:
            return plain(awaited(function(np.array(rewards_G), **settings)), len(rewards_G))
        except Exception as error:
            return f"raised {type(error).__name__} in {_where(error)}: {' '.join(str(error).split())[:300]}"

    return serve


def described(function: Callable[..., Any]) -> dict[str, Any]:
    """What can be set of an estimator.

    Returns:
        Its settings under "names", in order, and under "defaults" what those have that have one; or why it cannot be an
        estimator, under "problem".
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:  # some functions written in C have none
        return {"problem": str(error)}
    problem = _problem(parameters)
    if problem:
        return {"problem": problem}
    settings = [one for one in parameters[1:] if one.kind in _BY_NAME]
    defaults = {one.name: one.default for one in settings if one.default is not one.empty}
    return {"names": [one.name for one in settings], "defaults": defaults}


def _problem(parameters: list[inspect.Parameter]) -> str:
    """Why a function with these parameters cannot be an estimator; empty if it can."""
    if not parameters or parameters[0].kind not in (*_BY_POSITION, inspect.Parameter.VAR_POSITIONAL):
        return "it has no parameter for the rewards"
    for one in parameters[1:]:
        if one.kind is one.POSITIONAL_ONLY and one.default is one.empty:
            return f"its parameter {one.name} cannot be given by name, as settings are"
        if one.kind in _BY_NAME and one.name in RESERVED:
            return f"its parameter {one.name} has a name that every estimator's settings have: choose another name"
        if one.kind in _BY_NAME and one.default is not one.empty and not is_setting(one.default):
            return f"the default of {one.name} is {short(one.default)}, {NO_SETTING}"
    return ""


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
LARGEST = 3.4e38
"""Of a float32, in which the loss is computed."""
NO_SETTING = "and a setting is a finite number, a text, true or false, or a list of these"


def is_setting(value: Any) -> bool:
    """Whether a value can be part of a run's configuration."""
    if isinstance(value, list | tuple):
        return all(is_setting(part) and not isinstance(part, list | tuple) for part in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def plain(returned: Any, size: int) -> list[float] | str:
    """What a function returned for `size` rewards, as floats; where it is something else, a text that says so."""
    if isinstance(returned, str | bytes | Mapping | Set) or not hasattr(returned, "__iter__"):
        return f"returned {type(returned).__name__} {short(returned)}"
    kind, shape = type(returned).__name__, getattr(returned, "shape", None)
    # A list of an array's own numbers: of a tensor on a GPU too, in whatever type.
    values = returned.tolist() if hasattr(returned, "tolist") else list(returned)
    if shape is not None and tuple(shape) != (size,):
        return f"returned {kind} of shape {tuple(shape)} for {counted(size, 'reward')}"
    if len(values) != size:
        return f"returned {kind} of {len(values)} for {counted(size, 'reward')}"
    numbers = [_number(value) for value in values]
    for place, number in enumerate(numbers):
        if number is None or not math.isfinite(number) or abs(number) > LARGEST:
            return f"returned {short(values[place])} for reward {place + 1} of {size}"
    return [number for number in numbers if number is not None]


def _number(value: Any) -> float | None:
    """A real number as a float: also NumPy's and torch's scalars, but no text, though float("1") would take it."""
    if isinstance(value, str | bytes) or getattr(value, "ndim", 0) != 0:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _where(error: BaseException) -> str:
    """File and line in the user's code where an exception comes from; of a package that it calls, where it does."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    own = [frame for frame in frames if not {"site-packages", "dist-packages"} & {*Path(frame.filename).parts}]
    frame = (own or frames or traceback.extract_tb(error.__traceback__))[-1]
    return f"{os.path.relpath(frame.filename)}:{frame.lineno}"


def _is_ours(filename: str) -> bool:
    return Path(filename).resolve().is_relative_to(_PACKAGE)
