"""What an estimator gives to a group against how often the group is solved (figure 2 of the paper).

Of runs: what their estimators give to groups of every number of right answers. Of one step: what estimators make of its
rewards, `advantage --compare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.config import AdvantageConfig, RsGrpoConfig
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.pipeline.own_estimator import require_known
from rsgrpo_cli.pipeline.whatif import of_rewards
from rsgrpo_cli.studies.figures.inputs import Choices, trained
from rsgrpo_cli.studies.figures.style import canvas, clean, legend, look
from rsgrpo_cli.studies.groups import Group, of_one_seed
from rsgrpo_cli.studies.results import Result
from rsgrpo_cli.wording import counted

LARGE_ADVANTAGE, LARGE_WEIGHT = 20.0, 5.0
"""What goes beyond gets an axis that is logarithmic from 1 on, or all else would lie on zero."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The figure's numbers.

    Args:
        methods: One per line, as of `pipeline.whatif.compare`.
        binary: Whether rewards are 0 and 1, which has right and wrong answers.
        counted: Whether the groups are of a step, so that it counts how many there are at each place.
        caption: What it shows.
    """

    methods: tuple[dict[str, Any], ...]
    binary: bool
    counted: bool
    caption: str


def collect(groups: Sequence[Group], choices: Choices) -> Weights:
    """What the estimators of runs give to groups of every number of right answers, each of its own group size.

    Groups of one estimator and size are one line. A schedule has the beta of the run's last step. An estimator that
    looks at the earlier steps of its run gives no such line: it is left out, and the caption says so.

    Raises:
        MissingError: If a run was not trained.
        UsageError: If every estimator looks at earlier steps, or one is the user's own, which needs `choices.trust`.
        StaleError: If such a one has changed since a run was made with it.
    """
    found: dict[tuple[str, int], list[Group]] = {}
    for group in (shown := _without_history(trained(groups, "weights"))):
        member = group.members[0]
        runs = [Path(one.place or one.name) for one in group.members]
        require_known(member.config.advantage, runs, trust=choices.trust)
        found.setdefault((_estimator(member).model_dump_json(), member.config.rollout.group_size), []).append(group)
    methods = [_method(_label(alike), alike[0].members[0], size) for (_, size), alike in found.items()]
    sizes = " or ".join(map(str, sorted({size for _, size in found})))
    caption = f"Groups of {sizes} with every number of right answers, rewards 0 and 1, before any scaling of a step."
    caption += _told_scaled(shown) + _told_moving(shown)
    left_out = [group.label for group in groups if not group.is_base and group not in shown]
    if left_out:
        caption += f" Left out, since they depend on the steps before: {', '.join(left_out)}."
    return Weights(tuple(methods), True, False, caption)


def _without_history(groups: Sequence[Group]) -> list[Group]:
    shown = [group for group in groups if not group.members[0].config.advantage.LOOKS_BACK]
    if groups and not shown:
        member = groups[0].members[0]
        name = member.config.advantage.estimator
        at_one_step = f"look at one step: {member.command('advantage', '--compare', name)}"
        raise UsageError(
            f"{member.name}: what {name} gives to a group depends on the steps before",
            at_one_step if member.place else "name other groups",
        )
    return shown


def _estimator(member: Result) -> AdvantageConfig:
    """The settings of a run's estimator, without a scale, which depends on the other groups of a step."""
    cfg, beta = member.config.advantage, _last_beta(member)
    if isinstance(cfg, RsGrpoConfig) and beta is not None:
        cfg = RsGrpoConfig(beta=beta, denominator=cfg.denominator)
    return cfg.model_copy(update={"scale": "none"})


def _last_beta(member: Result) -> float | None:
    """The beta of the last step, where it has a schedule."""
    cfg = member.config.advantage
    if not isinstance(cfg, RsGrpoConfig) or cfg.schedule == "constant":
        return None
    return float(member.metrics[-1]["beta"]) if member.metrics else cfg.beta


def _told_moving(groups: Sequence[Group]) -> str:
    """Which beta stands for one that moves, as a sentence; "" where none does."""
    betas = {group.label: _last_beta(group.members[0]) for group in groups}
    told = ", ".join(f"{label} {beta:g}" for label, beta in betas.items() if beta is not None)
    of = "" if of_one_seed(groups) else " of the first seed"
    return f" A beta that moves is that of the last step{of}: {told}." if told else ""


def _told_scaled(groups: Sequence[Group]) -> str:
    """Which runs scale the advantages of a step, which this does not show, as a sentence; "" where none does."""
    scaled = [group.label for group in groups if group.members[0].config.advantage.scale != "none"]
    if not scaled:
        return ""
    these = "all of these" if len(scaled) == len(groups) else ", ".join(scaled)
    return f" In {these} the advantages of every step are scaled: compare the shapes of the lines, not their heights."


