"""The advantage estimators, each with its own settings and no other's; their functions are in `core.estimators`.

A user's own estimator is "module:function", and its settings are the function's parameters: `OwnEstimatorConfig` takes
what it is given, and `estimators.user` compares it with the function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from rsgrpo_cli.config.base import Finite, Flag, NonNegative, Positive, StageConfig

EPS: Mapping[str, Any] = MappingProxyType({"eps": 1e-6})
"""What guards a division, as in the functions of `core`; recorded with the settings."""
AdvantageScale = Literal["none", "rms", "beta"]
Schedule = Literal["constant", "linear", "cosine", "solve_rate"]
MovingLaw = Literal["frontier", "frontier_sign", "solve_rate", "entropy", "per_prompt", "shrunk"]
SCHEDULE = frozenset({"schedule", "beta_end", "schedule_steps"})
"""The settings of a schedule of beta."""


class EstimatorConfig(StageConfig):
    """What every estimator has."""

    estimator: Annotated[str, Flag(metavar="NAME|MODULE:FUNCTION")]
    """How advantages are computed from the rewards of a group: by one of ours, or by a function of your own as
    module:function."""
    scale: Annotated[AdvantageScale, Flag(("--advantage-scale",))] = "none"
    """Rescale the advantages of a step: to RMS 1, or by beta, which makes learning rates comparable across beta."""

    BESIDE: ClassVar[frozenset[str]] = frozenset({"estimator", "scale"})
    """Settings that the estimator's function does not take."""
    LOOKS_BACK: ClassVar[bool] = False
    """Whether it looks at the earlier steps of the run."""

    @model_validator(mode="after")
    def _scale_has_a_beta(self) -> EstimatorConfig:
        if self.scale == "beta" and self.estimator != "rs_grpo":
            raise ValueError("scale beta undoes the 1/beta of rs_grpo and is for it alone: --advantage-scale rms")
        return self

    def knobs(self) -> dict[str, Any]:
        """The keyword arguments of the estimator's function."""
        return self.model_dump(exclude=set(self.BESIDE))

    @property
    def smallest_group(self) -> int:
        """Completions per prompt without which the estimator has nothing to work with."""
        return 2


class RsGrpoConfig(EstimatorConfig):
    """Risk-sensitive GRPO (arXiv 2509.24261)."""

    BESIDE = EstimatorConfig.BESIDE | SCHEDULE

    estimator: Literal["rs_grpo"] = "rs_grpo"
    beta: Annotated[Finite, Flag()] = 2.0
    """Risk sensitivity of rs_grpo, in units of 1/reward: 0 is the mean reward, large values approach the maximum."""
    denominator: Literal["group", "leave_one_out"] = "group"
    """Divide by the mean of the whole group, as in the paper, or of the other samples, unbiased in direction."""
    schedule: Schedule = "constant"
    """How beta moves to beta_end: over the steps, or with the share of right answers in the step's batch."""
    beta_end: Finite | None = None
    """Where the schedule of beta ends."""
    schedule_steps: Positive | None = None
    """Steps of a linear or cosine schedule of beta; by default those of training when the run was created."""

    @model_validator(mode="after")
    def _schedule_is_whole(self) -> RsGrpoConfig:
        if self.schedule == "constant" and self.beta_end is not None:
            raise ValueError("beta_end needs a schedule: --set advantage.schedule=linear, cosine or solve_rate")
        if self.schedule != "constant" and self.beta_end is None:
            raise ValueError(f"schedule {self.schedule} needs a beta to go to: --set advantage.beta_end=8")
        if self.schedule not in ("linear", "cosine") and self.schedule_steps is not None:
            raise ValueError("schedule_steps belongs to a linear or cosine schedule: --set advantage.schedule=linear")
        return self

    @classmethod
    def left_out(cls) -> dict[str, Any]:
        """Those of a schedule, too, where there is none."""
        return super().left_out() | {name: cls.model_fields[name].default for name in SCHEDULE}

    def decisive(self) -> dict[str, Any]:
        """Without a schedule, its settings decide nothing."""
        settings = super().decisive()
        unused = SCHEDULE if self.schedule == "constant" else ()
        return {name: value for name, value in settings.items() if name not in unused}


class GrpoConfig(EstimatorConfig):
    """GRPO with division by the group's standard deviation (arXiv 2402.03300)."""

    FIXED = EPS

    estimator: Literal["grpo"] = "grpo"


class DrGrpoConfig(EstimatorConfig):
    """Mean-centred rewards, the beta = 0 limit of rs_grpo (arXiv 2503.20783)."""

    estimator: Literal["dr_grpo"] = "dr_grpo"


class RlooConfig(EstimatorConfig):
    """Leave-one-out baseline (arXiv 2402.14740)."""

    estimator: Literal["rloo"] = "rloo"


class MaxRlConfig(EstimatorConfig):
    """Mean-centred rewards over the mean, the beta -> inf limit of beta times rs_grpo (arXiv 2602.02710)."""

    FIXED = EPS

    estimator: Literal["max_rl"] = "max_rl"


