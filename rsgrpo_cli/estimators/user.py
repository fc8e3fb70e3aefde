"""`UserEstimator`: an advantage estimator of the user's own, called in a worker process.

    def above_quantile(rewards, *, level=0.5):
        return rewards - np.quantile(rewards, level)

It is called with the rewards of one group, a float64 array of shape (G,), and returns one advantage each; a function
that takes a stack of groups, as ours do, takes one as well. Its other parameters are its settings.
docs/estimators.md has the whole of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.estimators.user_worker import NO_SETTING, is_setting
from rsgrpo_cli.user_function import UserFunction
from rsgrpo_cli.wording import raised
from rsgrpo_cli.workers.pool import Died, Done, Outcome, Raised, TimedOut

DEADLINE = 60.0
"""Seconds for one group, which takes any estimator some microseconds: what is still at it then hangs."""
_CALLER = "rsgrpo_cli.estimators.user_worker:caller"
FloatArray = NDArray[np.float64]


class UserEstimator:
    """Calls a user's function on the rewards of one group after another.

    Args:
        name: The function, as "package.module:function"; the module may be in the current directory.
        keep_out: A directory from which the function is not imported: a run's, which is data and no program.

    Raises:
        UsageError: If the name is not that of a function; on first use, if it cannot be loaded or is no estimator.
    """

    def __init__(self, name: str, *, keep_out: Path | None = None) -> None:
        self._function = UserFunction(name, "estimator", _CALLER, workers=1, deadline=DEADLINE, keep_out=keep_out)

    @property
    def identity(self) -> str:
        """The function's name and a hash of its source."""
        return self._function.identity

    def has_setting(self, name: str) -> bool:
        """Whether the function has a parameter of this name beside the rewards."""
        return name in self._function.described.get("names", ())

    def completed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of the function: those given, and its defaults for the others.

        Raises:
            UsageError: If a setting is not the function's, does not fit its default, or is missing and has none.
        """
        name, described = self._function.name, self._function.described
        if "problem" in described:
            raise UsageError(
                f"{self._function.label} cannot be used: {described['problem']}",
                "it is called with the rewards of one group: def f(rewards, *, setting=1.0)",
            )
        names, defaults = described["names"], described["defaults"]
        for setting in given:
            if setting not in names:
                has = f"it has: {', '.join(names)}" if names else "it has no settings"
                raise UsageError(f"advantage.{setting} is not a setting of {name}", has)
        for setting in names:
            if setting not in given and setting not in defaults:
                hint = f"give one: --set advantage.{setting}=VALUE; or give the parameter a default"
                raise UsageError(f"advantage.{setting} of {name} has no value and no default", hint)
        known = {**defaults, **given}
        return {setting: _fitting(setting, known[setting], defaults.get(setting)) for setting in names}

    def __call__(self, groups: Sequence[tuple[str, FloatArray]], settings: Mapping[str, Any]) -> list[FloatArray]:
        """The advantages of each group.

        Args:
            groups: Name and rewards of each, shape (G,).
            settings: From `completed`.

        Raises:
            DataError: If the function raises, hangs, dies, or returns anything but one finite number per reward.
            StaleError: If its source was changed since it was loaded.
        """
        jobs = [(rewards_G.tolist(), dict(settings), self._function.source) for _, rewards_G in groups]
        outcomes = self._function.map(jobs)
        return [self._advantages(group, outcome) for (group, _), outcome in zip(groups, outcomes, strict=True)]

    def close(self) -> None:
        """End the worker process."""
        self._function.close()

    def _advantages(self, group: str, outcome: Outcome) -> FloatArray:
        match outcome:
            case Done(list() as numbers):
                return np.array(numbers, dtype=np.float64)
            case Done(text):
                what = str(text)
            case TimedOut():
                what = f"took longer than {DEADLINE:g} s and was stopped"
            case Raised(kind, message):
                what = f"raised {raised(kind, message)}"
            case Died(exit_code):
                what = f"ended its process with code {exit_code}"
        told = what.startswith("returned")
        hint = "it must return one finite float32 per reward" if told else "fix it and run the same command again"
        raise DataError(f"{self._function.label}, called for group {group}, {what}", hint)


def _fitting(name: str, value: Any, default: Any) -> Any:
    """A setting's value in the type of its default, so that 1 and 1.0 are the same setting.

    Raises:
        UsageError: If it has another type, or one that no setting can have.
    """
    where = f"advantage.{name}"
    if not is_setting(value):
        raise UsageError(f"{where} is {value!r}, {NO_SETTING}")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "beta" and value is not None and not number:
        raise UsageError(f"{where} must be a number, as beta is wherever it stands, not {value!r}")
    if isinstance(default, bool):
        fits, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, kind = number and math.floor(value) == value, "a whole number"
    elif isinstance(default, float):
        fits, kind = number, "a number"
    elif isinstance(default, str):
        fits, kind = isinstance(value, str), "text"
    else:
        return value
    if not fits:
        raise UsageError(f"{where} must be {kind}, as its default {default!r} is, not {value!r}")
    return type(default)(value)
