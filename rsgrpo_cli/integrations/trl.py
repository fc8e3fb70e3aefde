"""Our estimators inside TRL: `RSGRPOTrainer` is TRL's `GRPOTrainer` with another advantage and nothing else changed.

    from rsgrpo_cli.integrations.trl import RSGRPOConfig, RSGRPOTrainer

    trainer = RSGRPOTrainer(model, reward, RSGRPOConfig("out", rs_beta=4.0), train_dataset=prompts)
    trainer.train()

TRL 1.16 computes its advantages inline, with no hook: the trainer keeps the rewards of `_calculate_rewards`, which are
gathered from all processes, and puts its own advantages into what `_generate_and_score_completions` returns. Both
methods are private. If a later TRL goes another way, training stops with an error; it never continues with TRL's own
advantages. docs/trl.md says which versions are tested.

Shape suffixes: N completions of all processes, F reward functions, P prompts, G completions per prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from rsgrpo_cli.core.estimators import Estimator, estimator_function
from rsgrpo_cli.core.grouping import Groups, by_group, zero_if_single
from rsgrpo_cli.core.risk import AdvantageScale, advantage_rms, scale_advantages

try:
    from trl import GRPOConfig, GRPOTrainer
except ImportError as error:
    raise ImportError("rsgrpo_cli.integrations.trl needs TRL: pip install 'rsgrpo[trl]'") from error

FloatArray = NDArray[np.float64]
DEFAULT_BETA = 2.0
"""Of rs_grpo, as in `rsgrpo train`: the authors' advice."""


