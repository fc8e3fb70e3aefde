"""The sections of docs/study.md on how a method comes by its pass@k: what changes, and on which problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations
from math import comb

import numpy as np
from numpy.typing import NDArray
from study_parts import above, last_entropy, named

from rsgrpo_cli.core.crossed_bootstrap import FloatArray
from rsgrpo_cli.studies.comparison import Comparison
from rsgrpo_cli.studies.figures import weights
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.groups import Group

EDGES = (0.0, 0.01, 0.1, 0.3, 0.6, 1.0)
"""Solve rates of the base model between which problems are told apart; the last belongs to the last part."""


def what_changes(benchmark: str, groups: Sequence[Group], to_base: Comparison) -> Iterator[str]:
    """Entropy, distinct answers, problems won and lost."""
    yield "#### How it comes about"
    yield ""
    yield "| method | entropy at the end (nats per token) | distinct answers of 256 | newly solved | lost |"
    yield "|---|---|---|---|---|"
    for group in groups:
        distinct = np.mean([one.distinct_M.mean() for one in group.counts(benchmark)])
        entropy = "" if group.is_base else f"{last_entropy(group):.2f}"
        changes = (by_chance(group, benchmark),) * 2 if group.is_base else to_base.changes.get(named(group.label), ())
        cells = [f"{change:.1f}" for change in changes] or ["", ""]
        yield f"| {named(group.label)} | {entropy} | {distinct:.1f} | {' | '.join(cells)} |"
    yield ""
    yield (
        "Newly solved and lost: problems per seed, against the base model with as many samples. The base model's own "
        "are against its samples of another seed: what chance alone does. So only the difference of the two says "
        "something."
    )
    yield ""


def by_chance(base: Group, benchmark: str) -> float:
    """Problems that samples of one seed solve and those of another do not, on average over all pairs of seeds."""
    solved_SM = np.stack([one.correct_M > 0 for one in base.counts(benchmark)])
    pairs = permutations(solved_SM, 2)
    return float(np.mean([(one_M & ~other_M).sum() for one_M, other_M in pairs]))


def on_which_problems(benchmark: str, groups: Sequence[Group], base: Group, ks: Sequence[int]) -> Iterator[str]:
    """What a method does to easy and to hard problems, and how much of its gradient is theirs.

    Args:
        benchmark: What all were evaluated on.
        groups: The groups, the base model among them.
        base: The base model.
        ks: Values of k.
    """
    size = groups[-1].members[0].config.rollout.group_size
    yield "#### On which problems"
    yield ""
    yield (
        "Problems by how often the base model solves them, over all seeds. *Share of |A|*: what part of all absolute "
        f"advantages falls on them when the base model samples groups of {size}: on training problems, that is what "
        "the gradient of the first step is weighted with. In brackets: the difference to the base model on these "
        "problems, and its 95% interval over problems and seeds, paired."
    )
    yield ""
    yield f"| base model | problems | method | share of \\|A\\| | {' | '.join(f'pass@{k}' for k in ks)} |"
    yield "|---" * (4 + len(ks)) + "|"
    trained = [group for group in groups if not group.is_base]
    shares = {group.label: share_of_advantage(group, base, benchmark) for group in trained}
    for told, part_M in parts(base, benchmark):
        for group in trained:
            where = f"{told} | {part_M.sum()}" if group is trained[0] else " | "
            cells = [above(group.passed(benchmark, k)[:, part_M], base.passed(benchmark, k)[:, part_M]) for k in ks]
            share = shares[group.label][part_M].sum()
            yield f"| {where} | {named(group.label)} | {share:.0%} | {' | '.join(cells)} |"
    yield ""


def parts(base: Group, benchmark: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The parts of a benchmark that have problems: what they are called, and which problems are theirs, shape (M,)."""
    rate_M = base.passed(benchmark, 1).mean(axis=0)
    for low, high in pairwise(EDGES):
        part_M = (rate_M >= low) & ((rate_M < high) | (high == EDGES[-1]))
        if part_M.any():
            yield (f"below {high:g}" if low == 0 else f"{low:g} to {high:g}"), part_M


def share_of_advantage(group: Group, base: Group, benchmark: str) -> FloatArray:
    """Each problem's share of all |A| that a group's estimator gives to groups of the base model's samples, shape (M,).

    How many of a group are right is as for a draw without replacement from the base model's samples. Advantages are
    taken before the scaling of a step, which changes no share.
    """
    (method,) = weights.collect([group], Choices()).methods
    weights_R = np.array([one["weight"] for one in method["by_difficulty"]])  # of 0, 1, 2 ... right answers
    size = len(weights_R) - 1
    counts = base.counts(benchmark)
    weight_SM = np.array(
        [[right_of(size, *pair) @ weights_R for pair in zip(one.n_M, one.correct_M, strict=True)] for one in counts]
    )
    return np.asarray(weight_SM.sum(axis=0) / weight_SM.sum())


def right_of(size: int, n: int, right: int) -> FloatArray:
    """How probably 0, 1, 2 ... of `size` samples are right that are drawn from n, of which `right` are: (size + 1,)."""
    ways = [comb(right, drawn) * comb(n - right, size - drawn) for drawn in range(size + 1)]
    return np.array([one / comb(n, size) for one in ways])
