"""The configuration of a run: frozen pydantic models, one a stage; TOML in, resolved JSON out.

base        what every model has
estimators  the advantage estimators
stages      the other stages
run         all of it together, and how flags, files and recipes become one configuration
"""

from rsgrpo_cli.config.base import StageConfig
from rsgrpo_cli.config.estimators import (
    ESTIMATORS,
    VARIANTS,
    AdvantageConfig,
    ChenPassKConfig,
    DrGrpoConfig,
    EntropicAdaptiveConfig,
    EntropicLooConfig,
    EstimatorConfig,
    GrpoConfig,
    MahdaviPassKConfig,
    MaxRlConfig,
    PassKRlooConfig,
    PkpoConfig,
    QaeConfig,
    RlooConfig,
    RsGrpoConfig,
    TailRlConfig,
    TangMaxConfig,
)
from rsgrpo_cli.config.run import (
    RECIPES,
    Overrides,
    RunConfig,
    changed_fields,
    decides_training,
    estimator_config,
    load_toml,
    override,
    override_afresh,
    parse,
    resolve,
)
from rsgrpo_cli.config.stages import (
    EvalConfig,
    ModelConfig,
    PrepareConfig,
    RolloutConfig,
    ScoreConfig,
    TrainConfig,
    UpdateConfig,
    VllmConfig,
)

__all__ = [
    "ESTIMATORS",
    "RECIPES",
    "VARIANTS",
    "AdvantageConfig",
    "ChenPassKConfig",
    "DrGrpoConfig",
    "EntropicAdaptiveConfig",
    "EntropicLooConfig",
    "EstimatorConfig",
    "EvalConfig",
    "GrpoConfig",
    "MahdaviPassKConfig",
    "MaxRlConfig",
    "ModelConfig",
    "Overrides",
    "PassKRlooConfig",
    "PkpoConfig",
    "PrepareConfig",
    "QaeConfig",
    "RlooConfig",
    "RolloutConfig",
    "RsGrpoConfig",
    "RunConfig",
    "ScoreConfig",
    "StageConfig",
    "TailRlConfig",
    "TangMaxConfig",
    "TrainConfig",
    "UpdateConfig",
    "VllmConfig",
    "changed_fields",
    "decides_training",
    "estimator_config",
    "load_toml",
    "override",
    "override_afresh",
    "parse",
    "resolve",
]
