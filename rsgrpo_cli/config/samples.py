"""How many completions per problem an evaluation draws: a number, or a table with numbers of single benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rsgrpo_cli.config.stages import DEFAULT, EvalConfig


def with_general(table: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """A table that names single benchmarks alone, with the number that held for all others before.

    Args:
        table: Name -> number.
        before: A number, or a table.
    """
    general = before.get(DEFAULT) if isinstance(before, Mapping) else before
    return {**({DEFAULT: general} if general is not None and DEFAULT not in table else {}), **table}


def named_benchmarks(settings: Mapping[str, Any]) -> list[str]:
    """The benchmarks that settings, SECTION.FIELD to value, give a number of samples of their own."""
    given = settings.get("eval.num_samples")
    return [name for name in given if name != DEFAULT] if isinstance(given, Mapping) else []


def at_least(samples: Any, k: Sequence[int], given: Any) -> Any:
    """The numbers, raised to the largest k where the user gave none: `--k 1,32,1024` alone asks for 1,024 samples.

    Args:
        samples: A number, or a table; what is neither is left for the validation to name.
        k: The values that were asked for.
        given: What the user gave for `samples` in the same command: its numbers stay, and the two must fit.
    """
    table = dict(samples) if isinstance(samples, Mapping) else {DEFAULT: samples}
    table[DEFAULT] = table.get(DEFAULT) or EvalConfig.model_fields["num_samples"].default
    if isinstance(given, int) or (isinstance(given, Mapping) and DEFAULT in given):
        return samples
    if not all(isinstance(number, int) for number in table.values()):
        return samples
    raised = {name: n if given and name != DEFAULT else max(n, *k) for name, n in table.items()}
    return raised if isinstance(samples, Mapping) else raised[DEFAULT]


def at_most(k: Any, given: Any) -> dict[str, Any]:
    """Values of k that a number of samples allows, where the user gave one and no k: `-n 2` alone asks for k = 1, 2.

    Args:
        k: The values there were; None for the default.
        given: What the user gave for the samples; what is no number is left for the validation to name.

    Returns:
        `{"k": ...}` where the values change, else nothing.
    """
    samples = given.get(DEFAULT) if isinstance(given, Mapping) else given
    values = EvalConfig.model_fields["k"].default if k is None else k
    if not isinstance(samples, int) or samples < 1 or not isinstance(values, list | tuple):
        return {}
    if not values or not all(isinstance(value, int) for value in values) or max(values) <= samples:
        return {}
    return {"k": sorted({*(value for value in values if value <= samples), samples})}
