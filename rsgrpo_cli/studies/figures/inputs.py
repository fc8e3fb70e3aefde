"""What figures are asked for, and what they need of the groups they are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.run.run_commands import choose_benchmark, for_each, to_measure
from rsgrpo_cli.run.run_dir import WHOLE
from rsgrpo_cli.studies.comparable import require_comparable, shared_benchmarks
from rsgrpo_cli.studies.groups import Group, labelled, told_seeds
from rsgrpo_cli.studies.kept import then_keep_anew
from rsgrpo_cli.studies.labels import BASE, differing
from rsgrpo_cli.studies.results import Result
from rsgrpo_cli.wording import counted


@dataclass(frozen=True, slots=True)
class Choices:
    """What a user can choose of a figure.

    Args:
        benchmark: The benchmark; needed only where there are several.
        k: Values of k; those that suit the samples unless given.
        baseline: Label of the group that others are compared with; the base model unless given.
        along: A setting; groups that differ in it alone are one line.
        smooth: Steps that a running mean is over; a tenth of the training's unless given, and at most 10.
        trust: Whether functions of the user's own that only the runs name are called.
    """

    benchmark: str | None = None
    k: tuple[int, ...] = ()
    baseline: str | None = None
    along: str | None = None
    smooth: int | None = None
    trust: bool = False


def one_benchmark(groups: Sequence[Group], asked: str | None, *, newest: bool = True, verdicts: bool = True) -> str:
    """The benchmark of a figure; `newest` and `verdicts` as of `comparable.require_comparable`.

    Raises:
        MissingError: If the groups share none.
        UsageError: If they share several and none is asked for, or they do not belong together.
    """
    names = shared_benchmarks(groups, asked)
    if len(names) > 1:
        raise UsageError(f"these runs were evaluated on {', '.join(names)}", choose_benchmark(names))
    require_comparable(groups, names, newest=newest, verdicts=verdicts)
    return names[0]


def with_base(groups: Sequence[Group]) -> list[Group]:
    """The groups, with the base model first: where none is one, as the runs themselves evaluated it.

    There is none if no run did, or the runs started from different models.
    """
    if any(group.is_base for group in groups):
        return list(groups)
    found: list[Result] = []
    for member in (member for group in groups for member in group.members):
        own = [one for one in member.evaluations if one.policy == 0]
        stale = {place: error for place, error in member.stale.items() if place[0] == 0}
        if own or stale:
            named = replace(member, name=f"{member.name}@0", place=member.run, steps=0, policy=0, at=WHOLE)
            found.append(replace(named, evaluations=own, stale=stale, metrics=[]))
    if not found or differing(found):
        return list(groups)
    usable = [base for base in found if base.evaluations]
    first = {base.config.seed: base for base in [*reversed(found), *reversed(usable)]}
    return [Group(BASE, tuple(first[seed] for seed in sorted(first))), *groups]


def baseline_group(groups: Sequence[Group], label: str | None, kind: str, benchmark: str) -> Group:
    """The group that a figure compares the others with.

    Raises:
        UsageError: If no group is called so, or none is named and there are several base models.
        MissingError: If none is named, and nobody evaluated the base model.
    """
    if label is None:
        bases = [group for group in groups if group.is_base]
        if len(bases) == 1:
            return bases[0]
        members = [member for group in groups for member in group.members]
        if any(one.policy == 0 for member in members for one in member.evaluations):
            told = f"{kind} needs one base model, and these runs started from several"
            raise UsageError(told, "name runs of one model, or a group to compare with: --baseline LABEL")
        each = {member.config.seed: member for member in reversed(members)}  # runs of one seed share its samples
        flags = [(one.run, one.as_measured(0, benchmark)) for one in each.values()]
        raise MissingError(
            f"{kind} needs the base model, and {members[0].name} has no evaluation of it",
            f"{then_keep_anew(to_measure(for_each('eval', flags)), members)}; or name a group: --baseline LABEL",
        )
    return labelled(groups, label)


def trained(groups: Sequence[Group], kind: str) -> list[Group]:
    """The groups that are not the base model.

    Raises:
        MissingError: If there is none.
    """
    found = [group for group in groups if not group.is_base]
    if not found:
        name = groups[0].members[0].name
        raise MissingError(f"{kind} needs trained runs, and {name} is a base model", "name the runs trained from it")
    return found


def fewest_samples(groups: Sequence[Group], benchmark: str, *, newest: bool) -> int:
    """The smallest number of samples per problem: of the newest policies, or of all that were evaluated."""
    if newest:
        return min(int(one.n_M.min()) for group in groups for one in group.counts(benchmark))
    each = (one for group in groups for member in group.members for one in member.evaluations)
    return min(int(one.n_M.min()) for one in each if one.benchmark == benchmark)


def require_equal_samples(groups: Sequence[Group], benchmark: str, what: str) -> int:
    """The number of samples per problem, of which there must be one.

    Raises:
        UsageError: If some run has more than another, naming them.
    """
    sizes: dict[int, tuple[Result, int]] = {}
    for group in groups:
        for member, one in zip(group.members, group.counts(benchmark), strict=True):
            for size in {int(n) for n in one.n_M}:
                sizes.setdefault(size, (member, one.policy))
    if len(sizes) > 1:
        few, *_, many = sorted(sizes)
        (fewer, policy), (more, other) = sizes[few], sizes[many]
        raise UsageError(
            f"{what} can only be compared at equal numbers of samples: {_policy(fewer, policy)} has {few} per problem, "
            f"{_policy(more, other)} has {many}",
            then_keep_anew(f"draw more: {fewer.eval_command(policy, benchmark, '-n', str(many))}", [fewer]),
        )
    return next(iter(sizes))


def _policy(result: Result, policy: int) -> str:
    """A policy in words; a base model of `with_base` is named after the run that evaluated it."""
    at = "" if result.at == WHOLE else f" at {result.at:g}"
    return f"policy {policy}{at} of {result.name.removesuffix('@0')}"


def about(groups: Sequence[Group], benchmark: str) -> str:
    """The benchmark, its problems and the seeds, in words."""
    problems = len(groups[0].counts(benchmark)[0].n_M)
    return f"{benchmark}, {counted(problems, 'problem')}, {told_seeds(groups)}"
