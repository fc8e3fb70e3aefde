"""The sections of docs/study.md about the other methods, their own learning rates, and a beta that moves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from page_writer import table
from study_parts import (
    above,
    counted,
    cut,
    difference,
    difference_at_equal,
    figure,
    in_order,
    labelled,
    named,
    of_most_seeds,
    problems_of,
    sampled_ks,
    samples_of,
    shared_seeds,
    signed,
    told_rate,
    with_its_rate,
)

from rsgrpo_cli.studies.comparison import compare_groups
from rsgrpo_cli.studies.equal import Path as Way
from rsgrpo_cli.studies.equal import at_equal, points
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.formats import as_text
from rsgrpo_cli.studies.groups import Group, intervals_over
from rsgrpo_cli.studies.labels import BASE

REFERENCES = ("grpo", "beta8")
"""What the other methods are compared with at equal pass@1: the usual method, and the best fixed beta."""
CHOSEN = ("grpo", "beta2", "beta4", "beta8", "max_rl", "asym_grpo", "fade", "w_reinforce")
"""The methods for which the validation puzzles chose the rate of the main comparison, by the first seed or by both; and
GRPO, for which they nearly did."""
MOVING = ("frontier", "frontier_sign", "solve_rate", "entropy", "per_prompt", "shrunk", "fade", "curve_rl")
"""The methods that look back: the laws of beta, FADE and CurveRL."""
HELD_BACK = ("grpo_small", "grpo_kl", "grpo_entropy", "grpo_entropy_kept")
"""GRPO with something that keeps it near the base model, or its entropy high."""
DRAWN = (BASE, "grpo_own", "beta4_own", "beta8_own")
"""What the figure of the methods at their own rates has."""
WAYS: dict[Way, str] = {
    "steps": "on its way",
    "line": "on the line from the base model's weights to its last policy's",
}
"""The paths along which equal pass@1 is looked for, in words."""


def other_methods(benchmark: str, main: Sequence[Group], others: Sequence[Group]) -> Iterator[str]:
    """The section.

    Args:
        benchmark: What all were evaluated on.
        main: The groups that are compared in full, the base model among them.
        others: The other methods'.
    """
    main, groups = of_shared_seeds(main, others)
    yield "### Other methods, and a beta that moves"
    yield ""
    yield (
        "As many rollouts, the same learning rate and size of step unless said; the rate was chosen for the methods "
        f"above and not for these. {counted(groups[0].seeds).capitalize()}, the same for all. What each method is: "
        "[estimators](estimators.md)."
    )
    yield ""
    yield table_against("grpo", benchmark, [*in_order(main), *groups])
    yield from equal_tables(benchmark, main, groups)
    yield from halfway(benchmark, main, groups)


def equal_tables(benchmark: str, main: Sequence[Group], groups: Sequence[Group], path: Way = "steps") -> Iterator[str]:
    """Differences at equal pass@1 to each of the references, which are followed along one of their paths."""
    by_label = {group.label: group for group in main}
    base = next(group for group in main if group.is_base)
    yield "#### At equal pass@1"
    yield ""
    yield (
        f"Each method's last policy against GRPO, and against beta 8, where that has the same pass@1 {WAYS[path]}. "
        "Each interval for itself, none corrected for their number. †: the other never has as much pass@1. So the "
        "method is followed instead, on the line from the weights of its last policy to the base model's, to where it "
        "has the pass@1 of the other's last policy."
    )
    yield ""
    ks = sampled_ks([*main, *groups], benchmark)[1:]
    columns = " | ".join(f"{named(label)}: pass@{k}" for label in REFERENCES for k in ks)
    yield f"| method | pass@1 | {columns} |"
    yield "|---" * (2 + len(REFERENCES) * len(ks)) + "|"
    for group in [by_label["beta8"], *groups]:
        cells = []
        for label in REFERENCES:
            same = group.label == label
            cells += ["" if same else equal_cell(group, by_label[label], base, benchmark, k, path) for k in ks]
        yield f"| {named(group.label)} | {group.passed(benchmark, 1).mean():.3f} | {' | '.join(cells)} |"
    yield ""


def equal_cell(group: Group, other: Group, base: Group, benchmark: str, k: int, path: Way) -> str:
    """A difference at equal pass@1; where the other never has as much, at what the other has in the end."""
    found = at_equal(group, other, base, benchmark, k, path)
    if found.reached:
        return difference_at_equal(found)
    reverse = at_equal(other, group, base, benchmark, k, "line")
    return f"{signed(-reverse.difference, -reverse.interval.high, -reverse.interval.low)} †"


def halfway(benchmark: str, main: Sequence[Group], groups: Sequence[Group]) -> Iterator[str]:
    """The weights halfway between the base model's and the last policy's."""
    base = next(group for group in main if group.is_base)
    yield "#### Pulled halfway back"
    yield ""
    trained = [group for group in in_order(main) if not group.is_base] + list(groups)
    yield f"In brackets: the difference to the base model, paired. {intervals_over(trained, [benchmark])}."
    yield ""
    ks = sampled_ks([base, *trained], benchmark)
    yield "| method | " + " | ".join(f"pass@{k}" for k in ks) + " |"
    yield "|---" * (1 + len(ks)) + "|"
    for group in trained:
        path = [points(group, base, benchmark, k, "line") for k in ks]  # the base model, then halfway
        yield f"| {named(group.label)} | {' | '.join(above(one[1], one[0]) for one in path)} |"
    yield ""


def confirmed(benchmark: str, main: Sequence[Group], others: Sequence[Group]) -> Iterator[str]:
    """What stood out, on seeds that the table of all methods does not have; arguments as of `other_methods`."""
    main, groups = of_shared_seeds(main, others)
    yield "### What stood out, on fresh seeds"
    yield ""
    yield f"{counted(groups[0].seeds).capitalize()} that the table above does not have."
    yield ""
    yield table_against("beta8", benchmark, [*in_order(main), *groups])
    yield from equal_tables(benchmark, main, groups)
    yield from halfway(benchmark, main, groups)


def moving(benchmark: str, groups: Sequence[Group]) -> Iterator[str]:
    """What moves with the training against the best fixed beta; arguments as of `on_more_seeds`."""
    title = "Is a beta that moves better than the best fixed one?"
    yield from on_more_seeds(title, benchmark, groups, MOVING, "beta8")


def held_back(benchmark: str, groups: Sequence[Group]) -> Iterator[str]:
    """GRPO held back by other means, against it and beta 8; arguments as of `on_more_seeds`."""
    title = "Is it GRPO with a smaller step, a KL term or an entropy bonus?"
    yield from on_more_seeds(title, benchmark, groups, HELD_BACK, "grpo")


def on_more_seeds(
    title: str, benchmark: str, groups: Sequence[Group], labels: Collection[str], baseline: str
) -> Iterator[str]:
    """A section of some of the other methods, on every seed that all of these have.

    Args:
        title: Its heading.
        benchmark: What all were evaluated on.
        groups: All groups at the rate of the main comparison, the base model among them.
        labels: The methods.
        baseline: What its table is against.
    """
    some = [group for group in groups if group.label in labels]
    if not some:
        return
    main, some = of_shared_seeds([group for group in groups if group.label in {BASE, *REFERENCES}], some)
    yield f"### {title}"
    yield ""
    yield (
        f"{counted(some[0].seeds).capitalize()}, those of the sections above among them; the same learning rate and "
        "size of step unless said."
    )
    yield ""
    yield table_against(baseline, benchmark, [*in_order(main), *some])
    yield from equal_tables(benchmark, main, some)


def own_rates(benchmark: str, same_rate: Sequence[Group], others: Sequence[Group], figures: Path) -> Iterator[str]:
    """Each method at the rate that the validation puzzles chose for it.

    Args:
        benchmark: What all were evaluated on.
        same_rate: The groups at the rate of the main comparison, the base model among them.
        others: Those at rates of their own.
        figures: Where its figure goes.
    """
    wanted = {BASE, *REFERENCES, *CHOSEN}
    main, groups = of_shared_seeds([group for group in same_rate if group.label in wanted], of_most_seeds(others))
    base, chosen = ([group for group in main if group.is_base], [group for group in main if group.label in CHOSEN])
    yield "### Each method at its own learning rate"
    yield ""
    tried = [with_its_rate(group).label for group in groups if group.label.endswith("_low")]
    yield (
        "The rates that the validation puzzles chose: by the first seed, and by both seeds where that is another; "
        f"{told_rate(chosen[0])} where none is named. GRPO is there at both of the rates that were close. "
        + "".join(f"{label} was not chosen: it is there for comparison at GRPO's rate. " for label in tried)
        + f"{counted(groups[0].seeds).capitalize()}."
    )
    yield ""
    methods = in_order([*chosen, *groups])
    grpo = next(group for group in methods if group.label == "grpo_own")
    yield table_against(with_its_rate(grpo).label, benchmark, [*base, *map(with_its_rate, methods)])
    yield from above_at_every_k(benchmark, [*base, *map(with_its_rate, methods)])
    drawn = [with_its_rate(group) for group in [*base, *methods] if group.label in DRAWN]
    alt = "pass@k against k of the base model, GRPO and RS-GRPO, each at its own learning rate"
    yield from figure("passk", "hard-rates-passk", drawn, figures, Choices(benchmark=benchmark), alt)
    beside = [with_its_rate(group) for group in methods if group.label not in REFERENCES]
    yield from equal_tables(benchmark, main, beside)


def above_at_every_k(benchmark: str, groups: Sequence[Group]) -> Iterator[str]:
    """A sentence: which methods end above the base model, the first of the groups, at every k."""
    base, *methods = groups
    ks = sampled_ks(groups, benchmark)
    found = compare_groups(groups, [benchmark], [("pass", float(k)) for k in ks], base, "none")
    above_it = []
    for group in methods:
        changes = [found.entry(group.label, benchmark, ("pass", k)) for k in ks]
        if all(change.difference_low is not None and change.difference_low > 0 for change in changes):
            above_it.append(f"{group.label} ({difference(changes[-1])} at {ks[-1]})")
    yield (
        f"Above the base model at k = {', '.join(map(str, ks))}, with no interval of the difference that has 0 in it, "
        f"each for itself: {'; '.join(above_it) or 'none'}."
    )
    yield ""


def headline(benchmark: str, same_rate: Sequence[Group], others: Sequence[Group]) -> str:
    """The table of the README: the base model, GRPO and beta 8, each at its own rate; arguments as of `own_rates`.

    GRPO at the rate of the main comparison is there, too: the validation puzzles nearly chose it.
    """
    chosen = [*labelled(same_rate, BASE, "grpo"), *labelled(others, "grpo_own", "beta8_own")]
    base, usual, own, beta8 = map(with_its_rate, cut(chosen, shared_seeds(chosen)))
    usual = replace(usual, label=f"{usual.label}, {told_rate(usual)}")
    groups = [base, own, usual, beta8]
    columns = [("pass", float(k)) for k in sampled_ks(groups, benchmark)]
    against = {other.label: compare_groups(groups, [benchmark], columns, other, "none") for other in (own, usual)}
    found = against[own.label]
    rows = [
        [group.label, *(f"{found.entry(group.label, benchmark, one).value:.3f}" for one in columns)] for group in groups
    ]
    for label, found in against.items():
        entries = [found.entry(beta8.label, benchmark, one) for one in columns]
        rows.append([f"RS-GRPO minus {label}, paired", *map(difference, entries)])
    puzzles = f"{problems_of(base, benchmark)} held-out puzzles, {samples_of(base, benchmark)} samples each"
    return table([f"{puzzles}, {counted(own.seeds)}", *(f"pass@{k:g}" for _, k in columns)], rows)


def of_shared_seeds(main: Sequence[Group], others: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Both cut to the seeds that all have; of the others without their base model, in the tables' order."""
    methods = [group for group in others if not group.is_base]
    seeds = shared_seeds([*main, *methods])
    return cut(main, seeds), in_order(cut(methods, seeds))


def table_against(baseline: str, benchmark: str, groups: Sequence[Group]) -> str:
    """pass@k for every k that all runs have the samples for, and the differences to the group with a label."""
    shown = [replace(group, label=named(group.label)) for group in groups]
    against = next(group for group in shown if group.label == named(baseline))
    columns = [("pass", float(k)) for k in sampled_ks(groups, benchmark)]
    return as_text(compare_groups(shown, [benchmark], columns, against), "markdown")
