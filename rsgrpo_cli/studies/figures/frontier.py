"""pass@k at a small and at a large k, against each other: what a method gains at one and pays at the other.

One line per method: through its policies, or, with `Choices.along`, through the values of a setting.

Shape suffix: S seeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.run.run_dir import WHOLE
from rsgrpo_cli.studies.comparable import ending
from rsgrpo_cli.studies.figures.inputs import Choices, about, fewest_samples, one_benchmark, with_base
from rsgrpo_cli.studies.figures.style import Look, canvas, clean, legend, looks, note
from rsgrpo_cli.studies.grid import spelled
from rsgrpo_cli.studies.groups import Group, bases_of, of_one_seed
from rsgrpo_cli.studies.labels import differing
from rsgrpo_cli.studies.results import Counts, Result

LARGEST = 256
"""The larger k unless told, where there are as many samples."""


@dataclass(frozen=True, slots=True)
class Point:
    """A group at one policy; one number per seed each.

    Args:
        at: What tells it from the other points of its line: the policy, or the setting's value.
        x_S: pass@k at the smaller k.
        y_S: pass@k at the larger k.
    """

    at: str
    x_S: tuple[float, ...]
    y_S: tuple[float, ...]

    @property
    def mean(self) -> tuple[float, float]:
        """Over seeds."""
        return float(np.mean(self.x_S)), float(np.mean(self.y_S))


@dataclass(frozen=True, slots=True)
class Line:
    """A method.

    Args:
        label: What it is called.
        is_base: Whether it is the base model, a single point.
        points: In the order of the line.
        pulled_back: Weights between the base model's and the newest policy's, from the base model on.
        start: The base model that it started from, where that is there.
    """

    label: str
    is_base: bool
    points: tuple[Point, ...]
    pulled_back: tuple[Point, ...] = ()
    start: Point | None = None


@dataclass(frozen=True, slots=True)
class Frontier:
    """The figure's numbers.

    Args:
        ks: The two values of k.
        lines: The methods.
        along: The setting that lines go through; None for policies.
        caption: What it shows.
    """

    ks: tuple[int, int]
    lines: tuple[Line, ...]
    along: str | None
    caption: str


def collect(groups: Sequence[Group], choices: Choices) -> Frontier:
    """The lines of groups.

    Raises:
        UsageError: If there are not two values of k, a run has fewer samples, or no groups differ in `along` alone.
    """
    groups = with_base(groups)
    newest = choices.along is not None
    benchmark = one_benchmark(groups, choices.benchmark, newest=newest)
    ks = _two(choices.k, fewest_samples(groups, benchmark, newest=newest))
    base = [_trajectory(group, benchmark, ks) for group in groups if group.is_base]
    others = [group for group in groups if not group.is_base]
    if choices.along is None:
        lines = [_from_base(group, groups, benchmark, ks) for group in others]
        through = "lines: from the base model through the evaluated policies; large: the newest"
    else:
        lines = _through_a_setting(others, benchmark, ks, choices.along)
        through = f"lines: through the values of {choices.along}, written at the points"
    if any(line.pulled_back for line in lines):
        through += "; dotted: weights between the base model's and the policy's"
    if not of_one_seed(groups):
        through = f"means over seeds; {through}; smallest, off the lines: single seeds"
    caption = f"{about(groups, benchmark)}; {through}."
    caption += ending(groups, [benchmark], on_the_way=not newest)
    return Frontier(ks, (*base, *lines), choices.along, caption)


def _two(asked: tuple[int, ...], samples: int) -> tuple[int, int]:
    ks = asked or (1, min(LARGEST, samples))
    if len(ks) != 2:
        told = f"not {','.join(map(str, ks))}" if len(ks) != 1 else "not one"
        raise UsageError(f"frontier draws one k against another: it needs two, {told}", "write --k 1,256")
    return ks[0], ks[1]


def _point(group: Group, benchmark: str, ks: tuple[int, int], policy: int | None, at: str) -> Point:
    x_S, y_S = (tuple(group.passed(benchmark, k, policy).mean(axis=1).tolist()) for k in ks)
    return Point(at, x_S, y_S)


def _trajectory(group: Group, benchmark: str, ks: tuple[int, int]) -> Line:
    """Through the policies that were evaluated of every seed; a single point where there are several of none."""
    policies = [policy for policy in group.policies(benchmark) if policy or group.is_base]
    chosen: list[int | None] = [*policies] or [None]
    points = (_point(group, benchmark, ks, one, "newest" if one is None else str(one)) for one in chosen)
    return Line(group.label, group.is_base, tuple(points), _pulled_back(group, benchmark, ks))


def _from_base(group: Group, groups: Sequence[Group], benchmark: str, ks: tuple[int, int]) -> Line:
    """The same of a group that was trained, with the base model among the groups that it started from."""
    line, bases = _trajectory(group, benchmark, ks), bases_of(group, groups)
    return replace(line, start=_trajectory(bases[0], benchmark, ks).points[-1]) if bases else line


def _pulled_back(group: Group, benchmark: str, ks: tuple[int, int]) -> tuple[Point, ...]:
    """The newest policy at the interpolations at which every seed has it."""
    found = [_interpolated(member, benchmark) for member in group.members]
    places = sorted(set.intersection(*(set(one) for one in found)))
    points = []
    for at in places:
        x_S, y_S = (tuple(float(pass_at_k(one[at].n_M, one[at].correct_M, k).mean()) for one in found) for k in ks)
        points.append(Point(f"{at:g}", x_S, y_S))
    return tuple(points)


def _interpolated(member: Result, benchmark: str) -> dict[float, Counts]:
    there = [one for one in member.evaluations if one.benchmark == benchmark and one.interpolation != WHOLE]
    return {one.interpolation: one for one in there if one.policy == member.steps}


def _through_a_setting(groups: Sequence[Group], benchmark: str, ks: tuple[int, int], along: str) -> list[Line]:
    """A line for all groups that are equal but for the setting, in the order of its values.

    Raises:
        UsageError: If no two groups differ in it.
    """
    all_of = differing([group.members[0] for group in groups]) if groups else {}
    if along not in all_of:
        known = ", ".join(name for name in all_of if name != "policy") or "none"
        raise UsageError(f"these groups do not differ in {along}", f"settings in which they differ: {known}")
    values = {group.label: value for group, value in zip(groups, all_of[along], strict=True)}
    rest = {name: row for name, row in all_of.items() if name != along}
    made: dict[str, list[Group]] = {}
    for number, group in enumerate(groups):
        made.setdefault(json.dumps({name: row[number] for name, row in rest.items()}), []).append(group)
    return [_line(members, benchmark, ks, values, along) for members in made.values()]


def _line(members: list[Group], benchmark: str, ks: tuple[int, int], values: Mapping[str, Any], along: str) -> Line:
    ordered = sorted(members, key=lambda group: (isinstance(values[group.label], str), values[group.label] or 0))
    points = tuple(_point(group, benchmark, ks, None, spelled(values[group.label])) for group in ordered)
    return Line(_without(along, values, ordered), False, points)


def _without(along: str, values: Mapping[str, Any], members: list[Group]) -> str:
    """The label of a line: of its groups, without the setting that it goes through."""
    name = re.escape(along.rpartition(".")[2])
    parts = [rf"[-_ ]?(?:{name}-?)?{re.escape(spelled(values[one.label]))}(?=[-_ ]|$)" for one in members]
    labels = [re.sub(part, "", one.label, count=1) for part, one in zip(parts, members, strict=True)]
    return (labels[0].strip("-_ ") or along) if len(set(labels)) == 1 else " / ".join(one.label for one in members)


def draw(found: Frontier, path: Path) -> None:
    """A line per method; the base model is a star."""
    labels = [line.label for line in found.lines]
    with canvas(path, found.caption, size=(5.6, 4.8), labels=labels) as (figure, ((panel,),)):
        chosen = looks([line.is_base for line in found.lines])
        if any(line.pulled_back for line in found.lines):  # dots are for these alone
            chosen = [replace(look, style="-") for look in chosen]
        for line, look in zip(found.lines, chosen, strict=True):
            if line.is_base:
                _draw_base(panel, line, look)
            else:
                _draw_line(panel, line, look, found.along)
        small, large = found.ks
        panel.set(xlabel=f"pass@{small}", ylabel=f"pass@{large}")
        clean(panel)
        legend(figure, panel)


def _draw_base(panel: Any, line: Line, look: Look) -> None:
    point = line.points[-1]
    panel.scatter(point.x_S, point.y_S, marker="*", s=28, facecolors="none", edgecolors=look.colour, linewidths=0.7)
    panel.plot(*point.mean, **look.line(label=line.label, linestyle="none", markersize=13), zorder=4)


def _draw_line(panel: Any, line: Line, look: Look, along: str | None) -> None:
    means = [point.mean for point in line.points]
    shown = [line.start.mean, *means] if line.start else means
    panel.plot(*zip(*shown, strict=True), color=look.colour, linestyle=look.style, linewidth=1.3)
    *before, last = line.points
    if before:
        earlier = {"markersize": 4, "markerfacecolor": "white", "linestyle": "none"}
        panel.plot(*zip(*means[:-1], strict=True), **look.line(**(earlier if along is None else {"linestyle": "none"})))
    panel.plot(*last.mean, **look.line(label=line.label, markersize=7.5 if along is None else 4.5), zorder=3)
    for point in line.points if along else (last,):
        if len(point.x_S) > 1:
            _draw_seeds(panel, point, look)
    if along:
        for point in line.points:
            note(panel, point.at, point.mean, look.colour)
    if line.pulled_back:
        back = [*(point.mean for point in line.pulled_back), last.mean]
        back = [line.start.mean, *back] if line.start and line.pulled_back[0].at != "0" else back
        panel.plot(*zip(*back, strict=True), color=look.colour, linestyle=":", linewidth=1.2, marker=".", markersize=4)


def _draw_seeds(panel: Any, point: Point, look: Look) -> None:
    panel.scatter(
        point.x_S, point.y_S, marker=look.marker, s=14, facecolors="none", edgecolors=look.colour, linewidths=0.7
    )