def _label(alike: Sequence[Group]) -> str:
    """What the labels of groups with one estimator have in common."""
    labels = [group.label for group in alike]
    if len(labels) == 1:
        return labels[0]
    parts = zip(*(label.split("-") for label in labels), strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, parts)]
    return "-".join(shared) or " = ".join(labels)


def _method(label: str, member: Result, size: int) -> dict[str, Any]:
    rows = [(right, place) for right in range(size + 1) for place in range(size)]
    table = pa.table(
        {
            "group_id": [f"{right:06d}" for right, _ in rows],
            "sample_index": pa.array([place for _, place in rows], pa.int32()),
            "reward": [float(place < right) for right, place in rows],
            "reward_status": ["ok"] * len(rows),
        }
    )
    (method,) = of_rewards(table, [(label, _estimator(member))])["methods"]
    return dict(method)


def of_step(result: dict[str, Any]) -> Weights:
    """The numbers of one step.

    Args:
        result: Of `pipeline.whatif.compare`.
    """
    caption = f"{counted(result['groups'], 'group')}, step {result['step']} of {Path(result['run']).name}."
    return Weights(tuple(result["methods"]), result["binary"], True, caption)


def draw(found: Weights, path: Path) -> None:
    """Advantages of right and wrong answers, and the weight of a group, against how often it is solved.

    Rewards other than 0/1 have no right and wrong: on the left, the advantage stands against the reward itself. The
    strips below say how many groups or completions of a step there are at each place.
    """
    size, labels = (8.8, 5.2 if found.counted else 4.2), [method["label"] for method in found.methods]
    rows, heights = (2, (5, 1)) if found.counted else (1, (1,))
    shape = {"sharex": "col", "height_ratios": heights}
    with canvas(path, found.caption, rows, 2, size=size, labels=labels, **shape) as (figure, panels):
        left, right = panels[0]
        _prepare(left, right, found.methods)
        for number, method in enumerate(found.methods):
            style = look(number).line()
            if found.binary:
                left.plot(*_columns(method["by_difficulty"], "mean_reward", "right"), **style)
                left.plot(*_columns(method["by_difficulty"], "mean_reward", "wrong"), **style, markerfacecolor="white")
            else:
                left.plot(*_columns(method["by_reward"], "reward", "advantage"), **style)
            right.plot(*_columns(method["by_difficulty"], "mean_reward", "weight"), **style, label=method["label"])
        for panel in panels.flat:
            clean(panel)
        left.set_title(
            "filled: a right answer, open: a wrong one" if found.binary else "means over neighbouring rewards",
            fontsize=10,
        )
        _name_places(panels, found)
        legend(figure, right)


def _name_places(panels: Any, found: Weights) -> None:
    """Name the axis of places, with the strips above it where groups are counted."""
    group = "accuracy of a group" if found.binary else "mean reward of a group"
    if found.counted:
        _strips(panels[1], found, group)
    else:
        for panel in panels[0]:
            panel.set_xlabel(group)


def _prepare(left: Any, right: Any, methods: Sequence[dict[str, Any]]) -> None:
    if max(max(abs(method["lowest"]), abs(method["highest"])) for method in methods) > LARGE_ADVANTAGE:
        left.set_yscale("symlog", linthresh=1.0)
    if max(point["weight"] for method in methods for point in method["by_difficulty"]) > LARGE_WEIGHT:
        right.set_yscale("symlog", linthresh=1.0)
    left.axhline(0, color="black", linewidth=0.8)
    right.axhline(0, color="black", linewidth=0.8)
    left.set_ylabel("advantage A")
    right.set_ylabel("weight of a group: mean |A|")


def _columns(points: list[dict[str, Any]], x: str, y: str) -> tuple[list[float], list[float]]:
    there = [point for point in points if point[y] is not None]
    return [point[x] for point in there], [point[y] for point in there]


def _strips(panels: Any, found: Weights, label: str) -> None:
    """How much there is at each place: a weight counts only where groups are."""
    first = found.methods[0]
    groups = _columns(first["by_difficulty"], "mean_reward", "groups")
    shown = [(groups, label, "groups"), (groups, label, "groups")]
    if not found.binary:
        shown[0] = _columns(first["by_reward"], "reward", "completions"), "reward of a completion", "completions"
    for panel, ((places, counts), xlabel, ylabel) in zip(panels, shown, strict=True):
        width = 0.6 * min((b - a for a, b in pairwise(places)), default=0.05)
        panel.bar(places, counts, width=width, color="#777777")
        panel.yaxis.get_major_locator().set_params(integer=True)
        panel.set(xlabel=xlabel, ylabel=ylabel)
