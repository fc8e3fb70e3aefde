"""What training did step by step: cumulative solve rate, reward, pass@1 and pass@G (figures 5 and 6 of the paper).

Grades have a reward alone: a panel that no group has anything for is left out.

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
from rsgrpo_cli.run.run_commands import choose_benchmark
from rsgrpo_cli.studies.comparable import ending, require_comparable
from rsgrpo_cli.studies.figures.inputs import Choices, trained, with_base
from rsgrpo_cli.studies.figures.style import Look, canvas, clean, legend, looks, whole_steps
from rsgrpo_cli.studies.groups import Group, of_one_seed, told_seeds
from rsgrpo_cli.studies.kept import then_keep_anew
from rsgrpo_cli.studies.results import has_grades
from rsgrpo_cli.wording import counted

FloatArray = NDArray[np.float64]
PANELS = {
    "cumulative_solve_rate": "problems solved so far",
    "reward_mean": "training reward",
    "pass@1": "pass@1",
    "pass@G": "pass@G",
}
_PLACES = {
    "cumulative_solve_rate": "upper left",
    "reward_mean": "upper right",
    "pass@1": "below",
    "pass@G": "below",
}
"""Where the panels are, if none is left out."""
LONGEST_WINDOW = 10
"""Steps that a running mean is over at most, unless told."""
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
        measured: Metric -> evaluated by policy: pass@1 and pass@G, of grades the mean reward; empty where there are no
            evaluations.
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
        UsageError: If several benchmarks were evaluated and none is chosen, or a running mean is over more steps than
            a run has.
    """
    chosen = trained(groups, "training")
    benchmark = _benchmark(chosen, choices.benchmark)
    base = next((group for group in with_base(groups) if group.is_base), None)
    measured = [group for group in (base, *chosen) if group and benchmark in _evaluated([group])]
    if measured:
        require_comparable(measured, [benchmark], newest=False, verdicts=False)
    graded = any(_has_grades(group, benchmark) for group in measured)
    smooth = _window(chosen, choices.smooth)
    found = tuple(_trained(group, base, benchmark, smooth, graded=graded) for group in chosen)
    caption = _caption(found, benchmark, smooth, told_seeds(chosen), one_seed=of_one_seed(chosen))
    caption += "; grades have no pass@k" if graded or "pass@1" not in _shown(found) else ""
    return Training(found, f"{caption}.{ending(measured, [benchmark], newest=False, on_the_way=True)}")