class TailRlConfig(EstimatorConfig):
    """MaxRL for rewards of any kind (github.com/Zanette-Labs/TailRL)."""

    estimator: Literal["tail_rl"] = "tail_rl"


class QaeConfig(EstimatorConfig):
    """A quantile of the group as baseline (arXiv 2509.22611)."""

    FIXED = MappingProxyType({**EPS, "quantile": "right"})

    estimator: Literal["qae"] = "qae"
    level: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Which quantile: the paper takes 0.4, and 0.6 against entropy collapse."""


class EntropicLooConfig(EstimatorConfig):
    """Exponential weights against the other samples, TTT-Discover's entropic estimator (arXiv 2601.16175)."""

    estimator: Literal["entropic_loo"] = "entropic_loo"
    beta: Finite = 2.0
    """Risk sensitivity, in units of 1/reward."""
    eps: NonNegative = 1e-12
    """Caps what a single best reward gets, at 1/eps."""


class EntropicAdaptiveConfig(EstimatorConfig):
    """The same with a beta of its own in each group (arXiv 2601.16175)."""

    FIXED = MappingProxyType({"kl": math.log(2)})
    """Divergence of the weights from equal ones that decides beta, in nats."""

    estimator: Literal["entropic_adaptive"] = "entropic_adaptive"

    @property
    def smallest_group(self) -> int:
        """More than exp(kl): beyond that the weights cannot diverge so far."""
        return 3


class PassAtKConfig(EstimatorConfig):
    """What the estimators that aim at pass@k have."""

    k: Positive = 4
    """Samples that the best is taken of, at most the group size."""

    @property
    def smallest_group(self) -> int:
        """At least k, and two."""
        return max(2, self.k)


class PkpoConfig(PassAtKConfig):
    """Unbiased advantages for the best of k, of any rewards (arXiv 2505.15201)."""

    estimator: Literal["pkpo"] = "pkpo"
    variant: Literal["s", "sloo", "sloo_minus_one"] = "sloo_minus_one"
    """The baseline: none, leave-one-out, or leave-one-out with one sample fewer (the paper's names)."""

    @property
    def smallest_group(self) -> int:
        """One more for sloo, whose baseline leaves one out."""
        return max(2, self.k + (self.variant == "sloo"))


class ChenPassKConfig(PassAtKConfig):
    """Standardised pass@k of 0/1 rewards (arXiv 2508.10751)."""

    FIXED = EPS

    estimator: Literal["chen_passk"] = "chen_passk"


class MahdaviPassKConfig(PassAtKConfig):
    """The prompt weight of pass@k, k (1 - p)^(k - 1), of 0/1 rewards (openreview.net/forum?id=Dn3gk9auxd)."""

    FIXED = EPS

    estimator: Literal["mahdavi_passk"] = "mahdavi_passk"
    variant: Literal["plugin", "plugin_grpo", "unbiased"] = "unbiased"
    """The weight from the observed p, the same times GRPO's advantages, or the unbiased estimate."""

    @property
    def smallest_group(self) -> int:
        """The plugins do without k samples."""
        return max(2, self.k) if self.variant == "unbiased" else 2


class PassKRlooConfig(PassAtKConfig):
    """Pass@k of 0/1 rewards with a leave-one-out baseline (arXiv 2602.02710, there called pkpo)."""

    estimator: Literal["passk_rloo"] = "passk_rloo"


class TangMaxConfig(EstimatorConfig):
    """The best sample's lead over the second best (arXiv 2503.19595)."""

    estimator: Literal["tang_max"] = "tang_max"


class PowerConfig(EstimatorConfig):
    """A power of the share of wrong answers as weight of a prompt, of 0/1 rewards (arXiv 2602.06717)."""

    estimator: Literal["power"] = "power"
    alpha: Annotated[Finite, Field(ge=1)] = 2.0
    """The weight is (1 - p)^(alpha - 1): 1 is dr_grpo, larger values favour hard prompts."""


class FGrpoConfig(EstimatorConfig):
    """GRPO with a power of the share of wrong answers as focal weight, of 0/1 rewards (arXiv 2602.06717)."""

    FIXED = EPS

    estimator: Literal["f_grpo"] = "f_grpo"
    gamma: NonNegative = 1.0
    """The weight is (1 - p)^gamma: 0 is grpo, larger values favour hard prompts."""


class BbgConfig(EstimatorConfig):
    """The pass@k weight averaged over what the rate may be, of 0/1 rewards (arXiv 2606.15455)."""

    FIXED = MappingProxyType({"threshold": 0.01})

    estimator: Literal["bbg"] = "bbg"
    k: Positive = 4
    """Samples that a prompt may use; it may be larger than the group."""


