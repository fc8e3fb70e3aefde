"""What training did step by step: cumulative solve rate, reward, pass@1 and pass@G (figures 5 and 6 of the paper).

Shape suffixes: S seeds, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.run_commands import choose_benchmark
from rsgrpo_cli.studies.comparable import ending, require_comparable
from rsgrpo_cli.studies.figures.inputs import Choices, trained, with_base
from rsgrpo_cli.studies.figures.style import Look, beside, canvas, clean, legend, looks, whole_steps
from rsgrpo_cli.studies.groups import Group, of_one_seed, told_seeds
from rsgrpo_cli.wording import counted

FloatArray = NDArray[np.float64]
PANELS = {
    "cumulative_solve_rate": "problems solved so far",
    "reward_mean": "training reward",
    "pass@1": "pass@1",
    "pass@G": "pass@G",
}
_NOT_SMOOTHED = ("cumulative_solve_rate",)


@dataclass(frozen=True, slots=True)
class Band:
    """A line over steps.

    Args:
        steps: Updates done before.
        means: Over seeds.
        lows, highs: The smallest and the largest of the seeds.
    """

    steps: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """A group.

    Args:
        label: What it is called.
        group_size: Its G.
        lines: Metric -> its line.
        measured: Metric -> evaluated pass@k by policy, for pass@1 and pass@G; empty where there are no evaluations.
    """

    label: str
    group_size: int
    lines: dict[str, Band]
    measured: dict[str, Band]


@dataclass(frozen=True, slots=True)
class Training:
    """The figure's numbers.

    Args:
        groups: The groups.
        caption: What it shows.
    """

    groups: tuple[Trained, ...]
    caption: str


def collect(groups: Sequence[Group], choices: Choices) -> Training:
    """The lines of groups, as far as every seed of a group is.

    Raises:
        MissingError: If a run was not trained, or has no metrics.
        UsageError: If several benchmarks were evaluated and none is chosen.
    """
    chosen = trained(groups, "training")
    benchmark = _benchmark(chosen, choices.benchmark)
    base = next((group for group in with_base(groups) if group.is_base), None)
    measured = [group for group in (base, *chosen) if group and benchmark in _evaluated([group])]
    if measured:
        require_comparable(measured, [benchmark], newest=False, verdicts=False)
    found = tuple(_trained(group, base, benchmark, choices.smooth) for group in chosen)
    one_seed = of_one_seed(chosen)
    caption = told_seeds(chosen) + ("" if one_seed else "; lines: means over seeds, bands: the range of the seeds")
    if choices.smooth > 1:
        caption += f"; all but the upper left: running means over {counted(choices.smooth, 'step')}"
    if any(one.measured for one in found):
        bars = "" if one_seed else ", bars: the range of the seeds"
        caption += f"; below: evaluated on {benchmark}{bars}, and pale: on the training batches"
    if any(one.graded for group in measured for member in group.members for one in member.evaluations):
        caption += "; grades have no pass@k"
    return Training(found, f"{caption}.{ending(measured, [benchmark], newest=False, on_the_way=True)}")


def _benchmark(groups: Sequence[Group], asked: str | None) -> str:
    names = sorted(_evaluated(groups))
    if asked is None and len(names) > 1:
        raise UsageError(f"these runs were evaluated on {', '.join(names)}", choose_benchmark(names))
    if asked is not None and asked not in names:
        raise UsageError(f"none of these runs was evaluated on {asked}", f"evaluated: {', '.join(names) or 'nothing'}")
    return asked or (names[0] if names else "")


def _evaluated(groups: Sequence[Group]) -> set[str]:
    """The benchmarks of their evaluations; with those of stale ones, which are refused and not passed over."""
    members = [member for group in groups for member in group.members]
    stale = {name for member in members for _, name in member.own_stale()}
    return stale | {one.benchmark for member in members for one in member.evaluations}


def _trained(group: Group, base: Group | None, benchmark: str, smooth: int) -> Trained:
    lines = {name: _line(group, name, 1 if name in _NOT_SMOOTHED else smooth) for name in PANELS}
    size = group.members[0].config.rollout.group_size
    measured = {name: _measured(group, base, benchmark, k) for name, k in (("pass@1", 1), ("pass@G", size))}
    return Trained(group.label, size, lines, {name: one for name, one in measured.items() if one.steps})


def _line(group: Group, name: str, smooth: int) -> Band:
    rows = []
    for member in group.members:
        if not member.metrics:
            raise MissingError(f"{member.name} has no metrics of its training", f"train it: {member.command('train')}")
        rows.append([np.nan if row[name] is None else row[name] for row in member.metrics])
    length = min(map(len, rows))
    values_ST = np.stack([running_mean(np.array(row[:length], dtype=float), smooth) for row in rows])
    # What a batch came to stands at the policy that sampled it, where that policy's evaluation stands too; what has
    # been solved so far stands behind the step.
    ahead = 1 if name in _NOT_SMOOTHED else 0
    return _band([row["step"] + ahead for row in group.members[0].metrics[:length]], values_ST)


def running_mean(values_T: FloatArray, steps: int) -> FloatArray:
    """The mean of each value and those before it, `steps` in all where there are as many, of those that are known.

    Args:
        values_T: Values, NaN where unknown.
        steps: 1 or more.
    """
    known_T = np.isfinite(values_T)
    sums, counts = np.cumsum(np.where(known_T, values_T, 0.0)), np.cumsum(known_T)
    sums[steps:], counts[steps:] = sums[steps:] - sums[:-steps], counts[steps:] - counts[:-steps]
    means_T: FloatArray = np.divide(sums, counts, out=np.full(len(values_T), np.nan), where=counts > 0)
    return means_T


def _measured(group: Group, base: Group | None, benchmark: str, k: int) -> Band:
    """Evaluated pass@k of the policies that every seed has with as many samples, from the base model on."""
    parts = [_band([0], _values(base, benchmark, k, 0))] if base and _suits(base, benchmark, k, 0) else []
    policies = [policy for policy in group.policies(benchmark) if policy and _suits(group, benchmark, k, policy)]
    if not policies:
        return Band((), (), (), ())
    parts += [_band([policy], _values(group, benchmark, k, policy)) for policy in policies]
    rows = zip(*((one.steps, one.means, one.lows, one.highs) for one in parts), strict=True)
    steps, means, lows, highs = (tuple(value for part in row for value in part) for row in rows)
    return Band(steps, means, lows, highs)


def _suits(group: Group, benchmark: str, k: int, policy: int) -> bool:
    if policy not in group.policies(benchmark):
        return False
    return all(one.n_M.min() >= k and not one.graded for one in group.counts(benchmark, policy))


def _values(group: Group, benchmark: str, k: int, policy: int) -> FloatArray:
    """pass@k of each seed, shape (S, 1)."""
    means: FloatArray = group.passed(benchmark, k, policy).mean(axis=1, keepdims=True)
    return means


def _band(steps: Sequence[int], values_ST: FloatArray) -> Band:
    kept = np.isfinite(values_ST).all(axis=0)
    values_ST = values_ST[:, kept]
    columns = (values_ST.mean(axis=0), values_ST.min(axis=0), values_ST.max(axis=0)) if kept.any() else ([], [], [])
    return Band(tuple(np.array(steps)[kept].tolist()), *(tuple(np.asarray(one).tolist()) for one in columns))


def draw(found: Training, path: Path) -> None:
    """Four panels, a line per group."""
    size = (8.2 + beside([one.label for one in found.groups]), 6.2)
    with canvas(path, found.caption, 2, 2, size=size, sharex=True) as (figure, panels):
        for number, (name, title) in enumerate(PANELS.items()):
            panel = panels.flat[number]
            for group, look in zip(found.groups, looks([False] * len(found.groups)), strict=True):
                if name in group.measured:
                    panel.plot(group.lines[name].steps, group.lines[name].means, color=look.colour, alpha=0.3, lw=0.8)
                    _draw_points(panel, group.measured[name], look)
                else:
                    _draw_line(panel, group.lines[name], look, group.label)
            sizes = {group.group_size for group in found.groups}
            panel.set_ylabel(f"pass@{sizes.pop()}" if name == "pass@G" and len(sizes) == 1 else title)
            clean(panel)
        for panel in panels[-1]:
            panel.set_xlabel("step")
            whole_steps(panel)
        legend(figure, panels[0][0])


def _draw_line(panel: Any, line: Band, look: Look, label: str) -> None:
    every = max(len(line.steps) // 6, 1)
    panel.plot(line.steps, line.means, **look.line(label=label, markevery=(every // 2, every), markersize=3.5))
    panel.fill_between(line.steps, line.lows, line.highs, color=look.colour, alpha=0.10, linewidth=0)


def _draw_points(panel: Any, points: Band, look: Look) -> None:
    bars = [np.subtract(points.means, points.lows), np.subtract(points.highs, points.means)]
    panel.errorbar(points.steps, points.means, yerr=bars, capsize=2, elinewidth=0.9, **look.line(zorder=4))
