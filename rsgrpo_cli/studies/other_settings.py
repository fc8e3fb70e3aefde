"""Runs of a sweep that are there with other settings than are asked for: what differs, and what to do instead.

More steps and other evaluations are made of the runs that are there: nothing has to be trained again for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.config import RunConfig, changed_fields
from rsgrpo_cli.run.run_commands import for_each, settings_flags, trust_of
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import SUMMARY
from rsgrpo_cli.tasks.sample_counts import for_benchmark
from rsgrpo_cli.tasks.sources import source_name

ANEW = "to go on with the sweep, leave its settings as they were; for others, choose another --name"
_EVALUATION = ("eval.benchmark", "eval.num_samples", "eval.k")
"""What can be added to the evaluations of a run."""

Command = tuple[str, str, tuple[str, ...]]
"""A command, the run it is for, and its flags."""


def differences(there: RunConfig, wanted: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The settings in which a run differs from the cell that it is to be, with both values.

    One that went on for more steps is still the cell, if it evaluates the policies that the cell is to evaluate.
    """
    changed = changed_fields(there, wanted)
    changed.pop("train.tracker", None)
    due = [version for version in range(1, wanted.train.steps + 1) if wanted.train.evaluates(version)]
    if all(there.train.evaluates(version) for version in due):
        changed.pop("train.eval_every", None)
        if there.train.steps > wanted.train.steps:
            changed.pop("train.steps", None)
    return changed


def as_measured(run: RunDir, wanted: RunConfig) -> RunConfig:
    """The settings of a run; those of the evaluations that are asked for, where it was given these later."""
    there = run.config()
    if not wanted.benchmarks or not all(_is_measured(run, wanted, name) for name in wanted.benchmarks):
        return there
    given = {name: getattr(wanted.eval, name) for name in ("benchmark", "num_samples", "k")}
    return there.model_copy(update={"eval": there.eval.model_copy(update=given)})


def _is_measured(run: RunDir, wanted: RunConfig, benchmark: str) -> bool:
    """Whether the last policy of a cell was evaluated with as many samples as are asked for, and for each k."""
    name = source_name(benchmark)
    path = run.evaluation(wanted.train.steps, name) / "summary.parquet"
    if not path.is_file():
        return False
    made, asked = read_lineage(path, SUMMARY).config, for_benchmark(wanted.eval, name)
    return bool(made["num_samples"] >= asked.samples and {*asked.k} <= {*made["k"]})


def next_step(runs: Sequence[tuple[RunDir, RunConfig]], *, keeps: bool = False) -> str:
    """What to do where runs are there with other settings than are asked for; nothing that is there is lost by it.

    Args:
        runs: The runs, each with the settings that are asked for; none if some are gone.
        keeps: Whether the sweep keeps results: those that are kept already stay as they are.
    """
    if not runs:
        return ANEW
    made: dict[Command, None] = {}
    for run, wanted in runs:
        changed = differences(as_measured(run, wanted), wanted)
        if not _can_be_added(wanted, changed):
            return ANEW
        made |= dict.fromkeys(_commands(run, wanted, changed))
    told = []
    for name, what in (("train", "train"), ("eval", "evaluate")):
        if of := [(run, flags) for command, run, flags in made if command == name]:
            told.append(f"{what} the runs that are there: {for_each(name, of)}")
    if keeps:
        told.append("then keep their results anew: the sweep as it was, with another --keep")
    return "; ".join([*told, "or choose another --name"])


def _can_be_added(wanted: RunConfig, changed: Collection[str]) -> bool:
    """Whether a run that is there can be given what differs, as no other training is asked for."""
    on_the_way = "train.eval_every" in changed and wanted.train.eval_every < wanted.train.steps
    decides_problems = "eval.benchmark" in changed and wanted.prepare.decontaminate == "drop"
    return not on_the_way and not decides_problems and {"train.steps", "train.eval_every", *_EVALUATION} >= {*changed}


def _commands(run: RunDir, wanted: RunConfig, changed: Collection[str]) -> Iterator[Command]:
    """The commands that give a run what differs; its base model's run is evaluated as it is."""
    if not changed:
        return
    more = settings_flags(wanted, [name for name in _EVALUATION if name in changed])
    origin = run.origin()
    base = run.path.parent / Path(origin["run"]).name if origin else run.path
    if more and base != run.path and RunDir.is_there(base):
        yield "eval", str(base), (*more, *trust_of(wanted, "eval"))
    steps = str(wanted.train.steps)
    if run.newest_version() < wanted.train.steps:
        length = ["--steps", steps] if "train.steps" in changed else []
        yield "train", str(run.path), (*length, *more, *trust_of(wanted, "train"))
    else:
        policy = ["--policy", steps] if run.newest_version() > wanted.train.steps else []
        yield "eval", str(run.path), (*policy, *more, *trust_of(wanted, "eval"))
