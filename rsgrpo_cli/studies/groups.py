"""Groups of runs that differ only in their seed, and the pass@k of a group over problems and seeds.

Shape suffixes: S seeds, M problems of a benchmark.
"""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.report.evaluations import split_label, split_line, split_place
from rsgrpo_cli.run.run_commands import for_each, trust_of
from rsgrpo_cli.run.run_dir import WHOLE
from rsgrpo_cli.studies.canary import alike
from rsgrpo_cli.studies.finding import as_measured, find
from rsgrpo_cli.studies.kept import then_keep_anew
from rsgrpo_cli.studies.labels import BASE, apart_by, differing, label_of, spelled_policy, together
from rsgrpo_cli.studies.results import Counts, Result
from rsgrpo_cli.wording import counted, plural

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of the same settings.

    Args:
        label: What it is called.
        members: One result per seed, by rising seed.
    """

    label: str
    members: tuple[Result, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(member.config.seed for member in self.members)

    @property
    def is_base(self) -> bool:
        """Whether it is the base model."""
        return self.members[0].is_base

    def policies(self, benchmark: str) -> list[int]:
        """The policies that were evaluated of every seed."""
        found = [
            {one.policy for one in member.evaluations if one.benchmark == benchmark and one.interpolation == WHOLE}
            for member in self.members
        ]
        return sorted(set.intersection(*found))

    def counts(self, benchmark: str, policy: int | None = None) -> list[Counts]:
        """The evaluation of each seed: of its newest policy unless told."""
        return [member.counts(benchmark, policy) for member in self.members]

    def passed(self, benchmark: str, k: int, policy: int | None = None) -> FloatArray:
        """pass@k of each seed and problem, shape (S, M).

        Raises:
            UsageError: If there are fewer samples than k.
        """
        require_samples([self], [benchmark], k, policy)
        counts = self.counts(benchmark, policy)
        return np.stack([pass_at_k(one.n_M, one.correct_M, k) for one in counts])


def labelled(groups: Sequence[Group], label: str) -> Group:
    """The group of a label.

    Raises:
        UsageError: Naming the groups that there are; of policies, with the way to have their base model beside them.
    """
    found = next((group for group in groups if group.label == label), None)
    if found is not None:
        return found
    hint = f"groups: {', '.join(group.label for group in groups)}"
    of_policy = any(member.policy for group in groups for member in group.members)
    if label == BASE and of_policy:  # @POLICY leaves a sweep's base models out
        place = place_of([member for group in groups for member in group.members])
        hint += f"; the base model's runs have to be named too: {place}@0"
    raise UsageError(f"no group is called {label}", hint)


def bases_of(group: Group, groups: Sequence[Group]) -> list[Group]:
    """The base models among groups that a group's runs may have started from: first what was evaluated as it was."""
    config = group.members[0].config
    found = [one for one in groups if one.is_base and one.members[0].config.model.name == config.model.name]
    return sorted(
        found,
        key=lambda base: (base.members[0].config.eval != config.eval, -len({*base.seeds} & {*group.seeds})),
    )


def told_seeds(groups: Sequence[Group]) -> str:
    """How many seeds groups have: 8 seeds; and which have fewer: 8 seeds (grpo 7)."""
    numbers = {group.label: len(group.members) for group in groups}
    most = max(numbers.values())
    fewer = ", ".join(f"{label} {number}" for label, number in numbers.items() if number < most)
    return counted(most, "seed") + (f" ({fewer})" if fewer else "")


Pair = tuple[Result, Result]


def by_seed(group: Group, others: Sequence[Result], name: str) -> tuple[list[Pair], str]:
    """Each member beside the one of its own seed among others, whose samples are drawn with the same random numbers.

    Args:
        group: The group.
        others: Those that it is compared with, at least one.
        name: What they are called.

    Returns:
        The pairs of the seeds that both have, or with the first of the others where that is none; and in words how
        they are not all seeds with their own, empty where they are.
    """
    known = {other.config.seed: other for other in reversed(others)}
    pairs = [(member, known[member.config.seed]) for member in group.members if member.config.seed in known]
    lacking = [seed for seed in group.seeds if seed not in known]
    if not pairs:
        return [(member, others[0]) for member in group.members], f"against seed {others[0].config.seed} of {name}"
    told = f"without {plural(len(lacking), 'seed')} {', '.join(map(str, lacking))}, which {name} lacks"
    return pairs, told if lacking else ""


def told_together(told: Mapping[str, str]) -> str:
    """What is said of each label, in one sentence that names the labels with equal words together; "" of nothing."""
    alike: dict[str, list[str]] = {}
    for label, words in told.items():
        alike.setdefault(words, []).append(label)
    return "; ".join(f"{', '.join(labels)} {words}" for words, labels in alike.items() if words)


