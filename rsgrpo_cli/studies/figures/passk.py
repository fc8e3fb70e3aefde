"""pass@k against k, a line per group (figure 4 of the paper).

Shape suffixes: L values of k, S seeds, M problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsgrpo_cli.core.crossed_bootstrap import crossed_intervals
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.report.evaluations import Evaluation
from rsgrpo_cli.studies.comparable import ending
from rsgrpo_cli.studies.figures.inputs import Choices, about, one_benchmark, with_base
from rsgrpo_cli.studies.figures.style import canvas, clean, legend, looks
from rsgrpo_cli.studies.groups import Group, intervals_over


@dataclass(frozen=True, slots=True)
class Curve:
    """A line.

    Args:
        label: What it is of.
        is_base: Whether that is the base model.
        ks: Values of k, rising.
        values: pass@k.
        lows, highs: Ends of its 95% intervals; empty where there are none.
    """

    label: str
    is_base: bool
    ks: tuple[int, ...]
    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PassK:
    """The figure's numbers.

    Args:
        curves: The lines.
        caption: What they are.
    """

    curves: tuple[Curve, ...]
    caption: str


def collect(groups: Sequence[Group], choices: Choices) -> PassK:
    """The curves of groups, each up to its own number of samples unless values of k are given.

    Raises:
        MissingError: If the groups share no benchmark.
        UsageError: If a run has fewer samples than k.
    """
    groups = with_base(groups)
    benchmark = one_benchmark(groups, choices.benchmark)
    curves = tuple(_curve(group, benchmark, choices.k) for group in groups)
    bands = intervals_over(groups, [benchmark], "bands: ")
    return PassK(curves, f"{about(groups, benchmark)}; {bands}.{ending(groups, [benchmark])}")


def _curve(group: Group, benchmark: str, asked: tuple[int, ...]) -> Curve:
    ks = asked or powers_of_two(min(int(one.n_M.min()) for one in group.counts(benchmark)))
    values_LSM = np.stack([group.passed(benchmark, k) for k in ks])
    intervals = crossed_intervals(values_LSM)
    known = [] if np.isnan(intervals[0].low) else intervals
    lows, highs = tuple(one.low for one in known), tuple(one.high for one in known)
    return Curve(group.label, group.is_base, ks, tuple(values_LSM.mean(axis=(1, 2)).tolist()), lows, highs)


def of_evaluations(found: Sequence[tuple[str, Evaluation]]) -> PassK:
    """The curves of single evaluations as their summaries have them, with the intervals over problems.

    Args:
        found: Label and evaluation, all of one benchmark.

    Raises:
        UsageError: If one was graded, of which there is no pass@k.
    """
    graded = next((evaluation.label for _, evaluation in found if evaluation.is_graded), None)
    if graded:
        raise UsageError(f"{graded} was graded, and grades have no pass@k to draw", "leave --figure out")
    first = found[0][1]
    caption = f"{first.benchmark}, {len(first.problems)} held-out problems; bands: 95% intervals over problems."
    return PassK(tuple(_of_summary(label, one) for label, one in found), caption)


def _of_summary(label: str, evaluation: Evaluation) -> Curve:
    rows = evaluation.curve()
    known = rows if all(row["ci_low"] is not None for row in rows) else []
    return Curve(
        label,
        evaluation.version == 0,
        ks=tuple(row["k"] for row in rows),
        values=tuple(row["value"] for row in rows),
        lows=tuple(row["ci_low"] for row in known),
        highs=tuple(row["ci_high"] for row in known),
    )


def powers_of_two(samples: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, as far as there are samples; and the number of samples."""
    return tuple(sorted({*(1 << power for power in range(samples.bit_length())), samples}))


def draw(found: PassK, path: Path) -> None:
    """A line per group, with its intervals as a band; k on a logarithmic axis."""
    labels = [curve.label for curve in found.curves]
    with canvas(path, found.caption, size=(5.6, 4.2), labels=labels) as (figure, ((panel,),)):
        shade = 0.10 if len(found.curves) < 6 else 0.04
        for curve, look in zip(found.curves, looks([one.is_base for one in found.curves]), strict=True):
            panel.plot(curve.ks, curve.values, **look.line(label=curve.label))
            if curve.lows:
                panel.fill_between(curve.ks, curve.lows, curve.highs, color=look.colour, alpha=shade, linewidth=0)
        ticks = sorted({k for curve in found.curves for k in curve.ks})
        panel.set_xscale("log", base=2)
        panel.set_xticks(ticks, [str(k) for k in ticks])
        panel.minorticks_off()
        panel.set(xlabel="k", ylabel="pass@k")
        clean(panel)
        legend(figure, panel)