def _window(groups: Sequence[Group], asked: int | None) -> int:
    """The steps of a running mean: short where a run is short, since it lags behind by half of them."""
    shortest = min((member for group in groups for member in group.members), key=lambda member: len(member.metrics))
    steps = len(shortest.metrics)
    if asked is not None and 0 < steps < asked:
        raise UsageError(
            f"--smooth {asked} is over more steps than {shortest.name} has, which is {steps}",
            "leave it out, or give a smaller one: a tenth of the steps lags behind little",
        )
    return asked or min(max(steps // 10, 1), LONGEST_WINDOW)


def _caption(found: Sequence[Trained], benchmark: str, smooth: int, seeds: str, *, one_seed: bool) -> str:
    shown = _shown(found)
    places = _PLACES if len(shown) == len(PANELS) else {name: _title(name, found) for name in shown}
    caption = seeds + ("" if one_seed else "; lines: means over seeds, bands: the range of the seeds")
    if smooth > 1:
        raw = [places[name] for name in _NOT_SMOOTHED if name in shown]
        caption += f"; {''.join(f'all but the {place}: ' for place in raw)}running means over {counted(smooth, 'step')}"
    measured = dict.fromkeys(places[name] for name in shown if any(name in one.measured for one in found))
    if measured:
        where = f"{' and '.join(measured)}: " if len(shown) > 1 else ""
        bars = "" if one_seed else ", bars: the range of the seeds"
        caption += f"; {where}evaluated on {benchmark}{bars}, and pale: on the training batches"
    return caption


def _shown(found: Sequence[Trained]) -> list[str]:
    """The panels in which some group has something; all of them where no group has anything."""
    shown = [name for name in PANELS if any(one.lines[name].steps or name in one.measured for one in found)]
    return shown or list(PANELS)


def _has_grades(group: Group, benchmark: str) -> bool:
    """Whether evaluations are of grades; those of a run that was trained on grades may have come to 0 and 1 alone."""
    evaluated = [(member, one) for member in group.members for one in member.evaluations if one.benchmark == benchmark]
    return any(one.graded or (one.reward_M is not None and has_grades(member.metrics)) for member, one in evaluated)


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


def _graders(group: Group, benchmark: str) -> set[str]:
    """What its evaluations were graded by: a mean reward by another function is on another scale."""
    return {one.verifier for member in group.members for one in member.evaluations if one.benchmark == benchmark}


def _trained(group: Group, base: Group | None, benchmark: str, smooth: int, *, graded: bool) -> Trained:
    lines = {name: _line(group, name, 1 if name in _NOT_SMOOTHED else smooth) for name in PANELS}
    size = group.members[0].config.rollout.group_size
    ks = {} if _has_grades(group, benchmark) else {"pass@1": 1, "pass@G": size}
    measured = {name: _measured(group, base, benchmark, k) for name, k in ks.items()}
    if graded:
        start = base if base and _graders(base, benchmark) <= _graders(group, benchmark) else None
        measured["reward_mean"] = _measured(group, start, benchmark, None)
    return Trained(group.label, size, lines, {name: one for name, one in measured.items() if one.steps})


def _line(group: Group, name: str, smooth: int) -> Band:
    rows = []
    for member in group.members:
        if not member.metrics:
            hint = then_keep_anew(f"train it: {member.command('train')}", [member])
            raise MissingError(f"{member.name} has no metrics of its training", hint)
        rows.append([np.nan if row[name] is None else row[name] for row in member.metrics])
    length = min(map(len, rows))
    values_ST = np.stack([running_mean(np.array(row[:length], dtype=float), smooth) for row in rows])
    # What a batch came to stands at the policy that sampled it, where that policy's evaluation stands too; what has
    # been solved so far stands behind the step.
    ahead = 1 if name in _NOT_SMOOTHED else 0
    return _band([row["step"] + ahead for row in group.members[0].metrics[:length]], values_ST)


def running_mean(values_T: FloatArray, steps: int) -> FloatArray:
    """The mean of each value and those before it, `steps` in all, of those that are known; NaN where there are fewer.

    Args:
        values_T: Values, NaN where unknown.
        steps: 1 or more.
    """
    known_T = np.isfinite(values_T)
    sums, counts = np.cumsum(np.where(known_T, values_T, 0.0)), np.cumsum(known_T)
    sums[steps:], counts[steps:] = sums[steps:] - sums[:-steps], counts[steps:] - counts[:-steps]
    means_T: FloatArray = np.divide(sums, counts, out=np.full(len(values_T), np.nan), where=counts > 0)
    means_T[: steps - 1] = np.nan
    return means_T


def _measured(group: Group, base: Group | None, benchmark: str, k: int | None) -> Band:
    """What the policies that every seed has with as many samples came to, from the base model on.

    Args:
        group: The group.
        base: The base model.
        benchmark: On what.
        k: Of pass@k; None is the mean reward.
    """
    parts = [_band([0], _values(base, benchmark, k, 0))] if base and _suits(base, benchmark, k, 0) else []
    policies = [policy for policy in group.policies(benchmark) if policy and _suits(group, benchmark, k, policy)]
    if not policies:
        return Band((), (), (), ())
    parts += [_band([policy], _values(group, benchmark, k, policy)) for policy in policies]
    rows = zip(*((one.steps, one.means, one.lows, one.highs) for one in parts), strict=True)
    steps, means, lows, highs = (tuple(value for part in row for value in part) for row in rows)
    return Band(steps, means, lows, highs)


def _suits(group: Group, benchmark: str, k: int | None, policy: int) -> bool:
    if policy not in group.policies(benchmark):
        return False
    found = group.counts(benchmark, policy)
    if k is None:
        return all(one.reward_M is not None for one in found)
    return all(one.n_M.min() >= k and not one.graded for one in found)


def _values(group: Group, benchmark: str, k: int | None, policy: int) -> FloatArray:
    """pass@k, or the mean reward without k, of each seed, shape (S, 1)."""
    if k is None:
        known = [one.reward_M for one in group.counts(benchmark, policy) if one.reward_M is not None]
        return np.array([[np.nanmean(reward_M)] for reward_M in known])
    means: FloatArray = group.passed(benchmark, k, policy).mean(axis=1, keepdims=True)
    return means


def _band(steps: Sequence[int], values_ST: FloatArray) -> Band:
    kept = np.isfinite(values_ST).all(axis=0)
    values_ST = values_ST[:, kept]
    columns = (values_ST.mean(axis=0), values_ST.min(axis=0), values_ST.max(axis=0)) if kept.any() else ([], [], [])
    return Band(tuple(np.array(steps)[kept].tolist()), *(tuple(np.asarray(one).tolist()) for one in columns))


def draw(found: Training, path: Path) -> None:
    """A panel for each metric that there is, a line per group."""
    shown = _shown(found.groups)
    columns, rows = (2, 2) if len(shown) == len(PANELS) else (len(shown), 1)
    size, labels = (4.1 * columns, 3.1 * rows), [one.label for one in found.groups]
    with canvas(path, found.caption, rows, columns, size=size, labels=labels, sharex=True) as (figure, panels):
        for name, panel in zip(shown, panels.flat, strict=True):
            for group, look in zip(found.groups, looks([False] * len(found.groups)), strict=True):
                if name in group.measured:
                    panel.plot(group.lines[name].steps, group.lines[name].means, color=look.colour, alpha=0.3, lw=0.8)
                    _draw_points(panel, group.measured[name], look, group.label)
                else:
                    _draw_line(panel, group.lines[name], look, group.label)
            panel.set_ylabel(_title(name, found.groups))
            clean(panel)
        for panel in panels[-1]:
            panel.set_xlabel("step")
            whole_steps(panel)
        legend(figure, panels[0][0])


def _title(name: str, groups: Sequence[Trained]) -> str:
    sizes = {group.group_size for group in groups}
    if name == "pass@G" and len(sizes) == 1:
        return f"pass@{sizes.pop()}"
    measured = any(name in group.measured for group in groups)
    return "reward" if name == "reward_mean" and measured else PANELS[name]


def _draw_line(panel: Any, line: Band, look: Look, label: str) -> None:
    every = max(len(line.steps) // 6, 1)
    panel.plot(line.steps, line.means, **look.line(label=label, markevery=(every // 2, every), markersize=3.5))
    panel.fill_between(line.steps, line.lows, line.highs, color=look.colour, alpha=0.10, linewidth=0)


def _draw_points(panel: Any, points: Band, look: Look, label: str) -> None:
    bars = np.stack([np.subtract(points.means, points.lows), np.subtract(points.highs, points.means)])
    panel.errorbar(points.steps, points.means, yerr=bars, capsize=2, elinewidth=0.9, **look.line(label=label, zorder=4))
