"""The table that docs/study.md begins with: beta 8 minus GRPO on both tiers, at several rates and at equal pass@1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from page_writer import table
from study_parts import cut, labelled, sampled_ks, shared_seeds, told_rate, uncut

from rsgrpo_cli.studies.comparison import compare_groups
from rsgrpo_cli.studies.equal import Path as Way
from rsgrpo_cli.studies.equal import at_equal
from rsgrpo_cli.studies.groups import Group
from rsgrpo_cli.studies.labels import BASE

WAYS: dict[Way, str] = {"steps": "stopped where it has the same pass@1", "line": "pulled back to the same pass@1"}


def answers(results: Path, easy: tuple[str, str], hard: tuple[str, str], rates: str) -> str:
    """The table, in points.

    Args:
        results: The folder of the study's results.
        easy: The sweep at one rate on four numbers, and what it evaluates on.
        hard: The same on five numbers.
        rates: The sweep on five numbers of methods at their own rates.
    """
    on_four = labelled(uncut(results / easy[0]), BASE, "grpo", "beta8")
    one_rate, own = uncut(results / hard[0]), uncut(results / rates)
    on_five = [*labelled(one_rate, BASE, "grpo", "beta8"), *labelled(own, "grpo_own", "beta8_own", "beta8_low")]
    (_, *four), (_, usual, beta8, grpo_own, beta8_own, beta8_low) = map(of_all_seeds, (on_four, on_five))
    ks = sampled_ks(on_four, easy[1])
    tries = " / ".join(map(str, ks))
    rows = [
        [f"at one learning rate, {told_rate(usual)}", apart(four[0], four[1], easy[1]), apart(usual, beta8, hard[1])],
        [
            "each at its own, by two validation seeds",
            f"the same: {told_rate(four[0])} for both",
            apart(grpo_own, beta8_own, hard[1]),
        ],
        [
            f"GRPO at {told_rate(usual)}, which they nearly chose, beta 8 at its own",
            "",
            apart(usual, beta8_own, hard[1]),
        ],
        [f"at GRPO's own rate, {told_rate(grpo_own)}", "", apart(grpo_own, beta8_low, hard[1])],
    ]
    for way, told in WAYS.items():
        cells = [
            equal(groups, benchmark, ks[1:], way) for groups, benchmark in ((on_four, easy[1]), (on_five, hard[1]))
        ]
        rows.append([f"against GRPO {told}: {' / '.join(map(str, ks[1:]))}", *cells])
    head = f"beta 8 minus GRPO, points of pass@{tries}"
    return table([head, "four numbers: little room above the base model", "five numbers: room above"], rows)


def of_all_seeds(groups: Sequence[Group]) -> list[Group]:
    """The groups, cut to the seeds that all of them have."""
    return cut(groups, shared_seeds(groups))


def apart(grpo: Group, beta8: Group, benchmark: str) -> str:
    """The differences at each k of two groups' last policies."""
    columns = [("pass", float(k)) for k in sampled_ks([grpo, beta8], benchmark)]
    found = compare_groups([grpo, beta8], [benchmark], columns, grpo, "none")
    entries = [found.entry(beta8.label, benchmark, column) for column in columns]
    return " / ".join(points_of(one.difference, one.difference_low, one.difference_high) for one in entries)


def equal(groups: Sequence[Group], benchmark: str, ks: Sequence[int], way: Way) -> str:
    """The differences at each k where GRPO has the pass@1 of beta 8; the groups begin with the base model and both."""
    base, grpo, beta8 = of_all_seeds(groups[:3])
    found = [at_equal(beta8, grpo, base, benchmark, k, way) for k in ks]
    return " / ".join(points_of(one.difference, one.interval.low, one.interval.high) for one in found)


def points_of(difference: float | None, low: float | None, high: float | None) -> str:
    """A difference in points; bold where its interval excludes 0."""
    assert difference is not None
    assert low is not None
    assert high is not None
    told = f"{100 * difference:+z.1f}"
    return f"**{told}**" if low > 0 or high < 0 else told
