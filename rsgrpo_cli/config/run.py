"""The configuration of a run, and how it comes about.

Values come from, in rising order: the defaults, the recipe of the model, `--config FILE.toml`, the flags. The result is
written to the run's `config.json` when the run is created; afterwards only the number of steps grows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from rsgrpo_cli.config.base import Flag, StageConfig
from rsgrpo_cli.config.complaints import in_words
from rsgrpo_cli.config.estimators import ESTIMATORS, TAGS, VARIANTS, AdvantageConfig, RsGrpoConfig
from rsgrpo_cli.config.removed import without_removed
from rsgrpo_cli.config.samples import at_least, at_most
from rsgrpo_cli.config.sources import Overrides, flat, load_settings, load_toml, merged, nested
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
from rsgrpo_cli.errors import UsageError, require_utf8

RECIPES = Path(__file__).parents[1] / "recipes"


class RunConfig(StageConfig):
    """Everything that decides a run."""

    seed: Annotated[int, Flag()] = 0
    """Decides every random draw."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    prepare: PrepareConfig = Field(default_factory=PrepareConfig)
    rollout: RolloutConfig = Field(default_factory=RolloutConfig)
    vllm: VllmConfig = Field(default_factory=VllmConfig)
    score: ScoreConfig = Field(default_factory=ScoreConfig)
    advantage: AdvantageConfig = Field(default_factory=RsGrpoConfig)
    update: UpdateConfig = Field(default_factory=UpdateConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """What policies are evaluated on: the benchmarks that are named, else the held-out problems of the data set."""
        return self.eval.benchmarks or (self.prepare.dataset,)

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, data: Any) -> Any:
        """Fill in what depends on something else, so that config.json says what was used."""
        if not isinstance(data, dict):
            return data
        if not all(isinstance(value, Mapping) for name, value in data.items() if name != "seed"):
            return data  # pydantic reports it
        data = without_removed(data)
        rank = data.get("model", {}).get("lora_rank") or 0
        data.setdefault("model", {})
        data.setdefault("update", {})
        data.setdefault("eval", {})
        if data["update"].get("learning_rate") is None:
            data["update"]["learning_rate"] = 1e-5 if rank else 1e-6
        _resolve_schedule(data["update"], data.get("train", {}))
        if rank and data["model"].get("lora_alpha") is None:
            data["model"]["lora_alpha"] = 2.0 * rank
        if data["eval"].get("max_tokens") is None:
            data["eval"]["max_tokens"] = data.get("rollout", {}).get("max_tokens", RolloutConfig().max_tokens)
        # The variant is chosen by name, and a field of another variant is an error, not ignored.
        data["advantage"] = advantage = {"estimator": "rs_grpo"} | data.get("advantage", {})
        scheduled = advantage["estimator"] == "rs_grpo" and advantage.get("schedule") in ("linear", "cosine")
        if scheduled and not advantage.get("schedule_steps"):
            # Once and for all: more steps later on must not change what the first ones did.
            advantage["schedule_steps"] = data.get("train", {}).get("steps", TrainConfig().steps)
        return data

    @model_validator(mode="after")
    def _groups_are_large_enough(self) -> RunConfig:
        least, size = self.advantage.smallest_group, self.rollout.group_size
        k = getattr(self.advantage, "k", None)
        if size < least:
            with_k, smaller_k = (f" with k = {k}", " or a smaller advantage.k") if k else ("", " or another estimator")
            raise ValueError(
                f"{self.advantage.estimator}{with_k} needs {least} completions per prompt or more, not {size}: "
                f"use --group-size {least}{smaller_k}"
            )
        return self

    @model_validator(mode="after")
    def _buffer_fits(self) -> RunConfig:
        if self.score.overlong_buffer > self.rollout.max_tokens:
            raise ValueError(
                f"score.overlong_buffer must be at most rollout.max_tokens ({self.rollout.max_tokens}), "
                f"not {self.score.overlong_buffer}"
            )
        return self

    @model_validator(mode="after")
    def _minibatches_have_groups(self) -> RunConfig:
        if self.update.minibatches > self.rollout.prompts_per_step:
            raise ValueError(
                f"update.minibatches {self.update.minibatches} is more than the {self.rollout.prompts_per_step} groups "
                "of a step (rollout.prompts_per_step)"
            )
        return self

    @model_validator(mode="after")
    def _schedule_spans_run(self) -> RunConfig:
        update, asked = self.update, self.train.steps * self.update.optimizer_steps
        if update.lr_schedule == "cosine" and asked > (update.schedule_steps or asked):
            raise ValueError(
                f"the cosine ends at a learning rate of 0 after {update.schedule_steps} optimizer steps, and "
                f"{asked} are asked for: fewer --steps, or a larger update.schedule_steps"
            )
        return self


