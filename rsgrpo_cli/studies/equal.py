"""Two methods at equal pass@1: what is left of a difference at large k once both answer as much at the first try.

A method that is stopped earlier, or takes smaller steps, keeps more of its base model's pass@k. So a table at a fixed
number of steps may show nothing but a slower method. Here a policy is compared with the other method *where that has
the same pass@1*, on its way there (its evaluated policies, from the base model on) or on the line from the base model's
weights to its last policy's. Between two evaluated points, pass@1 and pass@k are taken to lie on a straight line.

Shape suffixes: S seeds, M problems of a benchmark, T points of a path, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rsgrpo_cli.core.crossed_bootstrap import draw_weights
from rsgrpo_cli.core.intervals import Interval
from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.studies.groups import Group
from rsgrpo_cli.studies.results import Counts, Result

FloatArray = NDArray[np.float64]
Path = Literal["steps", "line"]
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class AtEqual:
    """What `at_equal` found.

    Args:
        label: The policy's group.
        other: The group that it is compared with.
        path: Along the other's steps, or on the line to its last policy.
        k: Of pass@k.
        reference: pass@1 at which both are compared: the policy's own, or the nearest that the path reaches.
        own: The policy's pass@k.
        others: The other's at that pass@1.
        difference: own - others.
        interval: Its 95% interval, over problems and seeds.
        reached: Whether the path reaches the policy's pass@1.
    """

    label: str
    other: str
    path: Path
    k: int
    reference: float
    own: float
    others: float
    difference: float
    interval: Interval
    reached: bool


def at_equal(
    group: Group, other: Group, base: Group, benchmark: str, k: int, path: Path = "steps", *, seed: int = 0
) -> AtEqual:
    """Compare a group's last policies with another group where that has the same pass@1.

    In every resample of problems and seeds the place of equal pass@1 is looked for again.

    Args:
        group: Its last policies.
        other: The group that is followed.
        base: The base model of both: where the path begins.
        benchmark: The benchmark.
        k: Of pass@k.
        path: Which of the other's paths.
        seed: Of the resampling.

    Raises:
        UsageError: If the groups have other seeds.
        MissingError: If a policy of the path was not evaluated.
    """
    if not group.seeds == other.seeds:
        raise UsageError(
            f"{group.label} has seeds {_told(group)} and {other.label} {_told(other)}",
            "compare groups of the same seeds",
        )
    own = [_values([group.members], benchmark, number)[0] for number in (1, k)]
    along = [points(other, base, benchmark, number, path) for number in (1, k)]
    first, own_k, others_k, reached = _compare(
        *(values.mean(axis=(-2, -1), keepdims=True) for values in (*own, *along))
    )
    drawn = [_resampled(values, np.random.default_rng(seed)) for values in (*own, *along)]
    _, own_R, others_R, _ = _compare(*drawn)
    low, high = np.quantile(own_R - others_R, [0.025, 0.975])
    return AtEqual(
        group.label,
        other.label,
        path,
        k,
        float(first[0]),
        float(own_k[0]),
        float(others_k[0]),
        float(own_k[0] - others_k[0]),
        Interval(float(low), float(high)),
        bool(reached[0]),
    )


def points(group: Group, base: Group, benchmark: str, k: int, path: Path) -> FloatArray:
    """pass@k along a path, the base model first: shape (T, S, M).

    Raises:
        MissingError: If a seed lacks a point that another has, or there are none.
    """
    begin = {member.config.seed: member for member in base.members}
    lacking = [seed for seed in group.seeds if seed not in begin]
    if lacking:
        raise MissingError(
            f"there is no base model of seed {lacking[0]}", "name the base model's runs too, or the sweep"
        )
    start = [begin[seed].counts(benchmark) for seed in group.seeds]
    members = [_on_path(member, benchmark, path) for member in group.members]
    shared = sorted(set.intersection(*(set(one) for one in members)))
    if not shared:
        raise MissingError(
            f"{group.label} was not evaluated along the {path} in every seed",
            "with --eval-every, or with line = [...] in the sweep's file",
        )
    rows = [start, *([one[point] for one in members] for point in shared)]
    return np.stack([np.stack([pass_at_k(one.n_M, one.correct_M, k) for one in row]) for row in rows])


def _on_path(member: Result, benchmark: str, path: Path) -> dict[float, Counts]:
    """Policy, or place on the line to the last policy -> evaluation."""
    found = [one for one in member.evaluations if one.benchmark == benchmark and one.policy > 0]
    if path == "steps":
        return {one.policy: one for one in found if one.interpolation == 1}
    last = max((one.policy for one in found), default=0)
    return {one.interpolation: one for one in found if one.policy == last}


def _values(rows: Sequence[Sequence[Result]], benchmark: str, k: int) -> FloatArray:
    return np.stack(
        [np.stack([pass_at_k(one.n_M, one.correct_M, k) for one in (m.counts(benchmark) for m in row)]) for row in rows]
    )


def _resampled(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Means over resampled seeds and problems, shape (..., R, 1); the same generator draws the same ones."""
    seeds, problems = values.shape[-2:]
    weights_RS = draw_weights(rng, RESAMPLES, seeds)
    weights_RM = draw_weights(rng, RESAMPLES, problems)
    means = [((weights_RS @ one) * weights_RM).sum(axis=-1) for one in values.reshape(-1, seeds, problems)]
    return np.stack(means).reshape(*values.shape[:-2], RESAMPLES, 1)


def _compare(
    own_1: FloatArray, own_k: FloatArray, along_1: FloatArray, along_k: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    """pass@1 compared at, the policy's pass@k, the path's there, and whether it reaches it; each of shape (R,).

    Args:
        own_1: The policy's pass@1, shape (R, 1), as is own_k.
        own_k: Its pass@k.
        along_1: The path's pass@1, shape (T, R, 1), as is along_k.
        along_k: Its pass@k.
    """
    wanted = own_1[..., 0]
    path_1, path_k = along_1[..., 0], along_k[..., 0]
    best = np.full(wanted.shape, -np.inf)  # of the places with that pass@1 the one with the highest pass@k
    for (low_1, high_1), (low_k, high_k) in zip(pairwise(path_1), pairwise(path_k), strict=True):
        rise = high_1 - low_1
        flat = rise == 0
        share = (wanted - low_1) / np.where(flat, 1.0, rise)
        inside = np.where(flat, wanted == low_1, (share >= 0) & (share <= 1))
        best = np.where(inside, np.maximum(best, low_k + share * (high_k - low_k)), best)
    reached = np.isfinite(best)
    nearest = np.abs(path_1 - wanted).argmin(axis=0)
    columns = np.arange(wanted.size)
    reference = np.where(reached, wanted, path_1[nearest, columns])
    return reference, own_k[..., 0], np.where(reached, best, path_k[nearest, columns]), reached


def _told(group: Group) -> str:
    return ",".join(map(str, group.seeds))
