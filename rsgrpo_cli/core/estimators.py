"""Every estimator by its name: the one map from (name, settings) to a function over groups.

The configuration, `advantage --compare` and the integrations in other trainers all go through `estimator_function`, so
that a name means the same everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from rsgrpo_cli.core.accuracy_advantages import asym_grpo, bbg, f_grpo, power, w_reinforce
from rsgrpo_cli.core.advantages import FloatArray, dr_grpo, grpo, max_rl, qae, rloo, rs_grpo, tail_rl
from rsgrpo_cli.core.entropic_advantages import entropic_adaptive, entropic_loo
from rsgrpo_cli.core.history_advantages import Weighing, curve_rl, fade, rs_grpo_moving
from rsgrpo_cli.core.passk_advantages import chen_passk, mahdavi_passk, passk_rloo, pkpo, tang_max

Estimator = Callable[[ArrayLike], FloatArray]
"""Rewards of one group (G,) or of a stack of groups (P, G) in, advantages of the same shape out."""

ESTIMATORS: Mapping[str, Callable[..., FloatArray]] = {
    "rs_grpo": rs_grpo,
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "max_rl": max_rl,
    "tail_rl": tail_rl,
    "qae": qae,
    "entropic_loo": entropic_loo,
    "entropic_adaptive": entropic_adaptive,
    "pkpo": pkpo,
    "chen_passk": chen_passk,
    "mahdavi_passk": mahdavi_passk,
    "passk_rloo": passk_rloo,
    "tang_max": tang_max,
    "power": power,
    "f_grpo": f_grpo,
    "bbg": bbg,
    "w_reinforce": w_reinforce,
    "asym_grpo": asym_grpo,
}

WITH_HISTORY: Mapping[str, Callable[..., Weighing]] = {
    "rs_grpo_moving": rs_grpo_moving,
    "fade": fade,
    "curve_rl": curve_rl,
}
"""Those that look at a run's earlier steps: a batch of groups, its history and settings in, weights of the groups out.
They are no functions of a group alone, so `estimator_function` has none of them."""


def estimator_function(name: str, **settings: Any) -> Estimator:
    """The estimator of a name with its settings filled in.

        estimator_function("rs_grpo", beta=4.0)([1, 0, 0, 0])

    Args:
        name: A key of `ESTIMATORS`.
        settings: The keyword arguments of that function; those without a default (`beta`, `k`) must be given.

    Returns:
        A function of rewards (..., G) that returns advantages (..., G).

    Raises:
        ValueError: If there is no such estimator, a setting is not its own, or one that it needs is missing.
    """
    if name in WITH_HISTORY:
        raise ValueError(
            f"{name} looks at the earlier steps of a run, which only `rsgrpo train` and `rsgrpo advantage` have: "
            f"choose one of {', '.join(ESTIMATORS)}"
        )
    if name not in ESTIMATORS:
        raise ValueError(f"unknown estimator {name!r}: choose one of {', '.join(ESTIMATORS)}")
    function = ESTIMATORS[name]
    own = settings_of(name)
    foreign = [setting for setting in settings if setting not in own]
    if foreign:
        has = f"it has {', '.join(own)}" if own else "it has none"
        raise ValueError(f"{foreign[0]} is not a setting of {name}: {has}")
    missing = [setting for setting, default in own.items() if default is REQUIRED and setting not in settings]
    if missing:
        raise ValueError(f"{name} needs {missing[0]}")
    return partial(function, **settings)


REQUIRED = inspect.Parameter.empty
"""Stands where a setting has no default."""


def settings_of(name: str) -> dict[str, Any]:
    """The settings of an estimator and their defaults, `REQUIRED` where there is none."""
    function = ESTIMATORS[name] if name in ESTIMATORS else WITH_HISTORY[name]
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