def resolve(overrides: Overrides, config_file: Path | None = None) -> RunConfig:
    """The configuration of a new run.

    Args:
        overrides: The flags that were given.
        config_file: A TOML file, or the config.json of another run, if one was given.

    Raises:
        MissingError: If the file does not exist.
        UsageError: If a name or a value does not fit.
    """
    layers = [load_settings(config_file)] if config_file else []
    layers.append(nested(overrides))
    for layer in layers:
        _refuse_values_for_sections(layer)
    model = next((layer["model"]["name"] for layer in reversed(layers) if "name" in layer.get("model", {})), "toy")
    recipe = recipe_for(model) if isinstance(model, str) else None  # which `parse` will say
    return parse(_enough_samples(merged(*([load_toml(recipe)] if recipe else []), *layers), overrides))


def override(config: RunConfig, overrides: Overrides) -> RunConfig:
    """`config` with some values replaced; a replaced estimator starts from its own defaults.

    Raises:
        UsageError: If a name or a value does not fit.
    """
    return parse(_enough_samples(merged(config.model_dump(mode="json"), nested(overrides)), overrides))


def with_file(overrides: Overrides, config_file: Path | None) -> Overrides:
    """The flags and, where they are silent, what a TOML file says: for an existing run.

    Raises:
        MissingError: If the file does not exist.
        UsageError: If it cannot be read, or gives a value to a section.
    """
    if config_file is None:
        return overrides
    layer = load_settings(config_file)
    _refuse_values_for_sections(layer)
    said: Overrides = {}
    for section, values in layer.items():
        settings = values.items() if isinstance(values, dict) else ()
        said |= {f"{section}.{name}": value for name, value in settings} or {section: values}
    return said | overrides


def override_afresh(config: RunConfig, overrides: Overrides) -> RunConfig:
    """`override` for a run that has made nothing yet: what was derived from a replaced value is derived again.

    Raises:
        UsageError: If a name or a value does not fit.
    """
    data = config.model_dump(mode="json")
    base = RunConfig.model_validate(
        {"model": {"lora_rank": config.model.lora_rank}, "rollout": {"max_tokens": config.rollout.max_tokens}}
    )
    for section, field in (("update", "learning_rate"), ("model", "lora_alpha"), ("eval", "max_tokens")):
        if data[section][field] == getattr(getattr(base, section), field):
            del data[section][field]
    ends = {"update": config.train.steps * config.update.optimizer_steps}
    if isinstance(config.advantage, RsGrpoConfig):
        ends["advantage"] = config.train.steps
    for section, end in ends.items():
        if data[section].get("schedule_steps") == end:
            del data[section]["schedule_steps"]
    return parse(_enough_samples(merged(data, nested(overrides)), overrides))


def parse(data: Mapping[str, Any]) -> RunConfig:
    """Validate a nested mapping.

    Raises:
        UsageError: Naming the first field that does not fit.
    """
    for value in flat(data).values() if isinstance(data, Mapping) else ():  # a stranger's file may hold anything
        if isinstance(value, str):
            require_utf8(value)
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise UsageError(*_explain(error)) from None


