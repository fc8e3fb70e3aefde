"""Whether evaluations of groups belong together: every table and every figure of groups asks here first.

`report.comparison` asks the same of two evaluations, and says in the same words what else differs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.report.comparison import SAMPLING, graded_otherwise, reward_for_all, unlike_in
from rsgrpo_cli.report.evaluations import load
from rsgrpo_cli.run.run_commands import for_each, on_the_same, to_measure, trust_of
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies.groups import Group, place_of
from rsgrpo_cli.studies.kept import then_keep_anew
from rsgrpo_cli.studies.labels import spelled_policy
from rsgrpo_cli.studies.results import Counts, Result
from rsgrpo_cli.wording import verb

_Shown = tuple[Result, Counts]


def require_comparable(
    groups: Sequence[Group], benchmarks: Sequence[str], *, newest: bool = True, verdicts: bool = True
) -> None:
    """Refuse groups whose evaluations cannot stand beside each other.

    Args:
        groups: The groups.
        benchmarks: On which all of them were evaluated.
        newest: Whether each group is shown by its newest policy alone. If not, several of its policies are labelled.
        verdicts: Whether right and wrong answers are counted, of which grades have none.

    Raises:
        StaleError: If the newest evaluation of a run is stale.
        UsageError: If they are of other problems, of policies on their way, or of grades.
    """
    of_same = [name for name in benchmarks if _other_problems(_members(groups), name) is None]
    for name in benchmarks:
        _require_same_problems(_members(groups), name, of_same)
        if newest:
            _require_one_policy(groups, name)
        if verdicts:
            _require_verdicts(groups, name, newest=newest)


def is_graded(groups: Sequence[Group], benchmarks: Sequence[str]) -> bool:
    """Whether some evaluation is of grades; then all are compared by their mean reward.

    Raises:
        UsageError: If a verifier judged another one.
    """
    found = [(member, member.counts(name)) for name in benchmarks for member in _members(groups)]
    graded = [(member, one) for member, one in found if one.graded]
    judged = [(member, one) for member, one in found if one.reward_M is None]
    if graded and judged:
        raise UsageError(
            f"{graded[0][0].name} was graded and {judged[0][0].name} judged right or wrong",
            _graded_by(_reward_of(judged, graded), graded, "grade all with the same reward, for example"),
        )
    return bool(graded)


def to_grade_alike(groups: Sequence[Group], benchmarks: Sequence[str]) -> str:
    """The hint to grade newest evaluations by one reward, where they were by several; "" where they were not."""
    parts = []
    for name in benchmarks:
        shown = [one for group in groups for one in _shown(group, name, on_the_way=False) if one[1].verifier]
        if len({one.verifier for _, one in shown}) > 1:
            reward, others = graded_otherwise([one.verifier for _, one in shown])
            parts.append(_graded_by(reward, [shown[at] for at in others], f"grade again on {name}"))
    return "; ".join(parts)


def ending(groups: Sequence[Group], benchmarks: Sequence[str], *, newest: bool = True, on_the_way: bool = False) -> str:
    """The end of a caption: what differs between the evaluations beside the settings of the groups; "" if nothing does.

    Args:
        groups: The groups.
        benchmarks: The benchmarks.
        newest: As of `require_comparable`.
        on_the_way: Whether earlier policies are shown, too.
    """
    told = unlike(groups, benchmarks, newest=newest, on_the_way=on_the_way)
    stale = [
        f"{member.name}@{policy}"
        for member in _members(groups)
        for policy, name in member.own_stale()
        if on_the_way and name in benchmarks
    ]
    left_out = f" Left out, as stale: {', '.join(dict.fromkeys(stale))}." if stale else ""
    return _told_asked(groups, on_the_way) + (f" Different: {'; '.join(told)}." if told else "") + left_out


def _told_asked(groups: Sequence[Group], on_the_way: bool) -> str:
    """The one policy that was asked for of all that were trained, as a sentence; "" where it is each one's newest."""
    trained = [member for member in _members(groups) if not member.is_base]
    asked = {spelled_policy(str(member.policy), member.at) for member in trained if member.policy is not None}
    return f" {'Up to' if on_the_way else 'At'} policy {asked.pop()}." if len(asked) == 1 else ""


