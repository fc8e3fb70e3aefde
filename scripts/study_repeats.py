"""The sections of docs/study.md that repeat the comparison: other settings, samples, base models, a real model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study_methods import REFERENCES, above_at_every_k, equal_tables, halfway, table_against
from study_parts import (
    above,
    counted,
    cut,
    difference,
    in_order,
    labelled,
    named,
    sampled_ks,
    shared_seeds,
    with_its_rate,
)

from rsgrpo_cli.studies.comparison import compare_groups
from rsgrpo_cli.studies.groups import Group
from rsgrpo_cli.studies.labels import BASE

SETTINGS = {
    "group4-": "groups of 4, 128 prompts a step",
    "group64-": "groups of 64, 8 prompts a step",
    "long-": "360 steps",
    "unscaled-": "advantages not scaled",
    "graded-": "less reward for longer answers",
}
"""What the labels of another setting's groups begin with, and what it is."""


@dataclass(frozen=True)
class Repeat:
    """A sweep that repeats the main comparison with another base model, more samples, or other problems.

    Args:
        sweep: Its name.
        title: Of its section.
        told: What differs.
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
        "The same settings and seeds, with four times as many samples of each puzzle. The runs were made again. GRPO's "
        "with seed 0 differs from the first one by 1e-7 at the start, and goes another way from step 28 on. Beta 8 is "
        "there at 1e-5, too.",
    ),
    Repeat(
        "hard-spread",
        "A base model that is less peaked",
        "It has learned from solutions with all operators equally often (`python data/toy/build.py --spread "
        "runs/spread`): it solves nearly as much in one try, and far more in many.",
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


def repeated(repeat: Repeat, groups: Sequence[Group], heading: str = "###") -> Iterator[str]:
    """The section of one repeat; its base model is among the groups."""
    yield f"{heading} {repeat.title}"
    yield ""
    yield f"{repeat.told} {counted(groups[0].seeds).capitalize()}."
    yield ""
    shown = [with_its_rate(group) for group in in_order(groups)]
    yield table_against("grpo", repeat.benchmark, shown)
    yield from above_at_every_k(repeat.benchmark, shown)
    yield from against_base_at_largest_k(repeat.benchmark, shown)
    if repeat.halfway:
        references = [group for group in groups if group.label in {BASE, *REFERENCES}]
        others = [group for group in in_order(groups) if group not in references]
        yield from equal_tables(repeat.benchmark, references, others, "line")
        yield from halfway(repeat.benchmark, groups, [])


def against_base_at_largest_k(benchmark: str, groups: Sequence[Group]) -> Iterator[str]:
    """A sentence: the difference of each method to the base model, the first of the groups, at the largest k."""
    base, *methods = groups
    last = ("pass", float(sampled_ks(groups, benchmark)[-1]))
    found = compare_groups(groups, [benchmark], [last], base, "none")
    told = [f"{group.label} {difference(found.entry(group.label, benchmark, last))}" for group in methods]
    yield f"Minus the base model at k = {last[1]:g}: {'; '.join(told)}."
    yield ""


def other_settings(benchmark: str, main: Sequence[Group], others: Sequence[Group]) -> Iterator[str]:
    """Each setting's methods, and what they are above GRPO at the same setting; the usual one on the same seeds, too.

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
    found = {
        told: {group.label.removeprefix(start): group for group in others if group.label.startswith(start)}
        for start, told in SETTINGS.items()
    }
    usual = labelled(main, "grpo", "beta4", "beta8")
    seeds = [shared_seeds([*usual, *methods.values()]) for methods in found.values() if methods]
    for shown in dict.fromkeys(map(frozenset, [shared_seeds(usual), *seeds])):
        yield from rows_of_setting("as above", {group.label: group for group in cut(usual, shown)}, benchmark, ks)
    for told, methods in found.items():
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
