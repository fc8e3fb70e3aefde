"""The runs of a folder at a glance: settings in which they differ, steps, last reward, newest evaluation, who is at it.

Only configurations, metrics and summaries are read, so that hundreds of runs take a moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.config import RunConfig, decides_training
from rsgrpo_cli.config.sources import flat
from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.disk import require_way
from rsgrpo_cli.errors import MissingError, RsgrpoError, UsageError
from rsgrpo_cli.report.evaluations import are_scored
from rsgrpo_cli.run.locks import holders
from rsgrpo_cli.run.run_dir import RUNS, RunDir
from rsgrpo_cli.run.run_names import is_base
from rsgrpo_cli.schemas import METRICS, SUMMARY
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.results import Result

EVALUATED = "eval_reward"
"""The column of the mean reward of evaluations."""
COLUMNS = ("name", "run", "steps", "reward", EVALUATED, "on")
"""What columns beside the settings are called."""
BEST_FIRST = ("steps", "reward", EVALUATED, "pass@")
"""Columns that are sorted from the largest value down."""


@dataclass(frozen=True, slots=True)
class Row:
    """A run.

    Args:
        name: The run's.
        settings: Its dotted settings; only what decides the model where nothing is trained.
        steps: Updates done.
        wanted: Updates asked for; 0 where only the base model is evaluated.
        reward: Mean reward of the last step; None before the first.
        policy: The newest that was evaluated; None where none was.
        benchmark: On what; the first by name of several.
        passed: k -> pass@k of that evaluation; of grades there is none.
        eval_reward: Its mean reward, of grades; None of verdicts.
        holder: The process that works on it; "" if none does.
        damage: Why it cannot be read; "" if it can.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    wanted: int = 0
    reward: float | None = None
    policy: int | None = None
    benchmark: str = ""
    passed: dict[int, float] = field(default_factory=dict)
    eval_reward: float | None = None
    holder: str = ""
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in a folder.

    Args:
        place: The folder.
        rows: Its runs, or the results in it.
        sweeps: Folders in it that have runs in them, and how many.
    """

    place: Path
    rows: list[Row]
    sweeps: dict[str, int]

    def differing(self) -> dict[str, list[Any]]:
        """The settings that decide training in which the runs differ, and the value of each row; the seed last.

        A setting that an estimator does not have is no difference.
        """
        names = dict.fromkeys(name for row in self.rows for name in row.settings if name != "seed")
        return {
            name: [row.settings.get(name) for row in self.rows]
            for name in [*names, "seed"]
            if _differ(row.settings[name] for row in self.rows if name in row.settings and row.wanted)
        }

    def headings(self) -> dict[str, str]:
        """What the column of each differing setting is called: its last part, where no other column is called so."""
        short = {name: name.rpartition(".")[2] for name in self.differing()}
        taken = [*short.values(), *COLUMNS]
        return {name: one if taken.count(one) == 1 else name for name, one in short.items()}


def _differ(values: Iterable[Any]) -> bool:
    return len({json.dumps(value) for value in values}) > 1


def listing(place: str | None) -> Listing:
    """The runs of a sweep or a folder, or the results in it; of runs/ unless named.

    Raises:
        MissingError: If there is no such folder, or nothing of the kind in it.
        UsageError: If it is a file.
    """
    folder = RUNS if place is None else RunDir.locate_folder(place)
    if place is None:
        require_way(folder / "run")
    if RunDir.is_there(folder):
        return Listing(folder, [_row(folder)], {})
    if not folder.is_dir():
        if place is not None and RUNS.is_dir():
            raise MissingError(f"no run, sweep or folder at {folder}", "rsgrpo ls lists the runs here")
        where = "no runs here yet" if place is None else f"no run, sweep or folder at {folder}"
        raise MissingError(where, "start one: rsgrpo train --model toy; or change to the folder that has runs/ in it")
    rows = [_row(path) for path in _runs_in(folder)]
    inside = {path.name: len(_runs_in(path)) for path in sorted(folder.glob("[!.]*")) if path.is_dir()}
    sweeps = {name: count for name, count in inside.items() if count and not RunDir.is_there(folder / name)}
    if not rows and not sweeps:
        rows = [_of_result(result) for path in sorted(folder.glob("*.parquet")) for result in results.read(path)]
    if not rows and not sweeps:
        kept = [path.parent for path in sorted(folder.glob("[!.]*/*.parquet"))]
        if kept:
            raise MissingError(f"{folder} has results of several sweeps", f"list one: rsgrpo ls {kept[0]}")
        raise MissingError(f"{folder} has no runs and no results in it", "start some: rsgrpo sweep --help")
    return Listing(folder, rows, sweeps)


def _runs_in(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob("[!.]*/config.json")) if RunDir.is_there(path.parent)]


def _row(path: Path) -> Row:
    run = RunDir(path)
    try:
        return _of_run(run)
    except RsgrpoError as error:
        return Row(run.name, damage=error.message, holder=_holder(run))


def _of_run(run: RunDir) -> Row:
    config, steps, metrics = run.config(), run.newest_version(), []
    if run.metrics.is_file():
        metrics = read_table(run.metrics, METRICS, ["step", "reward_mean", "pass@1"]).to_pylist()
    trains = run.prompts.is_file() and not is_base(run.name)
    wanted = max(config.train.steps, steps, run.steps_begun()) if trains or steps else 0
    reward = metrics[-1]["reward_mean"] if metrics else None
    row = Row(run.name, _settings(config, wanted), steps, wanted, reward, holder=_holder(run))
    evaluated = [version for version in run.evaluated() if run.benchmarks_of(version)]
    return _with_evaluation(row, run, max(evaluated), metrics) if evaluated else row


def _with_evaluation(row: Row, run: RunDir, policy: int, metrics: Sequence[Mapping[str, Any]]) -> Row:
    name = run.benchmarks_of(policy)[0]
    summary = read_table(run.evaluation(policy, name) / "summary.parquet", SUMMARY, ["metric", "k", "value"])
    values = {(one["metric"], one["k"]): one["value"] for one in summary.to_pylist()}
    passed = {k: value for (metric, k), value in values.items() if metric == "pass"}
    reward = values.get(("reward", None))
    if reward is None and are_scored({metric for metric, _ in values}) and _grades(passed[1], metrics):
        reward = passed[1]
    return _evaluated(row, policy, name, passed, reward)


def _evaluated(row: Row, policy: int, benchmark: str, passed: dict[int, float], reward: float | None) -> Row:
    """A row with its newest evaluation; the mean reward is None of verdicts."""
    passed = passed if reward is None else {}
    return replace(row, policy=policy, benchmark=benchmark, passed=passed, eval_reward=reward)


def _grades(right: float, metrics: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a function that returned only 0 and 1 in an evaluation gives grades: where the training has others.

    Where it never returned anything but 0, nothing says that 1 would mean right.

    Args:
        right: The share of 1.
        metrics: Of the steps of training.
    """
    return results.has_grades(metrics) or not (right or any(row["pass@1"] for row in metrics))