def unlike(
    groups: Sequence[Group], benchmarks: Sequence[str], *, newest: bool = True, on_the_way: bool = False
) -> list[str]:
    """What differs between evaluations beside the settings of their groups, as sentences; arguments as of `ending`."""
    told = []
    for name in benchmarks:
        shown = partial(_shown, benchmark=name, on_the_way=on_the_way)
        told += [unlike_in("policy", _policies(groups, name))] if newest else []
        for setting in SAMPLING:
            told.append(unlike_in(setting.replace("_", " "), _labelled(groups, shown, partial(_drawn, setting))))
        told.append(unlike_in("graded by", _labelled(groups, shown, lambda _, one: one.verifier or None)))
    return [sentence for sentence in dict.fromkeys(told) if sentence]


def _drawn(setting: str, _: Result, one: Counts) -> str | None:
    """A setting of the sampling; None where a kept file of an older version does not say it."""
    return str(one.sampling.get(setting)) if one.sampling else None


def _shown(group: Group, benchmark: str, *, on_the_way: bool) -> list[_Shown]:
    if not on_the_way:
        return [(member, member.counts(benchmark)) for member in group.members]
    each = [(member, one) for member in group.members for one in member.evaluations if one.benchmark == benchmark]
    return [(member, one) for member, one in each if member.is_its_own(one)]


def _policies(groups: Sequence[Group], benchmark: str) -> list[tuple[str, Any]]:
    return _labelled(
        [group for group in groups if not group.is_base],
        lambda group: _shown(group, benchmark, on_the_way=False),
        lambda member, one: spelled_policy(str(one.policy), member.at),
    )


def _labelled(
    groups: Sequence[Group], shown: Callable[[Group], list[_Shown]], value: Callable[[Result, Counts], Any]
) -> list[tuple[str, Any]]:
    """Labels and values: of a group, or of each evaluation where those of one group differ; None is not known."""
    found = []
    for group in groups:
        all_of = [(f"{_run(member)}@{one.policy}", value(member, one)) for member, one in shown(group)]
        known = [(label, told) for label, told in all_of if told is not None]
        alike = len({str(told) for _, told in known}) == 1
        found += [(group.label, known[0][1])] if alike else known
    return found


def _run(member: Result) -> str:
    """The run's name; a base model may be named after the run that evaluated it."""
    return member.name.removesuffix("@0")


def _members(groups: Sequence[Group]) -> list[Result]:
    return [member for group in groups for member in group.members]


# -- which benchmarks -------------------------------------------------------------------------------------------------


def shared_benchmarks(groups: Sequence[Group], asked: str | None) -> list[str]:
    """The benchmarks on which every group was evaluated; the one asked for.

    Raises:
        MissingError: If there is none.
    """
    found = [list(_benchmarks_of(member)) for member in _members(groups)]
    names = [name for name in found[0] if all(name in one for one in found) and asked in (None, name)]
    if not names:
        raise _nothing_shared(_members(groups), asked)
    return names


def _benchmarks_of(member: Result) -> dict[str, None]:
    """Those on which it was evaluated itself; with what is stale, which is refused and not passed over."""
    fresh = [one.benchmark for one in member.evaluations if member.is_its_own(one)]
    return dict.fromkeys([*fresh, *(name for _, name in member.own_stale())])


