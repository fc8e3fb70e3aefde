"""How often problems were solved before and after: accuracy of a baseline and of a policy (figure 7, right).

Shape suffix: M problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.studies.comparable import ending
from rsgrpo_cli.studies.figures.inputs import (
    Choices,
    about,
    baseline_group,
    one_benchmark,
    require_equal_samples,
    with_base,
)
from rsgrpo_cli.studies.figures.style import canvas
from rsgrpo_cli.studies.groups import Group, Pair, by_seed, told_together
from rsgrpo_cli.studies.results import Counts
from rsgrpo_cli.wording import counted

BINS = ("0", "(0, 0.4]", "(0.4, 0.8]", "(0.8, 1]")
_ENDS = (4, 8)
"""Of the bins in the middle, in tenths."""
_ROW = 4
"""Panels beside each other."""


@dataclass(frozen=True, slots=True)
class Heat:
    """A panel.

    Args:
        label: The group.
        counts: Problems by bin of the baseline (rows) and of the group (columns), per seed on average.
        problems: Of the benchmark.
    """

    label: str
    counts: tuple[tuple[float, ...], ...]
    problems: int


@dataclass(frozen=True, slots=True)
class Transitions:
    """The figure's numbers.

    Args:
        baseline: The group that the rows are of.
        bins: The bins of accuracy.
        panels: One per other group.
        caption: What it shows.
    """

    baseline: str
    bins: tuple[str, ...]
    panels: tuple[Heat, ...]
    caption: str


def collect(groups: Sequence[Group], choices: Choices) -> Transitions:
    """The transitions from the baseline to every other group, seed by seed.

    Seeds that the baseline lacks are left out; a group that has no seed of it is compared with the baseline's first.

    Raises:
        MissingError: If the groups share no benchmark, or nobody evaluated the base model and no baseline is named.
        UsageError: If they differ in the number of samples, or there is nothing to compare.
    """
    groups = with_base(groups)
    benchmark = one_benchmark(groups, choices.benchmark)
    baseline = baseline_group(groups, choices.baseline, "transitions", benchmark)
    others = [group for group in groups if group is not baseline and (not group.is_base or choices.baseline is None)]
    if not others:
        raise UsageError(f"transitions compares groups, and {baseline.label} is the only one", "name another run")
    samples = require_equal_samples([baseline, *others], benchmark, "accuracies")
    paired = {group.label: by_seed(group, baseline.members, baseline.label) for group in others}
    panels = tuple(_heat(label, pairs, benchmark) for label, (pairs, _) in paired.items())
    caption = (
        f"{about([baseline, *others], benchmark)}. Accuracy: the share of a problem's {counted(samples, 'sample')} "
        f"that is right. Each problem is in the row of its accuracy under {baseline.label} and in the column of that "
        "under the group; the bin 0 has none right, (0, 0.4] some and at most 0.4, and so on. In a cell: "
        "problems per seed on average, and their share of all; shade: share of the row."
    )
    unpaired = told_together({label: told for label, (_, told) in paired.items()})
    caption += f" {unpaired}." if unpaired else ""
    caption += ending([baseline, *others], [benchmark])
    return Transitions(baseline.label, BINS, panels, caption)


def _heat(label: str, pairs: Sequence[Pair], benchmark: str) -> Heat:
    counts = [(before.counts(benchmark), after.counts(benchmark)) for after, before in pairs]
    total = np.zeros((len(BINS), len(BINS)))
    for before, after in counts:
        np.add.at(total, (bins(before), bins(after)), 1)
    mean = total / len(pairs)
    return Heat(label, tuple(map(tuple, mean.tolist())), len(counts[0][0].n_M))


def bins(counts: Counts) -> NDArray[np.int64]:
    """The bin of each problem, shape (M,); in whole numbers, so that 2 of 5 is 0.4."""
    tenths_M = 10 * counts.correct_M
    above = sum((tenths_M > end * counts.n_M).astype(np.int64) for end in _ENDS)
    return np.where(counts.correct_M == 0, 0, 1 + above)


def draw(found: Transitions, path: Path) -> None:
    """A heat map per group, with counts and shares in its cells; the shade is the share of the row."""
    across = min(len(found.panels), _ROW)
    down = ceil(len(found.panels) / _ROW)
    size = (max(2.6 * across + 0.6, 4.6), 2.7 * down + 0.8)
    with canvas(path, found.caption, down, across, size=size, sharex=True, sharey=True) as (_, panels):
        for panel in panels.flat[len(found.panels) :]:
            panel.set_visible(False)
        for panel, heat in zip(panels.flat, found.panels, strict=False):
            _draw_heat(panel, heat, found.bins)
        for place, panel in enumerate(panels.flat):
            if place % across == 0:
                panel.set_ylabel(f"accuracy of {found.baseline}")
            if place >= len(found.panels) - across:
                panel.set_xlabel("accuracy of the group")
                panel.tick_params(labelbottom=True)


def _draw_heat(panel: Any, heat: Heat, names: Sequence[str]) -> None:
    counts = np.array(heat.counts)
    rows = counts.sum(axis=1, keepdims=True)
    shade = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
    panel.imshow(shade, cmap="Blues", vmin=0, vmax=1, origin="lower", aspect="equal")
    for (row, column), count in np.ndenumerate(counts):
        told = f"{count:.4g}\n{count / heat.problems:.1%}" if count else "0"
        dark = shade[row, column] > 0.55
        panel.text(column, row, told, ha="center", va="center", fontsize=7, color="white" if dark else "#222222")
    panel.set_xticks(range(len(names)), names, fontsize=7)
    panel.set_yticks(range(len(names)), names, fontsize=7, rotation=90, va="center")
    panel.tick_params(length=0)
    panel.set_title(heat.label, fontsize=9)
