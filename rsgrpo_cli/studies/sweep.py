"""A sweep: cells as run directories under one folder, made by as many commands at a time as asked for.

    runs/SWEEP/
      base-seed0-3f9a/     the base model: problems, rollouts of step 0, evaluation; shared by the cells below
      grpo-seed0/          a cell, a normal run directory
      logs/grpo-seed0.log  what its commands printed
      logs/lock            held by the sweep while it works

What is done is on disk alone, so the same command again does what is left, whatever ended it the last time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rsgrpo_cli.artifacts import hash_json
from rsgrpo_cli.config import Overrides, RunConfig, difference, override
from rsgrpo_cli.config.sources import flat
from rsgrpo_cli.disk import make_directory
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.pipeline import forking
from rsgrpo_cli.run.locks import held_together
from rsgrpo_cli.run.run_commands import command, trust_of
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.run_names import base_run_name
from rsgrpo_cli.run.staleness import evaluations
from rsgrpo_cli.studies import other_settings, results
from rsgrpo_cli.studies.grid import Cell, is_evaluated
from rsgrpo_cli.studies.jobs import Job
from rsgrpo_cli.tasks.sources import source_name
from rsgrpo_cli.wording import AGAIN, again

LOGS, LOCK = "logs", "lock"
_ACCEPTS = re.compile(r"(?<=: )--(?:accept-changes|accept-inexact|force)\b")
"""Flags that the command of one run has and a sweep has not, where a hint gives nothing but the flag."""


@dataclass(frozen=True)
class Sweep:
    """A sweep as it is on disk.

    Args:
        place: Its folder.
        cells: What it is to consist of.
        kept: Where each finished cell leaves a small result, `kept`/CELL.parquet; a cell that has one is done, also
            where its run directory is gone. None keeps none.
        canary: What a fixed small run came to with this code, for the results.
        line: Places on the line from the base model to each cell's last policy that are evaluated too.
    """

    place: Path
    cells: Sequence[Cell]
    kept: Path | None = None
    canary: tuple[float, ...] = ()
    line: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """What it is called."""
        return self.place.name

    @cached_property
    def bases(self) -> dict[str, RunConfig]:
        """The base models that the cells start from: what does not depend on how they are trained."""
        return {base_name(cell.config): base_config(cell.config) for cell in self.cells}

    def jobs(self) -> list[Job]:
        """What is left to do, a base model before the cells that start from it.

        Raises:
            UsageError: If a run or a result that is there was made with other settings.
        """
        left = [cell for cell in self.cells if not self.is_done(cell)]
        needed = {base_name(cell.config) for cell in left}
        bases = {name: self._base_job(name, self.bases[name]) for name in self.bases if self._lacks_base(name, needed)}
        made: list[Job] = []
        for cell in self.cells:
            base = bases.pop(name, None) if (name := base_name(cell.config)) in bases else None
            made += [base] if base else []
            if cell in left:
                after = next((job for job in made if job.name == name), None)
                made.append(self._cell_job(cell, after))
        return made

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell is trained and evaluated.

        Raises:
            UsageError: If what is there was made with other settings.
        """
        if self.kept is not None and self._has_result(cell.name, cell.config):
            return True
        run = RunDir(self.place / cell.name)
        if not RunDir.is_there(run.path):
            return False
        self._require_same(cell.name, other_settings.as_measured(run, cell.config), cell.config)
        return (
            self.kept is None
            and run.newest_version() >= cell.config.train.steps
            and _is_evaluated(run, cell.config, self.line)
        )

    def _lacks_base(self, name: str, needed: set[str]) -> bool:
        if self.kept is not None and not self._has_result(name, self.bases[name]):
            return True
        return name in needed and not _base_is_done(RunDir(self.place / name), self.bases[name])

    def _has_result(self, name: str, config: RunConfig) -> bool:
        assert self.kept is not None
        path = self.kept / f"{name}.parquet"
        if not path.is_file():
            return False
        self._require_same(name, results.read(path)[0].config, config)
        return True

    def _require_same(self, name: str, there: RunConfig, wanted: RunConfig, hint: str = "") -> None:
        for field, (old, new) in other_settings.differences(there, wanted).items():
            told = difference(field, old, new)
            raise UsageError(f"cell {name} of {self.name} is there with {told}", hint or self._next_step())

    def _next_step(self) -> str:
        """What to do about cells with other settings; where one has left nothing but its result, it is made anew."""
        keeps = self.kept is not None
        names = {cell.name for cell in self.cells if self.kept and (self.kept / f"{cell.name}.parquet").is_file()}
        runs = self._runs_there()
        return other_settings.next_step(runs if names <= {run.name for run, _ in runs} else [], keeps=keeps)

    def _runs_there(self) -> list[tuple[RunDir, RunConfig]]:
        runs = [(RunDir(self.place / cell.name), cell.config) for cell in self.cells]
        return [(run, wanted) for run, wanted in runs if RunDir.is_there(run.path)]

    def _base_job(self, name: str, config: RunConfig) -> Job:
        run = RunDir(self.place / name)
        if RunDir.is_there(run.path):
            hint = f"choose another --name; or remove it: rsgrpo rm {run.path}"
            self._require_same(name, base_config(run.config()), config, hint)
        commands = [_on(run, config, "prepare")]
        commands += [_on(run, config, stage, "--step", "0") for stage in ("rollout", "score")]
        commands += [_on(run, config, "eval", "--policy", "0")] if is_evaluated(config) else []

        def begin() -> None:
            if not RunDir.is_there(run.path):
                RunDir.create(run.path, config)

        return self._job(run, commands, None, begin, lambda: self._keep(run, {}))

    def _cell_job(self, cell: Cell, after: Job | None) -> Job:
        run = RunDir(self.place / cell.name)
        base = RunDir(self.place / base_name(cell.config))
        trackers = cell.config.train.tracker  # which a run that is there may not have been made with
        commands = [_on(run, cell.config, "train", *(["--tracker", ",".join(trackers)] if trackers else []))]
        if self.line and is_evaluated(cell.config):
            places = ",".join(f"{place:g}" for place in self.line)
            commands.append(_on(run, cell.config, "eval", "--interpolate", places))

        def end() -> None:
            self._keep(run, cell.varied)

        return self._job(run, commands, after, lambda: start(run, cell, base), end)

    def _job(
        self,
        run: RunDir,
        commands: list[list[str]],
        after: Job | None,
        begin: Callable[[], None],
        end: Callable[[], None],
    ) -> Job:
        """A job on a run, which another sweep of this name may be about to begin, too."""

        def begin_or_join() -> None:
            try:
                begin()
            except UsageError:
                if not RunDir.is_there(run.path):
                    raise

        return Job(run.name, commands, self._log(run.name), after, begin_or_join, end, lambda: held_by(run))

    def _keep(self, run: RunDir, varied: Overrides) -> None:
        if self.kept is not None:
            since = 1 if run.newest_version() else 0
            found = results.of_run(run, sweep=self.name, varied=varied, since=since, canary=self.canary)
            results.write(self.kept / f"{run.name}.parquet", found)

    def _log(self, name: str) -> Path:
        return self.place / LOGS / f"{name}.log"

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep its runs from being removed, also between two commands on one; other sweeps may work on them as well."""
        make_directory(self.place / LOGS)
        with held_together(self.place / LOGS / LOCK):
            yield


def as_begun(place: Path, cells: Sequence[Cell], kept: Path | None) -> list[Cell]:
    """Cells by the names that they have on disk: in a sweep that an earlier version began, all have the former ones."""
    former = [cell.former for cell in cells if cell.former != cell.name]
    runs = any(RunDir.is_there(place / name) for name in former)
    results_kept = kept is not None and any((kept / f"{name}.parquet").is_file() for name in former)
    return [replace(cell, name=cell.former) for cell in cells] if runs or results_kept else list(cells)


def base_config(config: RunConfig) -> RunConfig:
    """The settings of the base model's run that a cell starts from."""
    shared = config.model_dump(mode="json", include={"seed", "model", "prepare", "rollout", "vllm", "score", "eval"})
    return override(RunConfig(), flat(shared))


