"""The house style: colours, markers and lines that tell groups apart one by one, captions, and where legends go."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import Any

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.report.figures import BASE_COLOUR, COLOURS, check_drawable, pyplot, save

MARKERS = "osD^vPX<"
STYLES = ("-", "--", "-.", ":")
LOOKS = lcm(len(COLOURS), len(MARKERS), len(STYLES))
"""The number of different looks. One more group would repeat the first."""
CAPTION = 7.5
"""Points of the caption's letters."""
_PER_INCH = 16
"""Letters of the caption that fit into an inch."""
_LINE = 1.35 * CAPTION / 72
"""Inches that a line of the caption takes."""
_ENTRY = 0.178
"""Inches that an entry of a legend takes."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a group is drawn: any one of colour, marker and line tells it from its neighbours, also in grey.

    Args:
        colour: Of all of it.
        marker: Of its points.
        style: Of its line.
    """

    colour: str
    marker: str
    style: Any

    def line(self, **other: Any) -> dict[str, Any]:
        """Arguments of `Axes.plot`."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.style,
            "markersize": 7 if self.colour == BASE_COLOUR else 4.5,
            "linewidth": 1.4,
            **other,
        }


BASE_LOOKS = tuple(
    Look(BASE_COLOUR, marker, style) for marker, style in zip("*phd", ("--", ":", "-.", "-"), strict=True)
)


def look(number: int) -> Look:
    """The look of the group at a place in the order."""
    return Look(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], STYLES[number % len(STYLES)])


def looks(are_base: Sequence[bool]) -> list[Look]:
    """A look for each group: grey for the base models, each with a marker of its own, the others in order."""
    made, number, bases = [], 0, 0
    for is_base in are_base:
        made.append(BASE_LOOKS[bases % len(BASE_LOOKS)] if is_base else look(number))
        number, bases = number + (not is_base), bases + is_base
    return made


@contextmanager
def canvas(
    path: Path,
    caption: str,
    rows: int = 1,
    columns: int = 1,
    *,
    size: tuple[float, float],
    labels: Sequence[str] = (),
    **options: Any,
) -> Iterator[tuple[Any, Any]]:
    """A figure and its panels, written to a file at the end of the block.

    Args:
        path: A .svg, .png or .pdf file.
        caption: What stands below, in full sentences.
        rows: Of panels.
        columns: Of panels.
        size: Width and height of the panels in inches.
        labels: Of the legend beside them, for which the figure is wider and, where it is long, taller.
        options: Further arguments of `pyplot.subplots`.

    Yields:
        The figure and an array of panels, shape (rows, columns).

    Raises:
        UsageError: If the name's ending is not a picture's, or the legend has groups that would look alike.
        DependencyError: If matplotlib is not installed.
    """
    check_drawable(path)
    _require_told_apart(labels)
    plt = pyplot()
    width = size[0] + (_beside(labels) if labels else 0)
    lines = textwrap.wrap(caption, int(width * _PER_INCH))
    height = max(size[1], _ENTRY * len(labels) + _LINE * len(lines) + 0.4)
    options |= {"figsize": (width, height), "layout": "constrained", "squeeze": False}
    figure, panels = plt.subplots(rows, columns, **options)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    try:
        yield figure, panels
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=CAPTION, color="#444444")
        save(figure, path)
    finally:
        plt.close(figure)


def clean(panel: Any) -> None:
    """A faint grid and no box."""
    panel.grid(alpha=0.25)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def whole_steps(panel: Any) -> None:
    """Ticks at whole numbers: there is no step 0.5."""
    panel.xaxis.get_major_locator().set_params(integer=True)


def _beside(labels: Sequence[str]) -> float:
    """Inches that a legend of these labels takes."""
    return 0.9 + 0.07 * max(map(len, labels))


def _require_told_apart(labels: Sequence[str]) -> None:
    """Refuse a legend in which two groups look alike.

    Raises:
        UsageError: If there are too many.
    """
    if len(labels) > LOOKS:
        raise UsageError(
            f"a figure has colours and markers for {LOOKS} groups, and these are {len(labels)}",
            "draw some of them: name their runs or files, of a sweep SWEEP/beta8* for example",
        )


def note(panel: Any, text: str, place: tuple[float, float], colour: str) -> None:
    """A small text beside a point, with a white rim so that it can be read on a line."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2, foreground="white")]
    panel.annotate(
        text, place, (4, 4), textcoords="offset points", fontsize=7, color=colour, path_effects=rim, zorder=5
    )


def legend(figure: Any, panel: Any) -> None:
    """Beside the panels, where it covers nothing."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8.5, handlelength=3.2)