def of_one_seed(groups: Sequence[Group]) -> bool:
    """Whether no group has several seeds."""
    return all(len(group.members) == 1 for group in groups)


def of_one_problem(groups: Sequence[Group], benchmarks: Sequence[str]) -> bool:
    """Whether no benchmark has several problems, so that there are no intervals."""
    return all(len(groups[0].counts(name)[0].n_M) == 1 for name in benchmarks)


def intervals_over(groups: Sequence[Group], benchmarks: Sequence[str], shown_as: str = "") -> str:
    """What the intervals of groups are over, in words, behind what shows them: bands: 95% intervals over problems."""
    if of_one_problem(groups, benchmarks):
        return "no intervals, as there is a single problem"
    if of_one_seed(groups):
        return f"{shown_as}95% intervals over problems (bootstrap)"
    alone = ", ".join(group.label for group in groups if len(group.members) == 1)
    of_one = f", of {alone} over problems alone" if alone else ""
    return f"{shown_as}95% intervals over problems and seeds (pigeonhole bootstrap){of_one}"


def require_samples(groups: Sequence[Group], benchmarks: Sequence[str], k: int, policy: int | None = None) -> None:
    """Refuse groups that have too few samples for pass@k.

    Raises:
        UsageError: Naming the run with the fewest, and one line that draws more for all that need it.
    """
    members = [member for group in groups for member in group.members]
    few = [
        (int(one.n_M.min()), member, member.eval_flags(one.policy, name, "-n", str(k)))
        for name in benchmarks
        for member, one in ((member, member.counts(name, policy)) for member in members)
        if one.n_M.min() < k
    ]
    if few:
        fewest, lacking, _ = min(few, key=lambda one: one[0])
        names = {member.run for _, member, _ in few}
        more = f", the fewest of {len(names)} runs that have too few" if len(names) > 1 else ""
        again = for_each("eval", [(member.run, flags) for _, member, flags in few])
        raise UsageError(
            f"pass@{k} needs {k} samples per problem; {lacking.name} has {fewest}{more}",
            then_keep_anew(
                f"draw more: {again}", [member for _, member, _ in few], f"choose k up to {fewest}", f"-n {k}"
            ),
        )


def find_groups(places: Sequence[str]) -> list[Group]:
    """The groups that "PLACE" or "LABEL=PLACE" name, a base model first.

    Args:
        places: Runs, sweeps, files or folders of results. What is under one label is one group; without a label, runs
            of the same settings are, and of several policies of a run each is one. The label of a whole sweep stands
            before the names of its groups.

    Raises:
        UsageError: If a label has runs of different settings, or two runs of one group have one seed.
        MissingError: If there is nothing at a place.
    """
    found = []
    for place in places:
        label, where = split_label(place)
        label = " ".join(label.split())  # a table has it on one line
        there = find([where])
        several = len({result.is_base for result in there}) > 1 or bool(differing(there))
        policy = spelled_policy(*split_line(split_place(where)[1]))
        found += [(f"{label} {label_of(result)}" if label and several else label, policy, result) for result in there]
    return _grouped(_by_policy(_each_base_once(found)))


def _each_base_once(found: Sequence[tuple[str, str, Result]]) -> list[tuple[str, str, Result]]:
    """Labels, policies and results, without the base models that a sweep shares with one named before it."""
    kept: list[tuple[str, str, Result]] = []
    sweeps: dict[Hashable, str] = {}
    for label, policy, result in found:
        known = sweeps.setdefault(as_measured(result), result.sweep) if result.is_base and not label else result.sweep
        if known == result.sweep:
            kept.append((label, policy, result))
    return kept


def _by_policy(found: Sequence[tuple[str, str, Result]]) -> list[tuple[str, Result]]:
    """Labels and results; what has no label gets its policy's, where several are named or it is on the line to one."""
    named: dict[str, set[str]] = {}
    for label, policy, result in found:
        if not label and not result.is_base:
            named.setdefault(label_of(result), set()).add(policy)
    several = {
        name for name, of in named.items() if len(of) > 1 or any(split_line(policy)[1] != WHOLE for policy in of)
    }
    return [
        (f"{name}@{policy or result.steps}" if not label and (name := label_of(result)) in several else label, result)
        for label, policy, result in found
    ]


def group_results(found: Sequence[Result]) -> list[Group]:
    """The groups of some results, a base model first; `scripts/study_parts.py` draws them. Raises as `find_groups`."""
    return _grouped([("", result) for result in found])


