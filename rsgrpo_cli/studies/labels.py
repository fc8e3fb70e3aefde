"""What groups of runs are called: as their runs, without what these differ in; and the settings that they differ in."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from rsgrpo_cli.config import decides_training
from rsgrpo_cli.config.sources import flat
from rsgrpo_cli.run.run_dir import WHOLE
from rsgrpo_cli.studies.results import Result

_SEED = re.compile(r"[-_.]?seed[-_]?[0-9]+$")
BASE = "base"
MEASURED_BY = ("prepare.", "rollout.", "score.", "eval.")
"""The sections of settings that may decide what a base model's evaluation comes to."""


def label_of(result: Result, apart: Iterable[str] = ()) -> str:
    """What its group is called: as its runs are, without their seeds; as its sweep, where they have nothing else.

    A base model's has the settings in which base models of several kinds differ.
    """
    if result.is_base:
        own = flat(result.config.model_dump(mode="json"))
        return " ".join([BASE, *(f"{name.rpartition('.')[2]}={own.get(name)}" for name in apart)])
    return _SEED.sub("", result.name) or result.sweep or result.name


def apart_by(bases: Sequence[Result]) -> list[str]:
    """The settings that tell base models apart: of the model; where one was measured otherwise, also of how."""
    names = differing(bases)
    if len({(base.config.seed, base.config.model.name) for base in bases}) < len(bases):
        settings = [flat(base.config.model_dump(mode="json")) for base in bases]
        measured = dict.fromkeys(name for one in settings for name in one if name.startswith(MEASURED_BY))
        names |= _unequal([{name: one.get(name) for name in measured if name != "eval.k"} for one in settings])
    return list(names)


def together(found: Sequence[Result]) -> dict[str, str]:
    """Labels of runs of the same settings and other seeds -> what all of these are called: what their names share."""
    kinds: dict[str, dict[str, list[int]]] = {}
    for result in found:
        of_kind = kinds.setdefault(json.dumps(_deciding(result), sort_keys=True), {})
        of_kind.setdefault(label_of(result), []).append(result.config.seed)
    starts: list[tuple[Collection[str], str]] = []
    for labels in kinds.values():
        seeds = [seed for each in labels.values() for seed in each]
        if len(labels) > 1 and len(seeds) == len({*seeds}):
            alike = takewhile(lambda letters: len({*letters}) == 1, zip(*labels, strict=False))
            start = "".join(letters[0] for letters in alike)
            whole = start in labels and not any(label[len(start) :][:1].isdecimal() for label in labels)
            starts.append((labels, start if whole else start.rstrip("0123456789-_. ")))
    shared: dict[str, str] = {}
    for names, start in starts:
        others = {label_of(result) for result in found} - {*names}
        taken = ["", *others, *(other for those, other in starts if those is not names)]
        shared |= dict.fromkeys(names, " / ".join(names) if start in taken else start)
    return shared


def differing(found: Sequence[Result]) -> dict[str, tuple[Any, ...]]:
    """The settings that decide training and differ between results, the seed left out; and their values."""
    return _unequal([_deciding(result) for result in found])


def _unequal(settings: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    names = dict.fromkeys(name for one in settings for name in one)
    values = {name: tuple(one.get(name) for one in settings) for name in names}
    return {name: all_of for name, all_of in values.items() if len({json.dumps(value) for value in all_of}) > 1}


def _deciding(result: Result) -> dict[str, Any]:
    settings = flat(result.config.model_dump(mode="json"))
    if result.is_base:  # nothing was trained: the rest of its settings decided nothing
        return {name: value for name, value in settings.items() if name.startswith("model.") and decides_training(name)}
    kept = {name: value for name, value in settings.items() if name != "seed" and decides_training(name)}
    return kept | {"policy": result.steps if result.at == WHOLE else spelled_policy(str(result.steps), result.at)}


def spelled_policy(policy: str, at: float) -> str:
    """A policy and a place on the line to it, in one spelling: 4at0.5."""
    return policy if at == WHOLE else f"{policy}at{at:g}"