def _nothing_shared(members: Sequence[Result], asked: str | None) -> MissingError:
    """That no benchmark is shared: the one that most have, and a line that evaluates the others on it."""
    having: dict[str, list[Result]] = {}
    for member in members:
        for name in _benchmarks_of(member):
            having.setdefault(name, []).append(member)
    wanted = asked or max(having, key=lambda name: len(having[name]), default=None)
    know = having.get(wanted or "", [])
    lacking = [member for member in members if member not in know]
    on = [know[0].benchmark_flags(wanted, one.config, many=True) if know else None for one in lacking]
    each = zip(lacking, on, strict=True)
    again = for_each("eval", [(one.run, one.eval_flags(None, wanted, on=flags)) for one, flags in each])
    told = f"{lacking[0].name} has no evaluation"
    if asked and having and not know:
        told = f"no run has an evaluation on {asked}; there are some on {', '.join(having)}"
    elif asked:
        told += f" on {asked}"
    elif know:
        who = f"{len(know)} of {len(members)} runs {verb(len(know), 'has')}"
        told = f"no benchmark is shared by all: {told} on {wanted}, which {who}"
    measure = then_keep_anew(to_measure(again, "it" if len(lacking) == 1 else "them"), lacking)
    short = [(one.run, trust_of(one.config, "train")) for one in lacking if one.is_on_its_way]
    return MissingError(told, f"train the rest: {for_each('train', short)}; or {measure}" if short else measure)


# -- the same problems ------------------------------------------------------------------------------------------------


def _other_problems(members: Sequence[Result], name: str) -> Result | None:
    """A run that was evaluated on other problems than the first, by one name: of another file, or reworded."""
    expected = members[0].counts(name).benchmark_id
    return next((member for member in members if member.counts(name).benchmark_id != expected), None)


def _require_same_problems(members: Sequence[Result], name: str, others: Sequence[str]) -> None:
    """Refuse runs that were evaluated on other problems by one name; on the other benchmarks all may have the same."""
    first, other = members[0], _other_problems(members, name)
    if other is None:
        return
    leave_out = f"; or compare on others alone: --benchmark {shlex.quote(others[0])}" if others else ""
    if _in_other_words(first, other, name):
        raise UsageError(
            f"{first.name} and {other.name} were evaluated on the same problems, worded differently",
            f"evaluate all with the same template and instruction{leave_out}",
        )
    drawn = [first.drawn_flags(name, member.config, many=True) for member in members]
    each = zip(members, drawn, strict=True)
    of = [(member.run, member.eval_flags(None, None, *flags, on=())) for member, flags in each]
    raise UsageError(
        f"{first.name} and {other.name} were evaluated on different problems, both called {name}",
        on_the_same(of, name, first.problems_flags(name)) + leave_out,
    )


def _in_other_words(first: Result, other: Result, name: str) -> bool:
    """Whether problems differ in their wording alone, as far as the runs are there to tell."""
    if not (first.place and other.place):
        return False
    both = [(RunDir(Path(member.place)), member.counts(name), member.at) for member in (first, other)]
    asked = [load(run, one.policy, name, at).problems.select(["prompt_id", "ground_truth"]) for run, one, at in both]
    return bool(asked[0].equals(asked[1]))


# -- verdicts ---------------------------------------------------------------------------------------------------------


def _require_verdicts(groups: Sequence[Group], name: str, *, newest: bool) -> None:
    shown = [one for group in groups for one in _shown(group, name, on_the_way=not newest)]
    graded = [(member, one) for member, one in shown if one.graded]
    if not graded:
        return
    told = f"{graded[0][0].name} was graded on {name}, and grades have no pass@k and no solve rates"
    judged = [(member, one) for member, one in shown if one.reward_M is None and not one.graded]
    if not any(one.policy for _, one in judged):  # another command may have measured the base model
        raise UsageError(told, f"compare their mean rewards: {_compare(groups)}")
    again = _graded_by(_reward_of(judged, graded), graded, "have all judged")
    raise UsageError(f"{told}; others were judged right or wrong", again)


def _reward_of(wanted: Sequence[_Shown], others: Sequence[_Shown]) -> str:
    """The reward that evaluations were graded by, for others to have the same."""
    return reward_for_all([one.verifier for _, one in wanted], [one.verifier for _, one in others])


def _graded_by(reward: str, found: Sequence[_Shown], what: str) -> str:
    """The hint to grade evaluations by a reward."""
    again = for_each("eval", [(member.run, member.regraded(one, reward)) for member, one in found])
    return then_keep_anew(f"{what}: {again}", [member for member, _ in found])


