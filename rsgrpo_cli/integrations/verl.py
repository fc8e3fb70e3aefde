"""Our estimators inside verl: importing this module registers them, and verl imports it by itself.

    python -m verl.trainer.main_ppo algorithm.adv_estimator=rs_grpo +algorithm.rs_beta=4.0 ...

verl loads it as an entry point of the group `verl.plugins` in every process, or by
`VERL_USE_EXTERNAL_MODULES=rsgrpo_cli.integrations.verl`. `rs_grpo` is registered under its own name. All others get the
prefix "rsgrpo_", for verl has a `grpo` and an `rloo` of its own (with other conventions for a group of one) and may get
more; what verl or anyone else has registered stays as it is.

A setting S of an estimator is the key `algorithm.rs_S`: rs_beta, rs_k, rs_denominator and so on. verl hands its
`algorithm` section over as it is, keys that it does not know included. docs/verl.md says which versions are tested.

Shape suffixes: B completions of the batch, T tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rsgrpo_cli.core.estimators import ESTIMATORS, Estimator, estimator_function, settings_of
from rsgrpo_cli.core.grouping import Groups, by_group, zero_if_single
from rsgrpo_cli.core.risk import scale_advantages
from rsgrpo_cli.wording import raised

FloatArray = NDArray[np.float64]
Advantages = tuple[torch.Tensor, torch.Tensor]
KEY_PREFIX = "rs_"
DEFAULT_BETA = 2.0
"""Of rs_grpo, as in `rsgrpo train`: the authors' advice."""

VERL_NAMES: Mapping[str, str] = {name: name if name == "rs_grpo" else f"rsgrpo_{name}" for name in ESTIMATORS}
"""Our name of an estimator -> its name in verl."""


def outcome_advantages(
    name: str, rewards_B: FloatArray, index: NDArray[Any], settings: Mapping[str, Any]
) -> FloatArray:
    """One advantage per completion, from the rewards of all that share its prompt.

    A completion that is alone with its prompt has nothing to be compared with and gets 0, as in `rsgrpo advantage`.

    Args:
        name: Our name of the estimator.
        rewards_B: One reward a completion.
        index: verl's `uid` of each completion's prompt, of any hashable kind; groups of any sizes, in any order.
        settings: The estimator's settings, and optionally "scale": none, rms or beta.

    Raises:
        ValueError: If a setting is unknown or missing, a reward is not finite, or a group does not suit the estimator.
    """
    own = dict(settings)
    scale = own.pop("scale", "none")
    if name == "rs_grpo":
        own.setdefault("beta", DEFAULT_BETA)
    estimator = zero_if_single(_named(name, own))
    _, codes_B = np.unique(np.asarray(index).astype(str), return_inverse=True)
    order_B = np.argsort(codes_B, kind="stable")
    advantages_B = np.empty(len(rewards_B))
    advantages_B[order_B] = by_group(Groups.of(codes_B[order_B]), rewards_B[order_B], estimator)
    return scale_advantages(advantages_B, mode=scale, beta=own.get("beta"))


def settings_in(config: Any) -> dict[str, Any]:
    """The settings among the keys of verl's `algorithm` section: {"beta": 4.0} for rs_beta = 4.0.

    Args:
        config: OmegaConf's DictConfig, verl's AlgoConfig, or None.
    """
    names = [] if config is None else [name for name in config if str(name).startswith(KEY_PREFIX)]
    return {name.removeprefix(KEY_PREFIX): config.get(name) for name in names}


def registered_function(name: str) -> Callable[..., Advantages]:
    """An estimator as verl calls it.

    Args:
        name: Our name of the estimator.
    """

    def compute(
        token_level_rewards: torch.Tensor,
        response_mask: torch.Tensor,
        index: NDArray[Any] | None = None,
        config: Any = None,
        **_: Any,
    ) -> Advantages:
        if index is None:
            raise ValueError(
                f"{VERL_NAMES[name]} compares the completions of a prompt, and verl gave no uid of prompts"
            )
        with torch.no_grad():
            rewards_B = token_level_rewards.sum(dim=-1).double().cpu().numpy()
            advantages_B = outcome_advantages(name, rewards_B, index, settings_in(config))
            column_B1 = torch.from_numpy(advantages_B).to(token_level_rewards.device, torch.float32)[:, None]
            advantages_BT = column_B1 * response_mask
        return advantages_BT, advantages_BT.clone()

    compute.__name__ = compute.__qualname__ = f"compute_{VERL_NAMES[name]}_advantage"
    compute.__doc__ = (
        f"`rsgrpo_cli.core.estimators.ESTIMATORS[{name!r}]`, one advantage for all tokens of a completion."
    )
    return compute


def _named(name: str, settings: dict[str, Any]) -> Estimator:
    try:
        return estimator_function(name, **settings)
    except ValueError as error:
        keys = ", ".join(f"algorithm.{KEY_PREFIX}{setting}" for setting in [*settings_of(name), "scale"])
        raise ValueError(f"{VERL_NAMES[name]}: {error} (its keys in verl: {keys})") from error


def _register() -> None:
    """Tell verl of every estimator.

    Raises:
        ImportError: If there is no verl.
        ValueError: If someone else has taken a name.
    """
    from verl.trainer.ppo.core_algos import register_adv_est

    for name, verl_name in VERL_NAMES.items():
        register_adv_est(verl_name)(registered_function(name))


# verl knows its plugins by their import alone, so that this is the one module that acts when it is imported. What goes
# wrong here verl logs at DEBUG, where nobody sees it; the run would end later, at an unknown estimator.
try:
    _register()
except Exception as error:
    print(f"rsgrpo's estimators are not available in verl: {raised(type(error).__name__, error)}", file=sys.stderr)
    raise
