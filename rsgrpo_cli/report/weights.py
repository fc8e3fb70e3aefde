"""How estimators weigh the same groups: the picture of `advantage --compare`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from rsgrpo_cli.report.figures import COLOURS, check_drawable, pyplot, save

MARKERS = "osD^vPX*"
STYLES = ("-", "--", "-.", ":")
LARGE_ADVANTAGE, LARGE_WEIGHT = 20.0, 5.0
"""What goes beyond gets an axis that is logarithmic from 1 on, or all else would lie on zero."""


def weights_figure(result: dict[str, Any], path: Path) -> None:
    """Advantages of right and wrong answers, and the weight of a group, against how often it is solved.

    Rewards other than 0/1 have no right and wrong: on the left, the advantage stands against the reward itself. The
    strips below say how many groups or completions there are at each place.

    Args:
        result: Of `pipeline.whatif.compare`.
        path: A .svg, .png or .pdf file.
    """
    check_drawable(path)
    plt = pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(11, 5), layout="constrained", sharex="col", height_ratios=(5, 1))
    (left, right), strips = axes
    _prepare(left, right, result["methods"])
    for number, method in enumerate(result["methods"]):
        style = look(number)
        if result["binary"]:
            left.plot(*_columns(method["by_difficulty"], "mean_reward", "right"), **style)
            left.plot(*_columns(method["by_difficulty"], "mean_reward", "wrong"), **style, markerfacecolor="white")
        else:
            left.plot(*_columns(method["by_reward"], "reward", "advantage"), **style)
        right.plot(*_columns(method["by_difficulty"], "mean_reward", "weight"), **style, label=method["label"])
    _strips(strips, result)
    for panel in axes.flat:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    title = "filled: a right answer, open: a wrong one" if result["binary"] else "means over neighbouring rewards"
    left.set_title(title, fontsize=10)
    right.set_title(f"{result['groups']} groups, step {result['step']} of {Path(result['run']).name}", fontsize=10)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    save(figure, path)
    plt.close(figure)


def _prepare(left: Any, right: Any, methods: list[dict[str, Any]]) -> None:
    if max(max(abs(method["lowest"]), abs(method["highest"])) for method in methods) > LARGE_ADVANTAGE:
        left.set_yscale("symlog", linthresh=1.0)
    if max(point["weight"] for method in methods for point in method["by_difficulty"]) > LARGE_WEIGHT:
        right.set_yscale("symlog", linthresh=1.0)
    left.axhline(0, color="black", linewidth=0.8)
    right.axhline(0, color="black", linewidth=0.8)
    left.set_ylabel("advantage A")
    right.set_ylabel("weight of a group: mean |A|")


def look(number: int) -> dict[str, Any]:
    """Told apart by colour, marker and line, so that any one of them will do."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": STYLES[number % len(STYLES)],
        "markersize": 4.5,
        "linewidth": 1.4,
    }


def _columns(points: list[dict[str, Any]], x: str, y: str) -> tuple[list[float], list[float]]:
    there = [point for point in points if point[y] is not None]
    return [point[x] for point in there], [point[y] for point in there]


def _strips(panels: Any, result: dict[str, Any]) -> None:
    """How much there is at each place: a weight counts only where groups are."""
    first = result["methods"][0]
    groups = _columns(first["by_difficulty"], "mean_reward", "groups")
    label = "accuracy of a group" if result["binary"] else "mean reward of a group"
    shown = [(groups, label, "groups"), (groups, label, "groups")]
    if not result["binary"]:
        shown[0] = _columns(first["by_reward"], "reward", "completions"), "reward of a completion", "completions"
    for panel, ((places, counts), xlabel, ylabel) in zip(panels, shown, strict=True):
        width = 0.6 * min((b - a for a, b in pairwise(places)), default=0.05)
        panel.bar(places, counts, width=width, color="#777777")
        panel.yaxis.get_major_locator().set_params(integer=True)
        panel.set(xlabel=xlabel, ylabel=ylabel)