def estimator_config(name: str, settings: Mapping[str, Any]) -> AdvantageConfig:
    """An estimator with some of its settings, the others at their defaults.

    Raises:
        UsageError: If there is no such estimator, or a setting does not fit.
    """
    try:
        given = without_removed({"advantage": {**settings, "estimator": name}})["advantage"]
        made: AdvantageConfig = TypeAdapter(AdvantageConfig).validate_python(given)
    except ValidationError as error:
        raise UsageError(*_explain(error)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    return made


def changed_fields(old: RunConfig, new: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the fields that differ, with both values."""
    before, after = flat(old.model_dump(mode="json")), flat(new.model_dump(mode="json"))
    names = [*before, *(name for name in after if name not in before)]
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def difference(name: str, old: Any, new: Any) -> str:
    """How a field differs, in words also where it is empty: the default eval.benchmark, not toy."""
    defaults = flat(RunConfig().model_dump(mode="json")).items()
    if old in _EMPTY:
        return f"{'the default' if (name, old) in defaults else 'no'} {name}, not {new}"
    if new in _EMPTY:
        return f"{name} {old}, not {'the default' if (name, new) in defaults else 'none'}"
    return f"{name} {old}, not {new}"


def decides_training(name: str) -> bool:
    """Whether a field decides what training makes, so that a run cannot change it later.

    How far the run goes, how it is evaluated and how fast it works may change.
    """
    section, _, field = name.partition(".")
    if section in ("train", "eval"):
        return False
    annotation = RunConfig.model_fields[section].annotation
    return field not in getattr(annotation, "SPEED_ONLY", frozenset())


def recipe_for(model: str) -> Path | None:
    """The recipe file of a model, whichever revision of it, if there is one."""
    path = RECIPES / f"{model.partition('@')[0].lower().replace('/', '--')}.toml"
    return path if path.is_file() else None


def _refuse_values_for_sections(tree: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        if name in RunConfig.model_fields and name != "seed" and not isinstance(value, Mapping):
            raise UsageError(f"{name} is a section of settings, not a setting", f"set one of its own: {name}.FIELD")


def _resolve_schedule(update: dict[str, Any], train: Mapping[str, Any]) -> None:
    """A cosine needs its end, and the end must not move when a run is resumed with more steps."""
    if update.get("lr_schedule") != "cosine" or update.get("schedule_steps") is not None:
        return
    factors = [train.get("steps", TrainConfig().steps), update.get("minibatches", 1), update.get("epochs", 1)]
    if all(isinstance(factor, int) for factor in factors):  # anything else is named by its own field
        update["schedule_steps"] = factors[0] * factors[1] * factors[2]


def _enough_samples(data: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Enough samples per problem for the values of k that were asked for, or values of k that the samples allow."""
    k, section = overrides.get("eval.k"), dict(data.get("eval", {}))
    if k and not (isinstance(k, list | tuple) and all(isinstance(value, int) for value in k)):
        return data  # which the validation names
    named = nested(overrides).get("eval")
    given = named.get("num_samples") if isinstance(named, Mapping) else None
    if not k:
        return {**data, "eval": {**section, **at_most(section.get("k"), given)}}
    enough = at_least(section.get("num_samples"), k, given)
    return {**data, "eval": {**section, "num_samples": enough}}


def _explain(error: ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if part not in TAGS]
    where = ".".join(path)
    if first["type"] == "extra_forbidden":
        tags = [str(part) for part in first["loc"] if part in ESTIMATORS]
        if tags:
            own = [name for name in VARIANTS[tags[0]].model_fields if name != "estimator"]
            hint = f"{_did_you_mean(path[-1], own, where.removesuffix(path[-1]))}it has: {', '.join(own)}"
            return f"{where} is not a setting of estimator {tags[0]}", hint
        return f"{where} is not a setting", _nearest(path) + _real_settings(path[0])
    if first["type"] == "union_tag_invalid":
        hint = f"choose one of: {', '.join(ESTIMATORS)}; or your own as package.module:function"
        return f"unknown estimator {first['ctx']['tag']!r}", hint
    message = in_words(first)
    return f"{where}: {message}" if where else message, _example([str(part) for part in first["loc"]], first["input"])


def _example(loc: list[str], given: Any) -> str:
    """A value that a setting could have, where it was given another; empty for what is no setting or has no default."""
    name = ".".join([part for part in loc if part not in TAGS][:2])
    defaults = flat(RunConfig().model_dump(mode="json"))
    within = "advantage." if "." in name else ""  # else it is of an estimator alone
    for variant in (VARIANTS[part] for part in loc if part in VARIANTS):
        fields = variant.model_fields.items()
        defaults |= {f"{within}{field}": info.default for field, info in fields if not info.is_required()}
    fitting = defaults.get(name)
    if isinstance(fitting, str) and isinstance(given, list) and all(isinstance(one, str) for one in given):
        fitting = ",".join(given) or fitting
    return "" if fitting in _EMPTY else f"for example {name}={json.dumps(fitting)}"


def _nearest(path: list[str]) -> str:
    """The setting, or section, that was probably meant; of any section where none was named."""
    if len(path) == 1 and (same := [name for name in _all_settings() if name.endswith(f".{path[0]}")]):
        return f"did you mean {' or '.join(same)}? "
    model = RunConfig.model_fields[path[0]].annotation if path[0] in RunConfig.model_fields else RunConfig
    within = f"{path[0]}." if path[0] in RunConfig.model_fields else ""
    return _did_you_mean(path[-1], getattr(model, "model_fields", ()), within)


def _all_settings() -> list[str]:
    """The dotted names of all settings, those of every estimator among them."""
    of_estimators = (f"advantage.{name}" for variant in VARIANTS.values() for name in variant.model_fields)
    return list(dict.fromkeys([*flat(RunConfig().model_dump(mode="json")), *of_estimators]))


def _did_you_mean(name: str, names: Iterable[str], within: str = "") -> str:
    near = get_close_matches(name, names, n=1)
    return f"did you mean {within}{near[0]}? " if near else ""


def _real_settings(section: str) -> str:
    """The settings of a section that was asked for one that it does not have."""
    model = RunConfig.model_fields[section].annotation if section in RunConfig.model_fields else None
    fields = getattr(model, "model_fields", None)
    if fields is None:
        return f"the sections are {', '.join(name for name in RunConfig.model_fields if name != 'seed')}, and seed"
    return f"{section} has: {', '.join(fields)}"


_EMPTY: tuple[Any, ...] = (None, "", [])
"""Values that say nothing in a message."""
