"""How many different answers a policy gives: the share of distinct answers among all samples (figure 7, left).

Shape suffixes: S seeds, M problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.core.crossed_bootstrap import crossed_intervals
from rsgrpo_cli.studies.comparable import ending, require_answers
from rsgrpo_cli.studies.figures.inputs import Choices, about, one_benchmark, require_equal_samples, with_base
from rsgrpo_cli.studies.figures.style import Look, canvas, clean, legend, looks, whole_steps
from rsgrpo_cli.studies.groups import Group, intervals_over, of_one_seed
from rsgrpo_cli.studies.results import Counts
from rsgrpo_cli.wording import counted

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """A group.

    Args:
        label: What it is called.
        is_base: Whether it is the base model.
        value: The mean over seeds and problems of the newest policy.
        low, high: Its 95% interval; NaN for a single problem.
        seeds: The mean of each seed.
        policies: Policies that were evaluated of every seed.
        by_policy: The mean at each of them.
    """

    label: str
    is_base: bool
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    policies: tuple[int, ...]
    by_policy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Diversity:
    """The figure's numbers.

    Args:
        shares: The groups.
        caption: What it shows.
    """

    shares: tuple[Share, ...]
    caption: str


def collect(groups: Sequence[Group], choices: Choices) -> Diversity:
    """The shares of groups.

    Raises:
        MissingError: If the groups share no benchmark.
        UsageError: If they differ in the number of samples, on which the share depends, or were graded by what
            extracts no answers.
    """
    groups = with_base(groups)
    benchmark = one_benchmark(groups, choices.benchmark, verdicts=False)
    require_answers(groups, benchmark)
    samples = require_equal_samples(groups, benchmark, "distinct answers")
    shares = tuple(_share(group, benchmark) for group in groups)
    caption = _caption(groups, shares, benchmark, samples)
    return Diversity(shares, caption + ending(groups, [benchmark], on_the_way=_on_the_way(shares)))


def _caption(groups: Sequence[Group], shares: Sequence[Share], benchmark: str, samples: int) -> str:
    parts = [about(groups, benchmark), f"different answers per problem over its {counted(samples, 'sample')}"]
    parts += [intervals_over(groups, [benchmark], "bars: ")]
    means = "" if of_one_seed(groups) else "means over seeds "
    parts += ["hollow: single seeds"] if means else []
    parts += [f"right: {means}against the step"] if _on_the_way(shares) else []
    return f"{'; '.join(parts)}."


def _on_the_way(shares: Sequence[Share]) -> bool:
    """Whether several policies of some group were evaluated, for which there is a panel of its own."""
    return any(len(one.policies) > 1 for one in shares)


def _share(group: Group, benchmark: str) -> Share:
    values_SM = _ratios(group.counts(benchmark))
    (interval,) = crossed_intervals(values_SM[None])
    policies = [policy for policy in group.policies(benchmark) if policy or group.is_base]
    return Share(
        group.label,
        group.is_base,
        float(values_SM.mean()),
        interval.low,
        interval.high,
        tuple(values_SM.mean(axis=1).tolist()),
        tuple(policies),
        tuple(float(_ratios(group.counts(benchmark, policy)).mean()) for policy in policies),
    )


def _ratios(counts: Sequence[Counts]) -> FloatArray:
    """Distinct answers per sample, shape (S, M)."""
    return np.stack([one.distinct_M / one.n_M for one in counts])


def draw(found: Diversity, path: Path) -> None:
    """A row per group; beside it, where policies were evaluated on the way, a line per group against the step."""
    on_the_way = _on_the_way(found.shares)
    size = (10.5 if on_the_way else 6.2, max(1.9 + 0.3 * len(found.shares), 3.4 if on_the_way else 0))
    labels = [one.label for one in found.shares] if on_the_way else ()
    with canvas(path, found.caption, 1, 2 if on_the_way else 1, size=size, labels=labels) as (figure, panels):
        chosen = looks([one.is_base for one in found.shares])
        for number, (share, look) in enumerate(zip(found.shares, chosen, strict=True)):
            _draw_row(panels[0][0], number, share, look)
            if on_the_way:
                _draw_way(panels[0][1], share, look)
        left = panels[0][0]
        left.set_yticks(range(len(found.shares)), [one.label for one in found.shares])
        left.set(ylim=(len(found.shares) - 0.5, -0.5), xlabel="distinct answers / samples, newest policy")
        for panel in panels.flat:
            clean(panel)
        if on_the_way:
            panels[0][1].set(xlabel="step", ylabel="distinct answers / samples", xlim=(0, None))
            whole_steps(panels[0][1])
            legend(figure, panels[0][1])


def _draw_row(panel: Any, number: int, share: Share, look: Look) -> None:
    if len(share.seeds) > 1:
        panel.scatter(
            share.seeds,
            np.full(len(share.seeds), number + 0.22),
            marker=look.marker,
            s=14,
            facecolors="none",
            edgecolors=look.colour,
            linewidths=0.7,
        )
    if not np.isnan(share.low):
        panel.hlines(number, share.low, share.high, color=look.colour, linewidth=1.6)
    panel.plot(share.value, number, **look.line(markersize=8 if share.is_base else 6))


def _draw_way(panel: Any, share: Share, look: Look) -> None:
    if share.is_base:
        panel.axhline(share.value, color=look.colour, linestyle=look.style, linewidth=1.2, label=share.label)
    else:
        panel.plot(share.policies, share.by_policy, **look.line(label=share.label))
