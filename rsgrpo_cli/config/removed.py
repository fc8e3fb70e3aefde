"""Settings that older versions had: their runs stay readable where these had the value that they now always have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any

CORE = "its function takes it: --estimator rsgrpo_cli.core."


@dataclass(frozen=True, slots=True)
class Removed:
    """A setting that was removed.

    Args:
        value: What it always is now.
        instead: What to do about another value.
        decides: Whether it decided what a run made; a run that is there is read without the others.
    """

    value: Any
    instead: str
    decides: bool = True


REMOVED: Mapping[str, Removed] = {
    "model.fp32_head": Removed(False, "compute all of the model in float32: --dtype float32"),
    "rollout.top_p": Removed(1.0, "training samples from the whole distribution; evaluations may use eval.top_p"),
    "rollout.allow_biased_sampling": Removed(False, "training samples from the whole distribution", decides=False),
    "vllm.dtype": Removed("auto", "vLLM computes in model.dtype: --dtype"),
    "vllm.enforce_eager": Removed(None, "vLLM compiles its graphs on a GPU alone", decides=False),
    "score.overlong_penalty": Removed(1.0, "the length penalty takes up to 1 from a reward; scale the reward instead"),
    "update.min_lr_ratio": Removed(0.0, "the cosine ends at 0: a larger update.schedule_steps ends it later"),
}
"""Dotted name -> what became of it."""
REMOVED_FROM_ESTIMATORS: Mapping[str, Mapping[str, Removed]] = {
    "grpo": {"eps": Removed(1e-6, f"{CORE}advantages:grpo")},
    "max_rl": {"eps": Removed(1e-6, f"{CORE}advantages:max_rl")},
    "qae": {
        "eps": Removed(1e-6, f"{CORE}advantages:qae"),
        "quantile": Removed("right", f"{CORE}advantages:qae"),
    },
    "entropic_adaptive": {"kl": Removed(log(2), f"{CORE}entropic_advantages:entropic_adaptive")},
    "chen_passk": {"eps": Removed(1e-6, f"{CORE}passk_advantages:chen_passk")},
    "mahdavi_passk": {"eps": Removed(1e-6, f"{CORE}passk_advantages:mahdavi_passk")},
}
"""Estimator -> setting -> what became of it."""


def without_speed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of an existing run, without removed settings that never affected its results."""
    gone = {name for name, removed in REMOVED.items() if not removed.decides}
    return {
        section: {field: value for field, value in values.items() if f"{section}.{field}" not in gone}
        if isinstance(values, Mapping)
        else values
        for section, values in data.items()
    }


def without_removed(data: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without removed settings.

    Args:
        data: Section -> settings, whatever they are.

    Raises:
        ValueError: If one had another value than it always has now.
    """
    kept = {section: dict(values) if isinstance(values, Mapping) else values for section, values in data.items()}
    found = [name.split(".") for name in REMOVED]
    gone = [(section, field, REMOVED[f"{section}.{field}"]) for section, field in found]
    advantage = kept.get("advantage")
    estimator = advantage.get("estimator") if isinstance(advantage, dict) else None
    if isinstance(estimator, str):
        gone += [("advantage", field, removed) for field, removed in REMOVED_FROM_ESTIMATORS.get(estimator, {}).items()]
    for section, field, removed in gone:
        values = kept.get(section)
        if isinstance(values, dict) and field in values:
            _refuse_another_value(f"{section}.{field}", values.pop(field), removed, kept)
    return _with_one_table_of_samples(kept)


def _refuse_another_value(name: str, value: Any, removed: Removed, data: Mapping[str, Any]) -> None:
    if name == "vllm.dtype" and value == data.get("model", {}).get("dtype", "float32"):
        return
    if value != removed.value:
        raise ValueError(f"{name} {value} is no longer possible: {removed.instead}")


def _with_one_table_of_samples(data: dict[str, Any]) -> dict[str, Any]:
    """`eval.num_samples_of`, which held the numbers of single benchmarks, is a part of `eval.num_samples` now."""
    evaluation = data.get("eval")
    special = evaluation.pop("num_samples_of", None) if isinstance(evaluation, dict) else None
    if isinstance(evaluation, dict) and isinstance(special, Mapping) and special:
        general = evaluation.get("num_samples")
        evaluation["num_samples"] = {**({"default": general} if isinstance(general, int) else {}), **special}
    return data