def base_name(config: RunConfig) -> str:
    """What the base model's run is called: by the seed, and what else decides its samples."""
    return base_run_name(config.seed, hash_json(base_config(config).model_dump(mode="json")))


def start(run: RunDir, cell: Cell, base: RunDir) -> None:
    """Begin a cell's run, unless it is there: with the problems, the first rollouts and the evaluation of its base.

    Raises:
        UsageError: If it was begun with other settings.
    """
    if RunDir.is_there(run.path):
        return
    settings = {name: value for name, value in flat(cell.config.model_dump(mode="json")).items() if value is not None}
    if override(base.config(), settings) == cell.config:
        forking.fork(base, 0, run.path, settings)
    else:  # a setting that cannot be laid over the base's own
        RunDir.create(run.path, cell.config)


def _on(run: RunDir, config: RunConfig, name: str, *flags: str) -> list[str]:
    """A command on a run, which is to call the functions of the user's own that the sweep names, and no others."""
    return [name, "--run", str(run.path), *flags, *trust_of(config, name)]


def hint_of(job: Job) -> str:
    """What to do about a job that failed, for who called the sweep: that has no --run, nor --accept-changes."""
    name, _, path = job.command[:3]
    own = command(RunDir(Path(path)), name)
    hint = job.hint.replace(again(path), AGAIN).replace("keep both: --tag NAME; ", "")
    return _ACCEPTS.sub(lambda flag: f"{own} {flag[0]}", hint.replace("the same command with --force", "--force"))


def held_by(run: RunDir) -> str:
    """The process that holds a run; empty if none does."""
    holder = run.holder()
    return holder.owner if holder else ""


def steps_done(run: RunDir) -> int:
    """How many steps a run at work has done."""
    return sum(run.update_metrics(step).is_file() for step in run.steps())


def _base_is_done(run: RunDir, config: RunConfig) -> bool:
    if not RunDir.is_there(run.path):
        return False
    names = _benchmarks(config) if is_evaluated(config) else []
    return run.rewards(0).is_dir() and {(0, name) for name in names} <= set(evaluations(run))


def _is_evaluated(run: RunDir, config: RunConfig, line: Sequence[float]) -> bool:
    if not is_evaluated(config):
        return True
    names, steps = _benchmarks(config), config.train.steps
    on_line = {(steps, place, name) for name in names for place in line} <= set(run.interpolated())
    return on_line and {(steps, name) for name in names} <= set(evaluations(run))


def _benchmarks(config: RunConfig) -> list[str]:
    return [source_name(name) for name in config.benchmarks]
