"""The configuration of a run: frozen pydantic models, one per stage; TOML in, resolved JSON out.

base        what every model has
estimators  the advantage estimators
stages      the other stages
sources     files and flags, and how they are laid over one another
run         all of it together, and how that becomes one configuration
removed     settings that older versions had
"""

from rsgrpo_cli.config.base import StageConfig
from rsgrpo_cli.config.estimators import (
    ESTIMATORS,
    VARIANTS,
    AdvantageConfig,
    AsymGrpoConfig,
    BbgConfig,
    ChenPassKConfig,
    DrGrpoConfig,
    EntropicAdaptiveConfig,
    EntropicLooConfig,
    EstimatorConfig,
    FGrpoConfig,
    GrpoConfig,
    MahdaviPassKConfig,
    MaxRlConfig,
    OwnEstimatorConfig,
    PassKRlooConfig,
    PkpoConfig,
    PowerConfig,
    QaeConfig,
    RlooConfig,
    RsGrpoConfig,
    TailRlConfig,
    TangMaxConfig,
    WReinforceConfig,
)
from rsgrpo_cli.config.run import (
    RECIPES,
    RunConfig,
    changed_fields,
    decides_training,
    estimator_config,
    override,
    override_afresh,
    parse,
    resolve,
    with_file,
)
from rsgrpo_cli.config.sources import Overrides, load_toml
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
    "AsymGrpoConfig",
    "BbgConfig",
    "ChenPassKConfig",
    "DrGrpoConfig",
    "EntropicAdaptiveConfig",
    "EntropicLooConfig",
    "EstimatorConfig",
    "EvalConfig",
    "FGrpoConfig",
    "GrpoConfig",
    "MahdaviPassKConfig",
    "MaxRlConfig",
    "ModelConfig",
    "Overrides",
    "OwnEstimatorConfig",
    "PassKRlooConfig",
    "PkpoConfig",
    "PowerConfig",
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
    "WReinforceConfig",
    "changed_fields",
    "decides_training",
    "estimator_config",
    "load_toml",
    "override",
    "override_afresh",
    "parse",
    "resolve",
    "with_file",
]
