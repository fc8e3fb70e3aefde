"""The advantage estimators, each with its own settings and no other's."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from rsgrpo_cli.config.base import Finite, StageConfig

AdvantageScale = Literal["none", "rms", "beta"]


class EstimatorConfig(StageConfig):
    """What every estimator has."""

    scale: AdvantageScale = "none"
    """Rescale the advantages of a step: to RMS 1, or by beta (which makes learning rates comparable across beta)."""


class RsGrpoConfig(EstimatorConfig):
    """Risk-sensitive GRPO (arXiv 2509.24261)."""

    estimator: Literal["rs_grpo"] = "rs_grpo"
    beta: Finite = 2.0
    """Risk sensitivity, in units of 1/reward: 0 is the mean reward, large values approach the maximum."""


class GrpoConfig(EstimatorConfig):
    """GRPO with division by the group's standard deviation (arXiv 2402.03300)."""

    estimator: Literal["grpo"] = "grpo"
    eps: Annotated[Finite, Field(ge=0)] = 1e-6


class DrGrpoConfig(EstimatorConfig):
    """Mean-centred rewards, the beta = 0 limit of rs_grpo (arXiv 2503.20783)."""

    estimator: Literal["dr_grpo"] = "dr_grpo"


class RlooConfig(EstimatorConfig):
    """Leave-one-out baseline (arXiv 2402.14740)."""

    estimator: Literal["rloo"] = "rloo"


class MaxRlConfig(EstimatorConfig):
    """Mean-centred rewards over the mean, the beta -> inf limit of beta times rs_grpo (arXiv 2602.02710)."""

    estimator: Literal["max_rl"] = "max_rl"
    eps: Annotated[Finite, Field(ge=0)] = 1e-6


AdvantageConfig = Annotated[
    RsGrpoConfig | GrpoConfig | DrGrpoConfig | RlooConfig | MaxRlConfig, Field(discriminator="estimator")
]
ESTIMATORS: tuple[str, ...] = tuple(
    variant.model_fields["estimator"].default for variant in get_args(get_args(AdvantageConfig)[0])
)