@dataclass
class RSGRPOConfig(GRPOConfig):  # type: ignore[misc]  # mypy does not look into TRL
    """TRL's `GRPOConfig` with a choice of estimator.

    `beta` stays what it is in TRL: the weight of the KL penalty. The risk sensitivity is `rs_beta`.

    Args:
        rs_beta: Risk sensitivity in units of 1/reward, of the estimators that have one; 2 for rs_grpo unless given.
        estimator: A name of `rsgrpo_cli.core.estimators.ESTIMATORS`.
        estimator_kwargs: Its other settings, such as {"k": 4}.
        advantage_scale: "none", "rms" or "beta", see `rsgrpo_cli.core.risk.scale_advantages`.

    Raises:
        ValueError: If there is no such estimator, a setting is not its own or does not suit `num_generations`, or TRL
            is set to scale the advantages as well.
    """

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*GRPOConfig._VALID_DICT_FIELDS, "estimator_kwargs"]

    rs_beta: float | None = field(
        default=None,
        metadata={"help": "Risk sensitivity, in units of 1/reward: 0 is the mean reward, large values the maximum."},
    )
    estimator: str = field(default="rs_grpo", metadata={"help": "Which advantage: rs_grpo, max_rl, chen_passk, ..."})
    estimator_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": 'Further settings of the estimator, such as {"k": 4}.'}
    )
    advantage_scale: str = field(
        default="none",
        metadata={"help": "Rescales a rollout's advantages: none, rms (to RMS 1), beta (undoes rs_grpo's 1/beta)."},
    )
    scale_rewards: str = field(
        default="none", metadata={"help": "Only 'none': the estimator decides the scale ('grpo' divides by the std)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale_rewards != "none":
            raise ValueError(
                f"scale_rewards={self.scale_rewards!r} would have no effect, the estimator decides the scale: "
                "leave it at 'none', and for division by the standard deviation take estimator='grpo'"
            )
        if self.multi_objective_aggregation != "sum_then_normalize":
            raise ValueError(
                "estimators compare one reward a completion: leave multi_objective_aggregation at 'sum_then_normalize'"
            )
        # Shows now, and not after the first rollout, that k is larger than the group.
        self.advantages(np.zeros(self.num_generations), self.num_generations)

    def estimator_settings(self) -> dict[str, Any]:
        """The keyword arguments of the estimator."""
        if not isinstance(self.estimator_kwargs, Mapping | None):
            raise ValueError(f'estimator_kwargs must be a mapping such as {{"k": 4}}, not {self.estimator_kwargs!r}')
        settings = dict(self.estimator_kwargs or {})
        if self.rs_beta is not None:
            if "beta" in settings:
                raise ValueError("beta is given twice, by rs_beta and in estimator_kwargs")
            settings["beta"] = self.rs_beta
        elif self.estimator == "rs_grpo":
            settings.setdefault("beta", DEFAULT_BETA)
        return settings

    def advantages(self, rewards_N: FloatArray, group_size: int) -> FloatArray:
        """`group_advantages` of the estimator, rescaled."""
        settings = self.estimator_settings()
        advantages_N = group_advantages(rewards_N, group_size, estimator_function(self.estimator, **settings))
        beta = settings.get("beta") if self.estimator == "rs_grpo" else None
        return scale_advantages(advantages_N, mode=cast(AdvantageScale, self.advantage_scale), beta=beta)


class RSGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer` with the advantages of `RSGRPOConfig.estimator`.

    Everything else is TRL's: rollouts, rewards, loss, metrics. What it logs as advantages are ours, and there is one
    metric more, `advantage_rms`, for beta also acts on the effective learning rate.
    """

    _tag_names: ClassVar[list[str]] = ["trl", "grpo", "rs-grpo"]

    def __init__(self, model: Any, reward_funcs: Any, args: RSGRPOConfig, *rest: Any, **others: Any) -> None:
        """Arguments are those of `GRPOTrainer`.

        Raises:
            TypeError: If `args` is not an `RSGRPOConfig`.
        """
        if not isinstance(args, RSGRPOConfig):
            raise TypeError(f"RSGRPOTrainer takes an RSGRPOConfig, not {type(args).__name__}")
        self._rewards_NF: torch.Tensor | None = None
        super().__init__(model, reward_funcs, args, *rest, **others)

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        rewards_NF: torch.Tensor = super()._calculate_rewards(*args, **kwargs)
        self._rewards_NF = rewards_NF
        return rewards_NF

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rewards_NF = None
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        stock_B = output["advantages"]
        advantages_N = self._advantages().to(stock_B)
        first = self.accelerator.process_index * len(stock_B)
        output["advantages"] = advantages_N[first : first + len(stock_B)]
        self._log_advantages(advantages_N)
        return output

    def _advantages(self) -> torch.Tensor:
        """Of all processes' completions, from the rewards just calculated."""
        if self._rewards_NF is None:
            raise RuntimeError("this version of TRL does not ask _calculate_rewards for its rewards: see docs/trl.md")
        reward_N = (self._rewards_NF * self.reward_weights.to(self._rewards_NF.device)).nansum(dim=1)
        reward_N[self._rewards_NF.isnan().all(dim=1)] = torch.nan
        size = self.num_generations if self.model.training else self.num_generations_eval
        return torch.from_numpy(self.args.advantages(reward_N.cpu().double().numpy(), size))

    def _log_advantages(self, advantages_N: torch.Tensor) -> None:
        """Replace what TRL has just logged as advantages."""
        logged = self._logs["advantages"]
        for _ in range(min(len(logged), len(advantages_N))):
            logged.pop()
        logged.extend(advantages_N.tolist())
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["advantage_rms"].append(advantage_rms(advantages_N.cpu().numpy()))


def group_advantages(rewards_N: FloatArray, group_size: int, estimator: Estimator) -> FloatArray:
    """Advantages of consecutive groups of equal size, some of whose completions may have no reward.

    As in `rsgrpo advantage`: what has no reward gets advantage 0 and is left out of its group's statistics, and so does
    a completion that is left with nothing to be compared with.

    Args:
        rewards_N: One reward a completion, group after group; NaN where there is none.
        group_size: Completions per group.
        estimator: Takes (P, G), returns (P, G).

    Returns:
        Shape (N,).

    Raises:
        ValueError: If a reward is infinite, or a group does not suit the estimator.
    """
    scored_N = ~np.isnan(rewards_N)
    groups = Groups.of((np.arange(len(rewards_N)) // group_size)[scored_N])
    advantages_N = np.zeros(len(rewards_N))
    advantages_N[scored_N] = by_group(groups, rewards_N[scored_N], zero_if_single(estimator))
    return advantages_N
