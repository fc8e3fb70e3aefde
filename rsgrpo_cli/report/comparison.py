"""Compares evaluations problem by problem, and says what else differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rsgrpo_cli.core.intervals import paired_difference, solved_changes
from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.errors import RsgrpoError, UsageError
from rsgrpo_cli.report.evaluations import Evaluation, evaluated_at, find
from rsgrpo_cli.report.measuring import measure_command
from rsgrpo_cli.rewards.rules import reward_of
from rsgrpo_cli.run.run_commands import (
    benchmark_flags,
    benchmark_id,
    choose_benchmark,
    eval_command,
    on_the_same,
    regrading_flags,
    sampling_flags,
    to_measure,
    trust,
)
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import place_flags
from rsgrpo_cli.wording import counted, verb


def find_two(places: Sequence[str], benchmark: str | None) -> tuple[Evaluation, Evaluation]:
    """The evaluations that two places mean: on the benchmark that is named, else on the one that both share.

    Raises:
        MissingError, StaleError: As `evaluations.find`.
        UsageError: If they share several benchmarks, or none of several.
    """
    made = [evaluated_at(place) for place in places]
    names, others = (own for *_, own in made)
    shared = [name for name in names if name in others]
    if benchmark is None and names and others and len(names) + len(others) > 2:
        if len(shared) != 1:
            raise _not_one_shared(places, made, shared)
        benchmark = shared[0]
    found = {}
    for at in sorted((0, 1), key=lambda at: len(made[at][2])):  # what was not evaluated at all is told first
        run, version, own = made[1 - at]
        like = benchmark or (own[0] if own else "")
        found[at] = find(places[at], benchmark, like=(run, version, like) if like in own else None)
    return found[0], found[1]


def _not_one_shared(
    places: Sequence[str], made: Sequence[tuple[RunDir, int, list[str]]], shared: Sequence[str]
) -> UsageError:
    told = [f"{place} was evaluated on {', '.join(own)}" for place, (*_, own) in zip(places, made, strict=True)]
    (first, version, names), (other, policy, _) = made
    measure = to_measure(measure_command(other, policy, None, (first, version, names[0])), "the same")
    return UsageError(", and ".join(told), choose_benchmark(shared) if shared else measure)


def compare(before: Evaluation, after: Evaluation, ks: list[int] | None) -> dict[str, Any]:
    """Paired comparison of two evaluations of the same problems.

    Args:
        before: The one to compare with.
        after: The one that is compared.
        ks: Values of k; those that both summaries have unless given.

    Returns:
        "differences", a row per k, and the prompt_ids "newly_solved" and "newly_lost", None where grades solve nothing;
        all of them over as many samples of each, "compared_samples". "unlike" says what else differs between the two,
        as sentences.

    Raises:
        UsageError: If the problems differ, or there are too few samples for a k.
    """
    require_same_problems([before, after])
    if before.is_graded or after.is_graded:
        return _compare_grades(before, after)
    samples = min(before.num_samples, after.num_samples)
    shared = sorted({row["k"] for row in before.curve()} & {row["k"] for row in after.curve()})
    ks = ks or shared
    if max(ks) > samples:
        few = [one for one in (before, after) if one.num_samples < max(ks)]
        more = "; ".join(_command(one, *_as_drawn(one, one.run, many=False), "-n", str(max(ks))) for one in few)
        raise UsageError(
            f"pass@{max(ks)} needs {max(ks)} samples per problem; there {verb(samples, 'is')} {samples}",
            f"draw more: {more}",
        )
    counts = [evaluation.counts(samples) for evaluation in (before, after)]
    ids = before.problems["prompt_id"].to_pylist()
    solved, lost = solved_changes(counts[0][1], counts[1][1])
    return _heading(before, after, len(ids)) | {
        "differences": [_difference(counts, k) for k in ks],
        "newly_solved": [ids[index] for index in solved],
        "newly_lost": [ids[index] for index in lost],
    }


def _compare_grades(before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """The mean reward, problem by problem; of problems that have one in both."""
    samples = min(before.num_samples, after.num_samples)
    rewards = [one.mean_rewards(samples) for one in (before, after)]
    if None in rewards:
        graded, judged = (before, after) if before.is_graded else (after, before)
        reward = reward_for_all([judged.verifier], [graded.verifier])
        raise UsageError(
            f"{graded.label} was graded and {judged.label} judged right or wrong",
            f"grade both with the same reward, for example: {grade_again([graded], reward)}",
        )
    pairs = zip(*(means for means in rewards if means is not None), strict=True)
    known = np.array([pair for pair in pairs if None not in pair], dtype=float).reshape(-1, 2)
    if not len(known):
        raise UsageError("no problem has a reward in both evaluations", "use a reward that grades them")
    return _heading(before, after, len(known)) | {
        "differences": [_paired("reward", None, [known[:, 0], known[:, 1]])],
        "newly_solved": None,
        "newly_lost": None,
    }


TEST = "two-sided permutation test that flips the signs of the problems' differences, one row at a time"
"""What `p_value` is of."""


def equal_results(result: dict[str, Any]) -> bool:
    """Whether a comparison found the same on every problem in every row."""
    return not any(row["better"] or row["worse"] for row in result["differences"])


def fewer_samples(result: dict[str, Any]) -> list[str]:
    """Notes on evaluations that have more samples than are compared."""
    names, fewer = (result["before"], result["after"]), result["compared_samples"]
    return [
        f"compared at {counted(fewer, 'sample')} per problem: the first {fewer} of the {count} of {name}"
        for name, count in zip(names, result["samples"], strict=True)
        if count > fewer
    ]


def _heading(before: Evaluation, after: Evaluation, problems: int) -> dict[str, Any]:
    """What is compared: both policies, on how many problems, and at how many samples of each."""
    return {
        "benchmark": before.benchmark,
        "before": before.label,
        "after": after.label,
        "problems": problems,
        "samples": [before.num_samples, after.num_samples],
        "compared_samples": min(before.num_samples, after.num_samples),
        "test": TEST,
        "unlike": unlike([(before.label, before), (after.label, after)]),
    }


def require_same_problems(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations that cannot stand beside each other.

    Raises:
        UsageError: If they are of different problems, or of the same worded differently.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.benchmark_id == first.benchmark_id:
            continue
        ids = [evaluation.problems.select(["prompt_id", "ground_truth"]) for evaluation in (first, other)]
        if ids[0].equals(ids[1]):
            raise UsageError(
                f"{first.label} and {other.label} were evaluated on the same problems, worded differently: "
                f"{first.phrasing or first.benchmark_id} against {other.phrasing or other.benchmark_id}",
                "evaluate both with the same template and instruction",
            )
        raise UsageError(
            f"{first.label} ({first.benchmark}) and {other.label} ({other.benchmark}) were evaluated on different "
            "problems",
            _evaluate_both(first, other),
        )


def _evaluate_both(first: Evaluation, other: Evaluation) -> str:
    """The hint to evaluate another policy on the problems of the first, as that was."""
    on, problems = benchmark_flags(first.run, first.version, first.benchmark, first.at), first.benchmark
    if benchmark_id(other.run, problems) in (None, first.benchmark_id):
        flags = [*on, *_as_drawn(first, other.run), *place_flags(other.at)]
        again = eval_command(other.run, other.version, None, *flags)
        return f"evaluate {other.label} on {problems} too: {again}"
    of = [
        (str(one.run.path), [*_policy(one), *_as_drawn(first, one.run), *trust(one.run, "eval")])
        for one in (first, other)
    ]
    return on_the_same(of, problems, on)


def _policy(one: Evaluation) -> list[str]:
    return ["--policy", one.run.policy_name(one.version), *place_flags(one.at)]


def unlike(evaluations: Sequence[tuple[str, Evaluation]]) -> list[str]:
    """What beside the policy differs between evaluations, as sentences: they compare that as well."""
    told = unlike_sampling([(label, sampling_of(one)) for label, one in evaluations])
    by = [(label, one.verifier) for label, one in evaluations]
    graded = unlike_in("graded by", by)
    if graded:
        reward, others = graded_otherwise([verifier for _, verifier in by])
        told.append(f"{graded}; grade again: {grade_again([evaluations[at][1] for at in others], reward)}")
    return told


def reward_for_all(wanted: Iterable[str], others: Iterable[str] = ()) -> str:
    """What --reward takes for evaluations to have one reward: the first of some that none of the others has; else auto.

    Args:
        wanted: What graded evaluations that are as the others should be.
        others: What graded the others.
    """
    taken = {"", *map(reward_of, others)}
    return next((name for name in map(reward_of, wanted) if name not in taken), "auto")


def graded_otherwise(verifiers: Sequence[str]) -> tuple[str, list[int]]:
    """The reward that evaluations can all have, that of the first, and which of them have another.

    Of a reward that was edited, or whose rules have changed since, nobody but who calls it knows which version is
    there now: those of every version have another.

    Args:
        verifiers: What graded each.
    """
    reward, first = reward_for_all(verifiers), verifiers[0]
    edited = len({one for one in verifiers if reward_of(one) == reward}) > 1
    return reward, [at for at, one in enumerate(verifiers) if edited or one != first]


def grade_again(evaluations: Sequence[Evaluation], reward: str) -> str:
    """One line that grades the samples of evaluations by a reward; it asks for no others than there are."""
    return "; ".join(_command(one, *regrading_flags(_as_drawn(one, one.run), reward)) for one in evaluations)


def sampling_of(one: Evaluation) -> dict[str, Any]:
    """The settings of its sampling that tell evaluations apart."""
    return {name: one.sampling.get(name) for name in SAMPLING}


def unlike_sampling(drawn: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """In which settings samples were drawn differently, as sentences; by labels, each as of `sampling_of`."""
    told = (unlike_in(name.replace("_", " "), [(label, one.get(name)) for label, one in drawn]) for name in SAMPLING)
    return [sentence for sentence in told if sentence]


def unlike_in(what: str, values: Sequence[tuple[str, Any]]) -> str:
    """That labels have different values, as temperature: 1.0 (a, b), 0.3 (c); empty where all have the same."""
    labels: dict[str, dict[str, None]] = {}
    for label, value in values:
        labels.setdefault(str(value), {})[label] = None
    if len(labels) < 2:
        return ""
    return f"{what}: " + ", ".join(f"{value} ({', '.join(of)})" for value, of in labels.items())


def _command(one: Evaluation, *flags: str) -> str:
    """The command that adds to an evaluation, or changes it."""
    return eval_command(one.run, one.version, one.benchmark, *place_flags(one.at), *flags, at=one.at)


def _as_drawn(one: Evaluation, run: RunDir, *, many: bool = True) -> list[str]:
    """The flags without which samples of a run would be drawn otherwise than those that are there; `many` as there.

    A run without a readable configuration tells none, as in `run_commands.trust`: the command says what is wrong.
    """
    try:
        config = run.config()
    except RsgrpoError:
        return []
    return sampling_flags(one.run, one.version, one.benchmark, config, one.at, many=many)


SAMPLING = ("temperature", "top_p", "max_tokens", "chat_template", "template_date", "engine", "vllm_dtype")
"""Settings of the sampling that tell two evaluations apart."""


def _difference(counts: list[tuple[Any, Any]], k: int) -> dict[str, Any]:
    return _paired("pass", k, [pass_at_k(n, c, k) for n, c in counts])


def _paired(metric: str, k: int | None, values: list[Any]) -> dict[str, Any]:
    paired = paired_difference(values[0], values[1])
    return {
        "metric": metric,
        "k": k,
        "before": float(values[0].mean()),
        "after": float(values[1].mean()),
        "difference": paired.mean,
        "ci_low": paired.interval.low,
        "ci_high": paired.interval.high,
        "p_value": paired.p_value,
        "better": paired.improved,
        "worse": paired.worsened,
        "tied": paired.tied,
    }
