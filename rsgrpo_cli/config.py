"""The configuration of a run: frozen pydantic models, one a stage; TOML in, resolved JSON out.

Values come from, in rising order: the defaults here, the recipe of the model, `--config FILE.toml`, the flags. The
result is written to the run's `config.json` when the run is created and does not change afterwards.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rsgrpo_cli.errors import MissingError, UsageError

RECIPES = Path(__file__).parent / "recipes"


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    return value


Finite = Annotated[float, AfterValidator(_finite)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class StageConfig(BaseModel):
    """Settings of one stage. `SPEED_ONLY` names those that change how long it takes, never what it makes."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    SPEED_ONLY: ClassVar[frozenset[str]] = frozenset()

    def decisive(self) -> dict[str, Any]:
        """The settings that decide the content of the stage's artifact, for its lineage."""
        return self.model_dump(mode="json", exclude=set(self.SPEED_ONLY))


class ModelConfig(StageConfig):
    """The model that is trained."""

    SPEED_ONLY = frozenset({"device"})

    name: str = "toy"
    """The bundled model "toy", a local directory, or a Hugging Face id (with "@revision" if wanted)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation. Trained weights stay in float32: an update of 1e-6 is lost in bfloat16."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """Rank of a LoRA adapter on every linear layer; 0 trains all weights."""
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    """Scale of the adapter; twice the rank unless given."""


class PrepareConfig(StageConfig):
    """Which problems, and how they are put to the model."""

    dataset: str = "toy"
    """A bundled dataset ("toy", "sums") or a .jsonl or .parquet file."""
    prompt_column: str | None = None
    answer_column: str | None = None
    limit: Positive | None = None
    """Only the first so many problems."""
    system_prompt: str | None = None


class RolloutConfig(StageConfig):
    """How completions are sampled for training."""

    engine: Literal["auto", "hf", "vllm", "dummy"] = "auto"
    group_size: Annotated[int, Field(ge=2)] = 16
    """Completions a prompt: the group that an advantage compares within."""
    prompts_per_step: Positive = 32
    temperature: Annotated[Finite, Field(gt=0)] = 1.0
    top_p: Fraction = 1.0
    max_tokens: Positive = 1024


class ScoreConfig(StageConfig):
    """How completions are rewarded."""

    SPEED_ONLY = frozenset({"workers"})

    reward: str = "auto"
    """"auto" (by the problem's task), "math", "countdown", or "package.module:function"."""
    workers: Positive = 2
    timeout: Annotated[Finite, Field(gt=0)] = 10.0
    """Seconds one answer may take to verify before its worker is killed."""


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


class UpdateConfig(StageConfig):
    """One policy update from one step's rollouts."""

    SPEED_ONLY = frozenset({"micro_batch_tokens", "gradient_checkpointing"})

    learning_rate: Annotated[Finite, Field(gt=0)] | None = None
    """AdamW's; 1e-6 for all weights and 1e-5 for LoRA unless given."""
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[Finite, Field(gt=0)] = 1.0
    clip_low: Annotated[Finite, Field(ge=0)] = 0.2
    clip_high: Annotated[Finite, Field(ge=0)] = 0.28
    kl_coef: Annotated[Finite, Field(ge=0)] = 0.0
    """Weight of the KL penalty (k3) to the base model; 0 leaves it out."""
    loss_aggregation: Literal["token", "sequence", "constant"] = "token"
    tis_cap: Annotated[Finite, Field(gt=0)] = 2.0
    """Cap of the truncated importance ratio where the sampler is not the trainer."""
    micro_batch_tokens: Positive = 16384
    """Padded tokens of one forward and backward pass."""
    gradient_checkpointing: bool = False


class TrainConfig(StageConfig):
    """The loop."""

    steps: Positive = 100
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Evaluate every so many steps; 0 does not."""
    checkpoint_every: Positive = 1
    """Save the policy every so many steps. What a crash loses is repeated from the rollouts, which are all kept."""
    keep_checkpoints: Positive = 2
    """How many of the newest checkpoints stay; the best evaluated one stays too."""


class EvalConfig(StageConfig):
    """How pass@k is measured."""

    benchmark: str = ""
    """A bundled dataset's held-out problems, or a .jsonl or .parquet file; the training dataset's own unless given."""
    k: tuple[Positive, ...] = (1, 8, 32)
    num_samples: Positive = 32
    """Completions a problem; raised to the largest k where only k is given."""
    temperature: Annotated[Finite, Field(gt=0)] = 1.0
    top_p: Fraction = 1.0
    max_tokens: Positive | None = None
    """As in training unless given."""

    @model_validator(mode="after")
    def _k_fits(self) -> EvalConfig:
        if max(self.k, default=0) > self.num_samples:
            raise ValueError(
                f"pass@{max(self.k)} needs at least {max(self.k)} samples a problem, not {self.num_samples}: "
                f"use --num-samples {max(self.k)} or a smaller --k"
            )
        return self


class RunConfig(StageConfig):
    """Everything that decides a run."""

    seed: int = 0
    model: ModelConfig = ModelConfig()
    prepare: PrepareConfig = PrepareConfig()
    rollout: RolloutConfig = RolloutConfig()
    score: ScoreConfig = ScoreConfig()
    advantage: AdvantageConfig = RsGrpoConfig()
    update: UpdateConfig = UpdateConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, data: Any) -> Any:
        """Fill in what depends on something else, so that config.json says what was used."""
        if not isinstance(data, dict):
            return data
        data = {name: dict(value) if isinstance(value, Mapping) else value for name, value in data.items()}
        rank = data.get("model", {}).get("lora_rank") or 0
        data.setdefault("model", {})
        data.setdefault("update", {})
        data.setdefault("eval", {})
        if data["update"].get("learning_rate") is None:
            data["update"]["learning_rate"] = 1e-5 if rank else 1e-6
        if rank and data["model"].get("lora_alpha") is None:
            data["model"]["lora_alpha"] = 2.0 * rank
        if data["eval"].get("max_tokens") is None:
            data["eval"]["max_tokens"] = data.get("rollout", {}).get("max_tokens", RolloutConfig().max_tokens)
        # The variant is chosen by name, and a field of another variant is an error, not ignored.
        data["advantage"] = {"estimator": "rs_grpo"} | data.get("advantage", {})
        return data


Overrides = dict[str, Any]
"""Dotted field names and their values: {"advantage.beta": 4.0}. None means not given."""


def resolve(overrides: Overrides, config_file: Path | None = None) -> RunConfig:
    """The configuration of a new run.

    Args:
        overrides: The flags that were given.
        config_file: A TOML file, if one was given.

    Raises:
        MissingError: If the file does not exist.
        UsageError: If a name or a value does not fit.
    """
    layers = [load_toml(config_file)] if config_file else []
    layers.append(nested(overrides))
    model = next((layer["model"]["name"] for layer in reversed(layers) if "name" in layer.get("model", {})), "toy")
    recipe = recipe_for(model)
    return parse(_enough_samples(merged(*([load_toml(recipe)] if recipe else []), *layers), overrides))


def override(config: RunConfig, overrides: Overrides) -> RunConfig:
    """`config` with some values replaced; a replaced estimator starts from its own defaults.

    Raises:
        UsageError: If a name or a value does not fit.
    """
    return parse(_enough_samples(merged(config.model_dump(mode="json"), nested(overrides)), overrides))


def parse(data: Mapping[str, Any]) -> RunConfig:
    """Validate a nested mapping.

    Raises:
        UsageError: Naming the first field that does not fit.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise UsageError(*_explain(error)) from None


def changed_fields(old: RunConfig, new: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the fields that differ, with both values."""
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    names = [*before, *(name for name in after if name not in before)]
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def decides_training(name: str) -> bool:
    """Whether a field decides what training makes, so that a run cannot change it half-way.

    How far the run goes, how it is evaluated and how fast it works may change.
    """
    section, _, field = name.partition(".")
    if section in ("train", "eval"):
        return False
    annotation = RunConfig.model_fields[section].annotation
    return field not in getattr(annotation, "SPEED_ONLY", frozenset())


def recipe_for(model: str) -> Path | None:
    """The recipe file of a model, if there is one."""
    path = RECIPES / f"{model.lower().replace('/', '--')}.toml"
    return path if path.is_file() else None


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML configuration."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"no configuration file at {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def nested(overrides: Overrides) -> dict[str, Any]:
    """{"a.b": 1} as {"a": {"b": 1}}, leaving out what is None."""
    tree: dict[str, Any] = {}
    for name, value in overrides.items():
        if value is not None:
            *sections, field = name.split(".")
            branch = tree
            for section in sections:
                branch = branch.setdefault(section, {})
            branch[field] = value
    return tree


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, section by section."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if isinstance(value, Mapping) and isinstance(result.get(name), Mapping):
                value = _merged_section(name, result[name], value)
            result[name] = value
    return result


def _merged_section(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    if name == "advantage" and new.get("estimator", old.get("estimator")) != old.get("estimator"):
        # Another estimator: the old one's own knobs (beta, eps) are not its.
        return {"scale": old["scale"], **new} if "scale" in old else dict(new)
    return {**old, **new}


def _enough_samples(data: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    """`--k 1,32,1024` alone asks for 1,024 samples; together with `--num-samples` the two must fit."""
    k = overrides.get("eval.k")
    if k and overrides.get("eval.num_samples") is None:
        known = data["eval"].get("num_samples") or EvalConfig().num_samples
        data["eval"] = {**data["eval"], "num_samples": max(known, *k)}
    return data


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _explain(error: ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    # The estimator's tag stands in the path of a discriminated union and names no field.
    path = [str(part) for part in first["loc"] if part not in ESTIMATORS]
    where = ".".join(path)
    if first["type"] == "extra_forbidden":
        tags = [str(part) for part in first["loc"] if part in ESTIMATORS]
        of = f" of estimator {tags[0]}" if tags else ""
        return f"{where} is not a setting{of}", "see `rsgrpo train --help` for the settings"
    if first["type"] == "union_tag_invalid":
        return f"unknown estimator {first['ctx']['tag']!r}", f"choose one of: {', '.join(ESTIMATORS)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in _PLAIN:
        message = f"{_PLAIN[first['type']].format(**first.get('ctx', {}))}, not {first['input']!r}"
    return f"{where}: {message[0].lower()}{message[1:]}" if where else message, ""


_PLAIN = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
}
"""What pydantic's commonest complaints mean."""
