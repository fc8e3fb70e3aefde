"""The commands that the page shows: what makes a run again, and what makes what is missing."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.config import RunConfig, resolve
from rsgrpo_cli.config.sources import flat
from rsgrpo_cli.report.measuring import measure_command
from rsgrpo_cli.run.run_commands import benchmark_flags, command, sampling_flags, trust
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import evaluations
from rsgrpo_cli.schemas import ADVANTAGES, UPDATE_METRICS
from rsgrpo_cli.tasks.sources import source_name

MOST_EVALUATIONS = 8
"""Evaluations of a run whose commands are shown; the newest."""


def following(run: RunDir) -> dict[str, str]:
    """The commands that make what a run does not have yet: further steps, an evaluation, and one of the base model."""
    version = run.beside.step + 1 if run.beside else None
    return {
        "train": command(run, "train"),
        "eval": measure_command(run, version),
        "base": measure_command(run, 0),
    }


def again(run: RunDir, config: RunConfig) -> list[str]:
    """The commands that make a run once more, under another name: training, a tagged update, and the evaluations."""
    name = f"{run.name}-again"
    return [*_training(run, config, name), *_tagged(run, config, name), *_evaluating(run, config, name)]


def _training(run: RunDir, config: RunConfig, name: str) -> list[str]:
    """The command that trains with these settings from nothing; of a fork, what branches off and goes on."""
    kept = {"model.name": config.model.name, "advantage.estimator": config.advantage.estimator}
    own, usual = (one.model_dump(mode="json") for one in (config, resolve(kept)))
    told = [(key, value) for key, value in kept.items() if flat(resolve({}).model_dump(mode="json"))[key] != value]
    told += [(key, value) for key, value in _flat(own).items() if _flat(usual).get(key) != value and value is not None]
    words = _set(dict(told))
    origin = run.origin()
    if origin is None:
        return [shlex.join(["rsgrpo", "train", "--run", name, *words, *trust(run, "train")])]
    place = ["--run", str(origin["run"]), "--step", str(origin["step"])]
    return [
        shlex.join(["rsgrpo", "fork", name, *place, *words, *trust(run, "advantage")]),
        shlex.join(["rsgrpo", "train", "--run", name, *trust(run, "train")]),
    ]


def _tagged(run: RunDir, config: RunConfig, name: str) -> list[str]:
    """The commands that make the update with a tag that the page is about, and the advantages that it learned from."""
    beside = run.beside
    if beside is None or not run.update_metrics(beside.step).is_file():
        return []
    where, made = ["--run", name, "--step", str(beside.step)], []
    if beside.advantages and run.advantages(beside.step).is_file():
        used = read_lineage(run.advantages(beside.step), ADVANTAGES).config
        words = _changed("advantage", used, config.advantage.decisive(), used)
        made.append(["advantage", *where, *words, "--tag", beside.advantages, *trust(run, "advantage")])
    learned, own = read_lineage(run.update_metrics(beside.step), UPDATE_METRICS).config, config.update.decisive()
    from_these = ["--advantages", beside.advantages] if beside.advantages else []
    made.append(["update", *where, *_changed("update", learned, own, own), *from_these, "--tag", beside.tag])
    return [shlex.join(["rsgrpo", *words]) for words in made]


def _changed(section: str, made: Mapping[str, Any], own: Mapping[str, Any], names: Mapping[str, Any]) -> list[str]:
    """Those of some settings of a section that something was made with, where they are not the run's."""
    return _set({f"{section}.{key}": made[key] for key in names if key in made and own.get(key) != made[key]})


def _evaluating(run: RunDir, config: RunConfig, name: str) -> list[str]:
    """The commands that evaluate, but for what the training does by itself."""
    found = []
    for version, benchmark in evaluations(run)[-MOST_EVALUATIONS:]:
        words = ["rsgrpo", "eval", "--run", name, "--policy", run.policy_name(version)]
        sampling = sampling_flags(run, version, benchmark, config)
        if not sampling and _is_evaluated_in_training(run, config, version, benchmark):
            continue
        words += benchmark_flags(run, version, benchmark) + sampling
        found.append(shlex.join([*words, *trust(run, "eval")]))
    return found


def _is_evaluated_in_training(run: RunDir, config: RunConfig, version: int, name: str) -> bool:
    """Whether the training that makes a run evaluates a policy, with the settings of the run; of a fork, after it."""
    origin, every, own = run.origin(), config.train.eval_every, run.beside is None or version <= run.beside.step
    due = bool(every) and (version % every == 0 or version == config.train.steps)
    begun = origin is None or version >= origin["step"]
    return due and begun and own and name in map(source_name, config.benchmarks)


def _set(settings: Mapping[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--set", f"{name}={_value(value)}")]


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their dotted names; a setting that is a table of its own stays one."""
    sections = {name: value if isinstance(value, Mapping) else {"": value} for name, value in tree.items()}
    return {f"{name}.{field}".rstrip("."): value for name, own in sections.items() for field, value in own.items()}


def _value(value: Any) -> str:
    """A value as `--set` takes it: as in a TOML file, and a text without quotes where that is no other value."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_value(own)}" for name, own in value.items()) + "}"
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return json.dumps(value)
