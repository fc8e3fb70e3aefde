"""The sections of docs/study.md about the other methods, a beta that moves, and other settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from page_writer import table
from study_parts import (
    above,
    counted,
    cut,
    difference,
    figure,
    in_order,
    labelled,
    named,
    of_most_seeds,
    problems_of,
    sampled_ks,
    samples_of,
    shared_seeds,
    told_rate,
    with_its_rate,
)

from rsgrpo_cli.studies.comparison import compare_groups
from rsgrpo_cli.studies.equal import at_equal, points
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.formats import as_text
from rsgrpo_cli.studies.groups import BASE, Group

REFERENCES = ("grpo", "beta8")
"""What the other methods are compared with at equal pass@1: the usual method, and the best fixed beta."""
CHOSEN = ("beta2", "beta4", "beta8", "max_rl", "asym_grpo", "fade", "w_reinforce")
"""The methods for which the validation puzzles chose the rate of the main comparison, by the first seed or by both."""
MOVING = ("frontier", "solve_rate", "entropy", "per_prompt", "shrunk", "fade", "curve_rl")
"""The methods that look back: the laws of beta, FADE and CurveRL."""
DRAWN = (BASE, "grpo_own", "beta4_own", "beta8_own")
"""What the figure of the methods at their own rates has."""
SETTINGS = {
    "group4": "groups of 4, 128 prompts a step",
    "group64": "groups of 64, 8 prompts a step",
    "long": "360 steps",
    "unscaled": "advantages not scaled",
    "graded": "less reward for longer answers",
}
"""What the labels of another setting's groups begin with, and what it is."""


@dataclass(frozen=True)
class Repeat:
    """A sweep that has the main comparison again: with another base model, otherwise measured, on other problems.

    Args:
        sweep: Its name.
        title: Of its section.
        told: What is other.
        halfway: Whether the weights halfway to the base model were evaluated, too.
        benchmark: What it evaluates on.
    """

    sweep: str
    title: str
    told: str
    halfway: bool = False
    benchmark: str = "toy-hard"


REPEATS = (
    Repeat(
        "hard-samples",
        "1,024 samples",
        "The same policies, with four times as many samples of each puzzle.",
    ),
    Repeat(
        "hard-spread",
        "A base model that is less peaked",
        "It has learned from solutions with all operators equally often (`python data/toy/build.py --spread "
        "runs/spread`): it solves as much in one try, and far more in many.",
        halfway=True,
    ),
    Repeat(
        "hard-larger",
        "A model of 4.0 M parameters",
        "Taught until it solves about as much (`python data/toy/build.py --larger runs/larger`). It is three times as "
        "wide, and has a third of the learning rate, 1e-5; no rate was chosen for it.",
        halfway=True,
    ),
)
REAL = Repeat(
    "smollm2",
    "One-step word problems: a real language model",
    "SmolLM2-135M-Instruct through vLLM on the CPU, in float32, at a learning rate of 2e-5, which was not tuned. 12 "
    "steps of 8 prompts with 16 completions of up to 32 tokens; 50 held-out problems, 32 samples each (`make "
    "study-real`).",
    benchmark="test",
)


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


def equal_tables(benchmark: str, main: Sequence[Group], groups: Sequence[Group]) -> Iterator[str]:
    """Differences at equal pass@1 to each of the references."""
    by_label = {group.label: group for group in main}
    base = next(group for group in main if group.is_base)
    yield "#### At equal pass@1"
    yield ""
    yield (
        "Each method's last policy against GRPO, and against beta 8, where that has the same pass@1 on its way. Each "
        "interval for itself, none corrected for their number."
    )
    yield ""
    ks = sampled_ks([*main, *groups], benchmark)[1:]
    columns = " | ".join(f"{named(label)}: pass@{k}" for label in REFERENCES for k in ks)
    yield f"| method | pass@1 | {columns} |"
    yield "|---" * (2 + len(REFERENCES) * len(ks)) + "|"
    for group in [by_label["beta8"], *groups]:
        cells = []
        for label in REFERENCES:
            found = [at_equal(group, by_label[label], base, benchmark, k) for k in ks]
            cells += [""] * len(found) if group.label == label else list(map(difference, found))
            cells[-len(found)] += "" if found[0].reached else " (not reached)"
        yield f"| {named(group.label)} | {group.passed(benchmark, 1).mean():.3f} | {' | '.join(cells)} |"
    yield ""