def _of_result(result: Result) -> Row:
    """The row of a small result."""
    wanted = 0 if result.is_base else max(result.config.train.steps, result.steps)
    reward = result.metrics[-1]["reward_mean"] if result.metrics else None
    whole = sorted(result.counts_of(), key=lambda one: (-one.policy, one.benchmark))[:1] if result.evaluations else []
    row = Row(result.name, _settings(result.config, wanted), result.steps, wanted, reward)
    if not whole:
        return row
    newest, fewest = whole[0], int(whole[0].n_M.min())
    ks = [1 << power for power in range(fewest.bit_length())]
    passed = {k: float(pass_at_k(newest.n_M, newest.correct_M, k).mean()) for k in ks}
    scored_M, reward = newest.reward_M, None
    if scored_M is not None and (newest.graded or _grades(passed[1], result.metrics)):
        reward = float(np.nanmean(scored_M))
    return _evaluated(row, newest.policy, newest.benchmark, passed, reward)


def _settings(config: RunConfig, wanted: int) -> dict[str, Any]:
    found = flat(config.model_dump(mode="json"))
    return {
        name: value
        for name, value in found.items()
        if name == "seed" or (decides_training(name) and (wanted or name.startswith("model.")))
    }


def _holder(run: RunDir) -> str:
    return next((found.owner for found in holders(run.path)), "")


def _columns(found: Listing) -> str:
    """The columns that there are, as a next step; of a folder that has only sweeps in it, a sweep."""
    if not found.rows:
        return f"list one of the sweeps in it: rsgrpo ls {found.place / next(iter(found.sweeps))}"
    passed = [f"pass@{k}" for k in sorted({k for row in found.rows for k in row.passed})]
    graded = [EVALUATED] if any(row.eval_reward is not None for row in found.rows) else []
    return f"columns: {', '.join(['name', 'steps', 'reward', *graded, *passed, *found.headings().values()])}"


def ordered(found: Listing, column: str) -> list[Row]:
    """The rows by a column: name, steps, reward, eval_reward, pass@K, a setting by its name or the last part of it.

    What was measured is sorted from the best down, settings and names from the smallest up; rows without come last.

    Raises:
        UsageError: If there is no such column.
    """
    settings = found.differing()
    named = {heading: name for name, heading in found.headings().items()}
    kept = settings.get(named.get(column, column))
    if column in ("name", "steps", "reward", EVALUATED):
        keys = [getattr(row, column) for row in found.rows]
    elif column.startswith("pass@") and column[5:].isdigit():
        keys = [row.passed.get(int(column[5:])) for row in found.rows]
    elif kept is not None:
        keys = kept
    else:
        raise UsageError(f"no column is called {column}", _columns(found))
    if column.startswith((EVALUATED, "pass@")) and not any(key is not None for key in keys):
        raise UsageError(f"no run in {found.place} was evaluated for {column}", _columns(found))
    best_first = column.startswith(BEST_FIRST)
    there = [pair for pair in zip(keys, found.rows, strict=True) if pair[0] is not None]
    there.sort(key=lambda pair: (isinstance(pair[0], str), pair[0]), reverse=best_first)
    return [row for _, row in there] + [row for key, row in zip(keys, found.rows, strict=True) if key is None]
