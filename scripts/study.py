"""Writes docs/study.md and its figures from the results of the study's sweeps: `python scripts/study.py`.

The sweeps are in docs/study/*.toml; `make study` runs them (a day on two cores) and then this. Of a sweep that is not
complete yet, the seeds count that all of its methods have.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from page_writer import fill
from study_how import on_which_problems, what_changes
from study_methods import confirmed, headline, held_back, moving, other_methods, own_rates
from study_parts import (
    NAMES,
    above,
    counted,
    difference,
    difference_at_equal,
    figure,
    groups_in,
    in_order,
    joined,
    mean,
    named,
    problems_of,
    sampled_ks,
    samples_of,
    uncut,
)
from study_repeats import REAL, REPEATS, Repeat, other_settings, repeated
from study_short import answers

from rsgrpo_cli.studies.comparison import Comparison, compare_groups
from rsgrpo_cli.studies.equal import at_equal, points
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.formats import as_text
from rsgrpo_cli.studies.groups import Group
from rsgrpo_cli.studies.labels import BASE

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "study" / "results"
README = ROOT / "README.md"
SHORT, NOTES = (ROOT / "docs" / "study" / name for name in ("short.md", "notes.md"))
"""What the results say, written by hand but for a table: the answers, and how they come about."""
CHOOSE_BY = 16


@dataclass(frozen=True)
class Tier:
    """One of the two bundled sets of puzzles, with a base model of its own.

    Args:
        title: Its heading on the page.
        validation: The sweep that chooses learning rates, and what it evaluates on.
        test: The sweep that compares the methods, and what it evaluates on.
        prefix: Of the names of its figures.
        methods: The sweep of further methods.
        rates: The sweep of methods at their own learning rates.
        confirm: The sweep of those that stood out, on other seeds.
        settings: The sweep of other settings.
        repeats: The sweeps with another base model, or measured otherwise.
    """

    title: str
    validation: tuple[str, str]
    test: tuple[str, str]
    prefix: str = ""
    methods: str = ""
    rates: str = ""
    confirm: str = ""
    settings: str = ""
    repeats: tuple[Repeat, ...] = ()


TIERS = (
    Tier("Four numbers: little room above the base model", ("validation", "toy-validation"), ("puzzles", "toy")),
    Tier(
        "Five numbers: room above the base model",
        ("hard-validation", "toy-hard-validation"),
        ("hard", "toy-hard"),
        prefix="hard-",
        methods="hard-methods",
        rates="hard-rates",
        confirm="hard-confirm",
        settings="hard-settings",
        repeats=REPEATS,
    ),
)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "study.md")
    arguments = parser.parse_args()
    results, figures = arguments.results, arguments.out.with_suffix("")
    whole = results == RESULTS  # what is said of the whole study says nothing of other results
    parts = [*introduction(groups_in(results / TIERS[0].test[0]), results)]
    parts += short(results) if whole else []
    for tier in TIERS:
        parts += of_tier(tier, results, figures)
    if (results / REAL.sweep).is_dir():
        parts += repeated(REAL, groups_in(results / REAL.sweep), heading="##")
    if whole:
        parts += NOTES.read_text().splitlines()
        README.write_text(fill(README.read_text(), "study", in_short(results)))
    arguments.out.write_text("\n".join([*parts, ""]))


def of_tier(tier: Tier, results: Path, figures: Path) -> Iterator[str]:
    """All sections of a tier that there are results for."""
    there = {
        name: groups_in(results / name) for name in (tier.validation[0], tier.test[0]) if (results / name).is_dir()
    }
    if there:
        yield f"## {tier.title}"
        yield ""
    if tier.validation[0] in there:
        yield from validation(tier, there[tier.validation[0]])
    if tier.test[0] in there:
        yield from comparison(tier, there[tier.test[0]], figures)
    yield from further(tier, results, figures)
    for repeat in tier.repeats:
        if (results / repeat.sweep).is_dir():
            yield from repeated(repeat, groups_in(results / repeat.sweep))


def short(results: Path) -> list[str]:
    """The answers that the page begins with, whose table is written into their file, too."""
    easy, hard = TIERS
    SHORT.write_text(fill(SHORT.read_text(), "differences", answers(results, easy.test, hard.test, hard.rates)))
    return [line for line in SHORT.read_text().splitlines() if not line.startswith("<!-- ")]


def in_short(results: Path) -> str:
    """The table of the README."""
    tier = TIERS[1]
    return headline(tier.test[1], uncut(results / tier.test[0]), uncut(results / tier.rates))


def further(tier: Tier, results: Path, figures: Path) -> Iterator[str]:
    """The sections of the sweeps that stand beside the main comparison; each has the seeds that all of its have."""
    names = (tier.test[0], tier.rates, tier.methods, tier.confirm, tier.settings)
    found = {name: uncut(results / name) for name in names if name and (results / name).is_dir()}
    main, benchmark = tier.test
    same_rate = joined(*(found[name] for name in (main, tier.methods, tier.confirm) if name in found))
    if tier.rates in found:
        yield from own_rates(benchmark, same_rate, found[tier.rates], figures)
    for name, section in ((tier.methods, other_methods), (tier.confirm, confirmed)):
        if name in found:
            yield from section(benchmark, found[main], found[name])
    yield from held_back(benchmark, same_rate)
    yield from moving(benchmark, same_rate)
    if tier.settings in found:
        yield from other_settings(benchmark, found[main], found[tier.settings])


def introduction(groups: Sequence[Group], results: Path) -> Iterator[str]:
    """What this is; its settings are those of the first tier's comparison."""
    settings = next(group for group in groups if not group.is_base).members[0].config
    where = results.relative_to(ROOT) if results.is_relative_to(ROOT) else results.name
    yield "# Does RS-GRPO help, and at what cost?"
    yield ""
    yield (
        "A study on the bundled puzzles with a model of 0.34 M parameters, written by `scripts/study.py` from the "
        f"results under `{where}/` (right answers per problem, metrics per step, settings). Every number of "
        "a table can be made again from there, and every result with `rsgrpo sweep --config docs/study/NAME.toml`; "
        "`make study` makes all. "
        f"Unless said, all methods get as many rollouts: {settings.train.steps} steps of "
        f"{settings.rollout.prompts_per_step} prompts with {settings.rollout.group_size} completions. The advantages "
        "of every step are scaled to RMS 1 (`--advantage-scale rms`), so that a learning rate is the same size of step "
        "for every method. Intervals are 95%, over problems and seeds ([how](sweeps.md#tables)). Differences are taken "
        "before rounding. Two are called *level* where they cannot be told apart: the interval of their difference has "
        "0 in it."
    )
    yield ""