def halfway(benchmark: str, main: Sequence[Group], groups: Sequence[Group]) -> Iterator[str]:
    """The weights halfway between the base model's and the last policy's."""
    base = next(group for group in main if group.is_base)
    yield "#### Pulled halfway back"
    yield ""
    yield "In brackets: the difference to the base model, and its 95% interval over problems and seeds, paired."
    yield ""
    trained = [group for group in in_order(main) if not group.is_base] + list(groups)
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
    """What moves with the training against the best fixed beta, on every seed that all of these have.

    Args:
        benchmark: What all were evaluated on.
        groups: All groups at the rate of the main comparison, the base model among them.
    """
    moved = [group for group in groups if group.label in MOVING]
    if not moved:
        return
    main, moved = of_shared_seeds([group for group in groups if group.label in {BASE, *REFERENCES}], moved)
    yield "### Is a beta that moves better than the best fixed one?"
    yield ""
    yield (
        f"{counted(moved[0].seeds).capitalize()}, those of the two sections above among them; the same learning rate "
        "and size of step for all."
    )
    yield ""
    yield table_against("beta8", benchmark, [*in_order(main), *moved])
    yield from equal_tables(benchmark, main, moved)


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
    yield (
        "The rates that the validation puzzles chose, by the first seed and by both where that is another; "
        f"{told_rate(chosen[0])} where no other is named. {counted(groups[0].seeds).capitalize()}."
    )
    yield ""
    methods = in_order([*chosen, *groups])
    grpo = next(group for group in methods if group.label == "grpo_own")
    yield table_against(with_its_rate(grpo).label, benchmark, [*base, *map(with_its_rate, methods)])
    drawn = [with_its_rate(group) for group in [*base, *methods] if group.label in DRAWN]
    alt = "pass@k against k of the base model, GRPO and RS-GRPO, each at its own learning rate"
    yield from figure("passk", "hard-rates-passk", drawn, figures, Choices(benchmark=benchmark), alt)
    beside = [with_its_rate(group) for group in methods if group.label not in REFERENCES]
    yield from equal_tables(benchmark, main, beside)


def headline(benchmark: str, same_rate: Sequence[Group], others: Sequence[Group]) -> str:
    """The table of the README: the base model, GRPO and beta 8, each at its own rate; arguments as of `own_rates`."""
    chosen = [*labelled(same_rate, BASE), *labelled(others, "grpo_own", "beta8_own")]
    base, grpo, beta8 = cut(chosen, shared_seeds(chosen))
    ks = sampled_ks([base, grpo, beta8], benchmark)
    found = compare_groups([base, grpo, beta8], [benchmark], [("pass", float(k)) for k in ks], grpo, "none")
    rows = [
        [with_its_rate(group).label, *(f"{found.entry(group.label, benchmark, ('pass', k)).value:.3f}" for k in ks)]
        for group in (base, grpo, beta8)
    ]
    against = [found.entry(beta8.label, benchmark, ("pass", k)) for k in ks]
    rows.append(
        ["RS-GRPO minus GRPO, paired"]
        + [f"{one.difference:+z.3f} [{one.difference_low:+z.3f}, {one.difference_high:+z.3f}]" for one in against]
    )
    puzzles = f"{problems_of(base, benchmark)} held-out puzzles, {samples_of(base, benchmark)} samples each"
    return table([f"{puzzles}, {counted(grpo.seeds)}", *(f"pass@{k}" for k in ks)], rows)


def repeated(repeat: Repeat, groups: Sequence[Group], heading: str = "###") -> Iterator[str]:
    """The comparison once more, with something else than usual; its base model is among the groups."""
    yield f"{heading} {repeat.title}"
    yield ""
    yield f"{repeat.told} {counted(groups[0].seeds).capitalize()}."
    yield ""
    yield table_against("grpo", repeat.benchmark, in_order(groups))
    if repeat.halfway:
        yield from halfway(repeat.benchmark, groups, [])


def other_settings(benchmark: str, main: Sequence[Group], others: Sequence[Group]) -> Iterator[str]:
    """Each setting's methods, and what they are above GRPO at the same setting.

    Args:
        benchmark: What all were evaluated on.
        main: The groups of the usual setting.
        others: The groups of the other settings, SETTING-METHOD, and the base model.
    """
    yield "### Other group sizes, more steps, other scales"
    yield ""
    yield (
        "The learning rate is the same. In brackets: the difference to GRPO at the same setting, and its 95% interval "
        "over problems and seeds, paired."
    )
    yield ""
    ks = sampled_ks([*main, *others], benchmark)
    yield "| setting | seeds | method | " + " | ".join(f"pass@{k}" for k in ks) + " |"
    yield "|---" * (3 + len(ks)) + "|"
    usual = {group.label: group for group in main}
    yield from rows_of_setting("as above", {name: usual[name] for name in ("grpo", "beta4", "beta8")}, benchmark, ks)
    for start, told in SETTINGS.items():
        methods = {
            group.label.removeprefix(f"{start}-"): group for group in others if group.label.startswith(f"{start}-")
        }
        if methods:
            yield from rows_of_setting(told, methods, benchmark, ks)
    yield ""


def rows_of_setting(told: str, methods: Mapping[str, Group], benchmark: str, ks: Sequence[int]) -> Iterator[str]:
    """Table rows of one setting, on the seeds that its methods share: GRPO's, and each one's difference to it."""
    seeds = shared_seeds(list(methods.values()))
    methods = dict(zip(methods, cut(list(methods.values()), seeds), strict=True))
    grpo = [methods["grpo"].passed(benchmark, k) for k in ks]
    yield f"| {told} | {len(seeds)} | {named('grpo')} | {' | '.join(f'{one.mean():.3f}' for one in grpo)} |"
    for label, group in methods.items():
        if label != "grpo":
            cells = [above(group.passed(benchmark, k), other) for k, other in zip(ks, grpo, strict=True)]
            yield f"| | | {named(label)} | {' | '.join(cells)} |"


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
