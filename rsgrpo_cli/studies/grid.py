"""The cells of a sweep: every arm with every value of every axis and every seed, each a whole configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from rsgrpo_cli.config import Overrides, RunConfig, resolve, typed
from rsgrpo_cli.config.samples import named_benchmarks
from rsgrpo_cli.config.sources import flat, load_toml
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.run.run_dir import WHOLE, is_on_line
from rsgrpo_cli.studies.labels import BASE
from rsgrpo_cli.tasks.sample_counts import check_names
from rsgrpo_cli.tasks.sources import has_held_out_problems

MOST_CELLS = 10_000
"""More than this is a slip in an axis."""


_WITH_COMMAS = {
    *("train.tracker", "eval.benchmark"),  # each run is sent to all trackers, and evaluated on all benchmarks
    *("prepare.system_prompt", "prepare.instruction", "prepare.prompt_template"),
}
"""Settings whose values have commas of their own."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a sweep.

    Args:
        name: What its directory is called.
        config: All of its settings.
        varied: The dotted settings of its arm and axes: what tells it from the other cells, but the seed.
        former: What earlier versions called it, which put words right behind the setting: scalerms for scale-rms.
    """

    name: str
    config: RunConfig
    varied: Overrides
    former: str


@dataclass(frozen=True, slots=True)
class Grid:
    """What a sweep varies.

    Args:
        settings: Dotted settings of all cells.
        axes: Dotted setting -> the values it takes.
        arms: Name -> dotted settings that go together.
        seeds: The seeds.
        line: Places on the line from the base model to the last policy that are evaluated too.
        flags: Those of the settings that were given on the command line.
    """

    settings: Overrides = field(default_factory=dict)
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    arms: Mapping[str, Overrides] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    line: Sequence[float] = ()
    flags: Sequence[str] = ()

    def cells(self) -> list[Cell]:
        """Every cell, the seeds outermost: a sweep that is stopped early has whole seeds.

        Raises:
            UsageError: If a setting does not exist or does not fit, naming the cell; or if two cells are the same.
        """
        made = [self._cell(*one) for one in self._combinations()]
        if not made:
            raise UsageError("the sweep has no cells", "give --seeds 0-7, or --set SECTION.FIELD=A,B")
        _refuse_twins(made)
        return made

    def _combinations(self) -> Iterator[tuple[str, Overrides, int]]:
        arms = self.arms or {"": {}}
        size = len(self.seeds) * len(arms)
        for values in self.axes.values():
            size *= len(values)
        if size > MOST_CELLS:
            raise UsageError(f"the sweep has {size:,} cells, more than {MOST_CELLS:,}", "leave out values or seeds")
        if BASE in arms:
            raise UsageError(f"an arm is called {BASE}, as the base model is", "choose another name")
        if any("seed" in settings for settings in (self.settings, self.axes, *arms.values())):
            raise UsageError("a sweep makes every cell with every seed", "give the seeds as --seeds 0-7, or as seeds")
        for (arm, settings), name in product(arms.items(), [*self.axes, *self.flags]):
            if name in settings:
                what = "an axis" if name in self.axes else "given as a flag"
                raise UsageError(f"arm {arm} sets {name}, which is {what} too", "leave it out of one of the two")
        for seed, (arm, settings), values in product(self.seeds, arms.items(), product(*self.axes.values())):
            yield arm, settings | dict(zip(self.axes, values, strict=True)), seed

    def _cell(self, arm: str, varied: Overrides, seed: int) -> Cell:
        chosen = {name: varied[name] for name in self.axes}
        name, former = (_cell_name(arm, chosen, seed, sign) for sign in ("-", ""))
        try:
            config = resolve(self.settings | varied | {"seed": seed})
            if not config.train.eval_every and is_evaluated(config):
                config = resolve(self.settings | varied | {"seed": seed, "train.eval_every": config.train.steps})
            check_names(config.benchmarks, named_benchmarks(self.settings | varied))
        except UsageError as error:
            raise UsageError(f"cell {name}: {error.message}", error.hint) from error
        return Cell(name, config, varied, former)


def is_evaluated(config: RunConfig) -> bool:
    """Whether there are problems to evaluate a run on."""
    return bool(config.eval.benchmarks) or has_held_out_problems(config.prepare.dataset)


def read_grid(path: Path) -> tuple[str | None, Grid]:
    """A sweep's name and what it varies, from a TOML file with name, seeds, settings, axes and arms.

    Raises:
        MissingError: If there is no such file.
        UsageError: If it is not such a file.
    """
    data = load_toml(path)
    unknown = [key for key in data if key not in ("name", "seeds", "line", "settings", "axes", "arms")]
    if unknown:
        hint = "a sweep's file has name, seeds, line, and the tables settings, axes and arms"
        raise UsageError(f"{path}: {unknown[0]} is not part of a sweep", hint)
    for table in ("settings", "axes", "arms"):
        if not isinstance(data.get(table, {}), dict):
            raise UsageError(f"{path}: {table} is a table of settings, not {data[table]!r}", f"write [{table}]")
    axes = {name: _values(path, name, values) for name, values in flat(data.get("axes", {})).items()}
    arms = {}
    for name, arm in data.get("arms", {}).items():
        if not isinstance(arm, dict):
            raise UsageError(f"{path}: arm {name} is not a table of settings", f"write [arms.{name}]")
        arms[name] = flat(arm)
    given = data.get("seeds", "0")
    seeds = read_seeds(given if isinstance(given, str) else given if isinstance(given, list) else [given])
    name = data.get("name")
    if name is not None and not isinstance(name, str):
        raise UsageError(f"{path}: name is text, not {name!r}")
    return name, Grid(flat(data.get("settings", {})), axes, arms, seeds, _line(path, data.get("line", [])))


def _line(path: Path, given: Any) -> tuple[float, ...]:
    numbers = given if isinstance(given, list) else [given]
    if not all(isinstance(one, float) and 0 < one < WHOLE and is_on_line(one) for one in numbers):
        hint = "write line = [0.5, 0.75], with six digits at most"
        raise UsageError(f"{path}: line is a list of numbers between 0 and 1", hint)
    return tuple(sorted({float(one) for one in numbers}))


def read_seeds(given: str | Sequence[Any]) -> list[int]:
    """The seeds that "0-7", "0,1,5-9" or a list of numbers mean.

    Raises:
        UsageError: If it is something else, or has a seed twice.
    """
    parts = given.split(",") if isinstance(given, str) else [str(one) for one in given]
    seeds: list[int] = []
    for part in parts:
        found = re.fullmatch(r"\s*([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last:
            raise UsageError(f"seeds {given!r} cannot be read", "write 0-7, or 0,1,5")
        if last - first >= MOST_CELLS:
            count = last - first + 1
            raise UsageError(
                f"{given!r} are {count:,} seeds, more than {MOST_CELLS:,} runs", "give fewer: 0-7, or 0,1,5"
            )
        seeds += range(first, last + 1)
    twice = next((seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1), None)
    if twice is not None:
        raise UsageError(f"seed {twice} is there twice in {given!r}", "give each seed once")
    return seeds


def split_axes(settings: Overrides) -> tuple[Overrides, dict[str, list[Any]]]:
    """Those of the settings given with `--set` that have one value, and those with several: "2,4,8".

    What is one value with its commas is no axis.
    """
    axes = {}
    for name, value in settings.items():
        if isinstance(value, str) and "," in value and name not in _WITH_COMMAS:
            axes[name] = [typed.value(part.strip()) for part in value.split(",")]
    return {name: value for name, value in settings.items() if name not in axes}, axes


def _values(path: Path, name: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise UsageError(f"{path}: axis {name} needs a list of values", f'write "{name}" = [1, 2]')
    return values


def _cell_name(arm: str, chosen: Overrides, seed: int, sign: str) -> str:
    """For instance: grpo-beta4-scale-rms-seed0, with a `sign` between a setting and a value that is no number."""
    parts = [arm]
    for name, value in chosen.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        parts.append(f"{name.rpartition('.')[2]}{'' if is_number else sign}{spelled(value)}")
    return "-".join(_file_name(part) for part in [*parts, f"seed{seed}"] if part)


def spelled(value: Any) -> str:
    """A setting's value as the name of a cell has it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", text).strip(".") or "cell"


def _refuse_twins(cells: Iterable[Cell]) -> None:
    """Two cells of one name would share a directory; two with equal settings would be the same run twice."""
    names: dict[str, str] = {}
    settings: dict[str, str] = {}
    for cell in cells:
        made = cell.config.model_dump_json()
        twin = settings.setdefault(made, cell.name)
        if twin != cell.name:
            raise UsageError(f"cells {twin} and {cell.name} do not differ in any setting", "leave one of them out")
        if names.get(cell.name) == made:
            raise UsageError(f"cell {cell.name} is there twice", "give each value of an axis once")
        if cell.name in names:
            raise UsageError(
                f"two cells are called {cell.name}",
                "names of runs keep a-z, A-Z, 0-9 and . _ + - alone: give them as arms in a --config file, under names "
                "that differ in these",
            )
        names[cell.name] = made