# -- the learning rate ------------------------------------------------------------------------------------------------


def validation(tier: Tier, groups: Sequence[Group]) -> Iterator[str]:
    """The table by which learning rates are chosen."""
    seeds, (_, benchmark) = groups[0].seeds, tier.validation
    ks, methods = sampled_ks(groups, benchmark), by_method(groups)
    rates = sorted({rate for found in methods.values() for rate in found})
    base = next(group for group in groups if group.is_base)
    yield "### Each method's learning rate"
    yield ""
    yield (
        f"{problems_of(base, benchmark)} validation puzzles, which are neither trained on nor tested on, "
        f"{samples_of(base, benchmark)} samples each, {counted(seeds)}; the last policy's pass@"
        f"{' / '.join(map(str, ks))}. Chosen by pass@{CHOOSE_BY}, halfway between 1 and 256 on the scale of k (bold); "
        "where pass@1 alone would choose another, that is italic. "
        f"The base model: {in_tries(base, benchmark, ks)}."
    )
    yield ""
    yield "| method | " + " | ".join(f"{rate:g}" for rate in rates) + " |"
    yield "|---" * (1 + len(rates)) + "|"
    for method, found in methods.items():
        best = max(found, key=lambda rate: mean(found[rate], benchmark, CHOOSE_BY))
        first = max(found, key=lambda rate: mean(found[rate], benchmark, 1))
        marks = {first: "*", best: "**"}
        cells = [
            marks.get(rate, "") + in_tries(found[rate], benchmark, ks) + marks.get(rate, "") if rate in found else ""
            for rate in rates
        ]
        yield f"| {named(method)} | {' | '.join(cells)} |"
    yield ""


def in_tries(group: Group, benchmark: str, ks: Sequence[int]) -> str:
    """0.090 / 0.384 / 0.517."""
    return " / ".join(f"{mean(group, benchmark, k):.3f}" for k in ks)


def by_method(groups: Sequence[Group]) -> dict[str, dict[float, Group]]:
    """Method -> learning rate -> group."""
    found: dict[str, dict[float, Group]] = {}
    for group in groups:
        if not group.is_base:
            rate = group.members[0].config.update.learning_rate
            assert rate is not None
            found.setdefault(group.label.partition("-learning_rate")[0], {})[rate] = group
    return {
        name: found[name] for name in sorted(found, key=lambda name: (name not in NAMES, [*NAMES, name].index(name)))
    }


# -- the comparison ---------------------------------------------------------------------------------------------------