class WReinforceConfig(EstimatorConfig):
    """A fixed advantage for right and one for wrong answers: W-REINFORCE, PSR, NSR (arXiv 2506.01347)."""

    estimator: Literal["w_reinforce"] = "w_reinforce"
    right: NonNegative = 0.1
    """What right answers get; 0 is NSR."""
    wrong: NonNegative = 1.0
    """What wrong answers lose; 0 is PSR."""


class AsymGrpoConfig(EstimatorConfig):
    """GRPO with exponents of its own for right and wrong answers, of 0/1 rewards (arXiv 2604.04894)."""

    estimator: Literal["asym_grpo"] = "asym_grpo"
    right: NonNegative = 0.9
    """Right answers get ((1 - p) / p)^right: 0.5 as in grpo, more favours hard prompts."""
    wrong: NonNegative = 0.4
    """Wrong answers lose (p / (1 - p))^wrong: 0.5 as in grpo, less spares easy prompts."""


class RsGrpoMovingConfig(EstimatorConfig):
    """rs_grpo with a beta that follows the run's earlier steps, of 0/1 rewards."""

    LOOKS_BACK = True

    estimator: Literal["rs_grpo_moving"] = "rs_grpo_moving"
    law: MovingLaw = "frontier"
    """What beta follows: the lower quartile of the pass rates (frontier; frontier_sign also has the delta of fade), the
    running solve rate, the running entropy, or each prompt's earlier visits. shrunk keeps beta, and counts these visits
    in the group's accuracy."""
    beta: NonNegative = 2.0
    """Where beta starts, and what it is while nothing is known, in units of 1/reward."""
    beta_end: NonNegative | None = None
    """Where law solve_rate ends, at a solve rate of 1."""

    @model_validator(mode="after")
    def _solve_rate_has_an_end(self) -> RsGrpoMovingConfig:
        if self.law == "solve_rate" and self.beta_end is None:
            raise ValueError("law solve_rate needs a beta to go to: --set advantage.beta_end=8")
        if self.law != "solve_rate" and self.beta_end is not None:
            raise ValueError("beta_end belongs to --set advantage.law=solve_rate")
        return self


class FadeConfig(EstimatorConfig):
    """A power of the share of wrong answers by the running solve rate, punishment by entropy (arXiv 2607.01490)."""

    LOOKS_BACK = True

    estimator: Literal["fade"] = "fade"


class CurveRlConfig(EstimatorConfig):
    """A prompt's weight by how frequent its pass rate was in the last ten steps (arXiv 2605.24331)."""

    LOOKS_BACK = True

    estimator: Literal["curve_rl"] = "curve_rl"


class OwnEstimatorConfig(EstimatorConfig):
    """A function of the user's own; further settings are its keyword arguments."""

    model_config = ConfigDict(extra="allow")

    @field_validator("estimator")
    @classmethod
    def _names_a_function(cls, name: str) -> str:
        module, _, function = name.partition(":")
        if not (module.strip() and function.strip()):
            raise ValueError(
                f'an estimator of your own is given as "package.module:function", not "{name}": for a function f in '
                "my_estimators.py in this directory, my_estimators:f"
            )
        return name

    def with_knobs(self, knobs: Mapping[str, Any]) -> OwnEstimatorConfig:
        """The same function with these settings of its own."""
        return type(self)(estimator=self.estimator, scale=self.scale, **knobs)


NamedEstimator = Annotated[
    RsGrpoConfig
    | GrpoConfig
    | DrGrpoConfig
    | RlooConfig
    | MaxRlConfig
    | TailRlConfig
    | QaeConfig
    | EntropicLooConfig
    | EntropicAdaptiveConfig
    | PkpoConfig
    | ChenPassKConfig
    | MahdaviPassKConfig
    | PassKRlooConfig
    | TangMaxConfig
    | PowerConfig
    | FGrpoConfig
    | BbgConfig
    | WReinforceConfig
    | AsymGrpoConfig
    | RsGrpoMovingConfig
    | FadeConfig
    | CurveRlConfig,
    Field(discriminator="estimator"),
]
NAMED, OWN = "a named estimator", "a function"


def _whose(data: Any) -> str:
    name = data.get("estimator") if isinstance(data, Mapping) else getattr(data, "estimator", None)
    return OWN if is_own(name) else NAMED


def is_own(name: Any) -> bool:
    """Whether an estimator's name stands for a function of the user's own."""
    return isinstance(name, str) and ":" in name


AdvantageConfig = Annotated[
    Annotated[NamedEstimator, Tag(NAMED)] | Annotated[OwnEstimatorConfig, Tag(OWN)], Discriminator(_whose)
]
VARIANTS: dict[str, type[EstimatorConfig]] = {
    variant.model_fields["estimator"].default: variant for variant in get_args(get_args(NamedEstimator)[0])
}
"""Name -> its settings."""
ESTIMATORS: tuple[str, ...] = tuple(VARIANTS)
TAGS = frozenset({NAMED, OWN, *ESTIMATORS})
"""Parts of a validation error's path that name no field."""