def _grouped(found: Sequence[tuple[str, Result]]) -> list[Group]:
    made: dict[str, list[Result]] = {}
    apart = apart_by([result for label, result in found if not label and result.is_base])
    shared = together([result for label, result in found if not label and not result.is_base])
    for label, result in found:
        name = label or label_of(result, apart)
        made.setdefault(name if label else shared.get(name, name), []).append(result)
    groups = [_group(label, members) for label, members in made.items()]
    _require_alike_code([member for group in groups for member in group.members])
    return sorted(groups, key=lambda group: not group.is_base)


def _group(label: str, found: Sequence[Result]) -> Group:
    members = sorted(found, key=lambda result: result.config.seed)
    first = members[0]
    for other in members[1:]:
        if first.is_base != other.is_base:
            base, trained = (first, other) if first.is_base else (other, first)
            raise UsageError(
                f"{label}: {base.name} is a base model and {trained.name} is not", "give each group a label: LABEL=RUN"
            )
        changed = differing([first, other])
        if changed:
            name, (old, new) = next(iter(changed.items()))
            if name == "policy":  # all else is equal: one of them has not come as far
                raise _other_lengths(label, members)
            this, that = _told_apart(first, other)
            raise UsageError(
                f"{label}: {this} has {name} {old}, and {that} {new}",
                f"runs of one group differ in their seed alone; {_labels_for(first, other)}",
            )
    seeds = [member.config.seed for member in members]
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise _same_seed(label, [member for member in members if member.config.seed == twice], twice)
    return Group(label, tuple(members))


def _other_lengths(label: str, members: Sequence[Result]) -> UsageError:
    """That members of a group have come to other policies: how far each is, and what makes them comparable."""
    last = max(members, key=lambda member: member.steps)
    behind = min(members, key=lambda member: member.steps)
    told = f"{label}: {last.name} is at policy {last.steps}, and {behind.name} at {behind.steps}"
    if any(member.policy is not None for member in members):  # as they were asked for
        return UsageError(told, "name one policy for all of a group; to compare policies: LABEL=RUN@POLICY for each")
    short = [(member.run, ["--steps", str(last.steps)]) for member in members if member.steps < last.steps]
    flags = trust_of(last.config, "train")
    rest = for_each("train", [(run, [*steps, *flags]) for run, steps in short])
    shared = {*_evaluated(members[0])}.intersection(*map(_evaluated, members))
    newest = f"compare the newest policy that all have, {place_of(members)}@{max(shared)}; or " if shared else ""
    return UsageError(told, f"{newest}train the rest: {rest}")


def place_of(members: Sequence[Result]) -> str:
    """The folder that members are in, as a place to compare; RUN, where each was named by itself."""
    folders = {str(Path(member.file or member.run).parent) for member in members if member.sweep}
    return folders.pop() if len(folders) == 1 else "RUN"


def _evaluated(member: Result) -> set[int]:
    return {one.policy for one in member.evaluations if one.interpolation == WHOLE and one.policy}


def _same_seed(label: str, found: Sequence[Result], seed: int) -> UsageError:
    """That two results of a group are not two seeds: one that is named twice, or two of the same settings and seed."""
    one, other = found[:2]
    if one.run == other.run:
        return UsageError(f"{label}: {one.run} is named twice", "name each run once; in two groups: LABEL=RUN")
    return UsageError(
        f"{label}: {' and '.join(_told_apart(one, other))} both have seed {seed}, and a group has each seed once",
        f"leave one of them out; to compare them, {_labels_for(one, other)}",
    )


def _told_apart(one: Result, other: Result) -> tuple[str, str]:
    """The names of two results; with their folders, where they have the same."""
    return (one.name, other.name) if one.name != other.name else (one.run, other.run)


def _labels_for(one: Result, other: Result) -> str:
    """How to say that two results are of two groups: a label for each sweep, where they are of two."""
    if one.sweep and other.sweep and one.sweep != other.sweep:
        labelled = [shlex.quote(f"{result.sweep}={place_of([result])}") for result in (one, other)]
        return f"give each sweep a label: {' '.join(labelled)}"
    return "give each group a label: LABEL=RUN"


def _require_alike_code(found: Sequence[Result]) -> None:
    """Refuse results of code that behaves otherwise; those of run directories do not know."""
    known = [result for result in found if result.canary]
    for other in known[1:]:
        if not alike(known[0].canary, other.canary):
            raise UsageError(
                f"{known[0].name} and {other.name} were made by code that behaves differently",
                "make one of them again with the other's version of rsgrpo",
            )