def require_answers(groups: Sequence[Group], benchmark: str) -> None:
    """Refuse evaluations that a function of the user's own graded: it says of no completion what its answer is.

    Raises:
        UsageError: If there is one.
    """
    for group in groups:
        for member, one in _shown(group, benchmark, on_the_way=True):
            if one.reward_M is not None:
                raise UsageError(
                    f"{member.name} was graded on {benchmark} by a function that extracts no answers to tell apart",
                    f"compare something else: {_compare(groups)}",
                )


def _compare(groups: Sequence[Group]) -> str:
    """The command that compares the groups' runs, as of the policy that was asked for."""
    asked: dict[str, list[Result]] = {}
    for member in _named(groups):
        policy = "" if member.policy is None else f"@{spelled_policy(str(member.policy), member.at)}"
        asked.setdefault(policy, []).append(member)
    return shlex.join(
        ["rsgrpo", "compare", *(place + policy for policy, members in asked.items() for place in _places(members))]
    )


def _named(groups: Sequence[Group]) -> list[Result]:
    """The members that a user named, without the base models that come with them; those, where there are no others."""
    members = _members(groups)
    return [member for member in members if not member.name.endswith("@0")] or members


def _places(members: Sequence[Result]) -> list[str]:
    """Places that name some runs: their sweep, or each."""
    place = place_of(members)
    return [place] if place != "RUN" else list(dict.fromkeys(member.file or member.run for member in members))


# -- the same policy --------------------------------------------------------------------------------------------------


_Reached = Sequence[tuple[Result, int]]
"""Runs, and the policy of the newest evaluation of each."""


def _require_one_policy(groups: Sequence[Group], benchmark: str) -> None:
    """Refuse groups of which one is on its way: what it has come to is not what the others have.

    A policy is as it was asked for where it is named, or where its run ends.
    """
    for group in groups:
        _require_one_policy_of(group, benchmark)
    reached = [(member, member.counts(benchmark).policy) for member in _members(groups) if not member.is_base]
    behind = [one for one in reached if one[0].policy is None and one[1] < one[0].config.train.steps]
    if behind and len({policy for _, policy in reached}) > 1:
        raise _on_its_way([group for group in groups if not group.is_base], reached, behind, benchmark)


def _on_its_way(groups: Sequence[Group], reached: _Reached, behind: _Reached, benchmark: str) -> UsageError:
    """That groups have come to other policies: how far two are, and what makes them comparable."""
    first, policy = behind[0]
    other, others = next(one for one in reached if one[1] != policy)
    told = f"{first.name} has reached policy {policy} of {first.config.train.steps}, and {other.name} to {others}"
    newest = max(set.intersection(*(set(group.policies(benchmark)) for group in groups)), default=0)
    places = shlex.join(f"{place}@{newest}" for place in _places(_named(groups)))
    ways = [f"compare the newest that all have, {places}"] if newest else []
    short = [(one.run, trust_of(one.config, "train")) for one, _ in behind if one.steps < one.config.train.steps]
    ways += [f"train the rest: {for_each('train', short)}"] if short else []
    left = [(one.run, one.as_measured(one.steps, benchmark)) for one, at in behind if at < one.steps]
    ways += [f"evaluate the newest: {for_each('eval', left)}"] if left and not short else []
    return UsageError(told, "; or ".join([*ways, "name the policies that are meant: LABEL=RUN@POLICY for each"]))


def _require_one_policy_of(group: Group, benchmark: str) -> None:
    """Refuse a group whose newest evaluations are of other policies: a mean over them is of no policy.

    Raises:
        UsageError: Naming a run that is behind, and a line that evaluates what is missing.
    """
    newest = [member.counts(benchmark).policy for member in group.members]
    last = max(newest)
    behind = [(member, policy) for member, policy in zip(group.members, newest, strict=True) if policy < last]
    if behind:
        shared, (first, policy) = group.policies(benchmark), behind[0]
        again = for_each("eval", [(one.run, one.as_measured(last, benchmark)) for one, _ in behind])
        other = f"; or compare the newest that all have, @{shared[-1]}" if shared else ""
        raise UsageError(
            f"{first.name} was evaluated on {benchmark} up to policy {policy}, others of {group.label} up to {last}",
            then_keep_anew(f"evaluate what is missing: {again}", [one for one, _ in behind]) + other,
        )