def comparison(tier: Tier, groups: Sequence[Group], figures: Path) -> Iterator[str]:
    """What the methods do at the learning rate that was chosen."""
    _, benchmark = tier.test
    ordered = in_order(groups)
    base, grpo = ordered[0], next(group for group in ordered if group.label == "grpo")
    ks = sampled_ks(ordered, benchmark)
    columns = [("pass", float(k)) for k in ks]
    shown = [replace(group, label=named(group.label)) for group in ordered]
    by_label = dict(zip((group.label for group in ordered), shown, strict=True))
    to_grpo = compare_groups(shown, [benchmark], columns, by_label["grpo"])
    to_base = compare_groups(shown, [benchmark], columns, by_label[BASE])
    rate = grpo.members[0].config.update.learning_rate
    puzzles = f"{problems_of(base, benchmark)} held-out puzzles, {samples_of(base, benchmark)} samples each"
    yield f"### {puzzles}, learning rate {rate:g}, {counted(grpo.seeds)}"
    yield ""
    yield as_text(to_grpo, "markdown")
    yield from figure(
        "passk",
        f"{tier.prefix}passk",
        shown,
        figures,
        Choices(benchmark=benchmark),
        "pass@k against k, one line per method",
    )
    yield "#### Does GRPO fall below the base model?"
    yield ""
    yield verdicts(to_base, benchmark, "GRPO", "the base model")
    yield ""
    yield "#### Does RS-GRPO raise pass@k over GRPO, and what does it cost?"
    yield ""
    for group in shown:
        if group.label not in ("base model", "GRPO"):
            yield f"* {verdicts(to_grpo, benchmark, group.label, 'GRPO')}"
    yield ""
    yield "#### The whole way: pass@1 against pass@k"
    yield ""
    for k in (CHOOSE_BY, ks[-1]):
        chosen = Choices(benchmark=benchmark, k=(1, k))
        alt = f"the policies of each method in the plane of pass@1 and pass@{k}, from the base model on"
        yield from figure("frontier", f"{tier.prefix}frontier-{k}", shown, figures, chosen, alt)
    yield from equal_section(benchmark, ordered, grpo, base, ks[1:])
    yield from line_section(benchmark, ordered, base, ks)
    yield from what_changes(benchmark, ordered, to_base)
    yield from on_which_problems(benchmark, ordered, base, (1, CHOOSE_BY, ks[-1]))


def verdicts(found: Comparison, benchmark: str, label: str, other: str) -> str:
    """A sentence: the difference at each k, and where its interval excludes 0."""
    told = []
    for metric, k in found.columns:
        entry = found.entry(label, benchmark, (metric, k))
        star = r"\*" if entry.differs else ""
        told.append(f"{difference(entry)}{star} at k = {k:g}")
    return f"{label} minus {other}: {', '.join(told)}."


def equal_section(
    benchmark: str, groups: Sequence[Group], grpo: Group, base: Group, ks: Sequence[int]
) -> Iterator[str]:
    """Differences at equal pass@1."""
    yield "#### Is it more than GRPO stopped earlier, or pulled back?"
    yield ""
    yield (
        "Each method's last policy against GRPO *where GRPO has the same pass@1*: on its way there (evaluated every "
        f"{grpo.members[0].config.train.eval_every} steps), and on the line between the base model's weights and "
        "GRPO's. Positive: better than the other at equal pass@1. Not reached: GRPO never has as much, and its nearest "
        "policy is meant."
    )
    yield ""
    yield "| method | pass@1 | GRPO's | " + " | ".join(f"pass@{k}" for k in ks) + " |"
    yield "|---" * (3 + len(ks)) + "|"
    for group in groups:
        if group.is_base or group is grpo:
            continue
        for path, name in (("steps", "way"), ("line", "line")):
            found = [at_equal(group, grpo, base, benchmark, k, path) for k in ks]  # type: ignore[arg-type]
            note = "" if found[0].reached else " (not reached)"
            cells = " | ".join(map(difference_at_equal, found))
            yield f"| {named(group.label)} | {found[0].reference:.3f}{note} | {name} | {cells} |"
    yield ""


def line_section(benchmark: str, groups: Sequence[Group], base: Group, ks: Sequence[int]) -> Iterator[str]:
    """pass@k on the line between the base model and the last policies, and what that is above the base model's."""
    yield "#### Pulled back towards the base model"
    yield ""
    yield (
        "Weights at a share of the way from the base model (0) to the last policy (1). In brackets: the difference to "
        "the base model, and its 95% interval over problems and seeds, paired."
    )
    yield ""
    yield "| method | at | " + " | ".join(f"pass@{k}" for k in ks) + " |"
    yield "|---" * (2 + len(ks)) + "|"
    for group in groups:
        if group.is_base:
            continue
        values = [points(group, base, benchmark, k, "line") for k in ks]
        for place, at in enumerate(places_on_line(group, benchmark), start=1):
            cells = [above(one[place], one[0]) for one in values]
            yield f"| {named(group.label)} | {at:g} | {' | '.join(cells)} |"
    yield ""


def places_on_line(group: Group, benchmark: str) -> list[float]:
    """Where on the line every seed's last policy was evaluated."""
    found = [
        {one.interpolation for one in member.evaluations if (one.benchmark, one.policy) == (benchmark, member.steps)}
        for member in group.members
    ]
    return sorted(set.intersection(*found))


if __name__ == "__main__":
    main()
