"""Methods compared at equal pass@1."""

from dataclasses import replace

import numpy as np
import pytest

from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.studies.equal import at_equal, points
from rsgrpo_cli.studies.groups import Group
from rsgrpo_cli.studies.results import Counts, Result

N = 4


def counts(policy: int, correct: list[int], at: float = 1.0) -> Counts:
    size = len(correct)
    ids = tuple(f"p{number}" for number in range(size))
    return Counts(policy, "toy", "id", ids, np.full(size, N), np.array(correct), np.ones(size, dtype=int), at)


def group(label: str, *evaluations: Counts, seeds: tuple[int, ...] = (0,)) -> Group:
    steps = max(one.policy for one in evaluations)
    made = [Result(label, "", resolve({"seed": seed}), {}, [], list(evaluations), steps) for seed in seeds]
    return Group(label, tuple(made))


BASE = group("base", counts(0, [1, 1, 1, 1]))  # pass@1 .25, pass@4 1


def test_a_method_that_is_only_slower_has_no_difference() -> None:
    # The other goes from .25/1 over .375/.75 to .5/.5; half of the first piece is .3125/.875.
    other = group("fast", counts(1, [2, 2, 2, 0]), counts(2, [4, 4, 0, 0]))
    slow = group("slow", counts(2, [2, 2, 2, 0]))
    found = at_equal(slow, other, BASE, "toy", 4)
    assert (found.reference, found.own, found.others) == pytest.approx((0.375, 0.75, 0.75))
    assert found.reached
    better = at_equal(group("better", counts(2, [2, 1, 1, 1])), other, BASE, "toy", 4)
    assert better.reference == pytest.approx(0.3125)
    assert better.others == pytest.approx(0.875)
    assert better.difference == pytest.approx(0.125)


def test_where_the_path_does_not_get_the_nearest_point_counts() -> None:
    other = group("weak", counts(1, [2, 2, 2, 0]))
    found = at_equal(group("strong", counts(1, [4, 4, 4, 0])), other, BASE, "toy", 4)
    assert not found.reached
    assert (found.reference, found.others) == pytest.approx((0.375, 0.75))


def test_of_several_places_with_that_pass_at_1_the_best_counts() -> None:
    # Up to .5 and back: at .375 it has 1 on the way up and .75 on the way down.
    other = group("bent", counts(1, [3, 3, 1, 1]), counts(2, [2, 1, 1, 0]))
    found = at_equal(group("x", counts(1, [2, 2, 1, 1])), other, BASE, "toy", 4)
    assert found.others == pytest.approx(1.0)


def test_the_line_to_the_last_policy_is_a_path_too() -> None:
    other = group("other", counts(1, [4, 4, 0, 0]), counts(2, [4, 4, 4, 0]), counts(2, [3, 3, 3, 1], at=0.5))
    assert points(other, BASE, "toy", 1, "line")[:, 0].mean(axis=-1) == pytest.approx([0.25, 0.625, 0.75])
    assert points(other, BASE, "toy", 1, "steps")[:, 0].mean(axis=-1) == pytest.approx([0.25, 0.5, 0.75])


def test_the_interval_knows_that_the_place_moves() -> None:
    rng = np.random.default_rng(0)
    right = [rng.integers(0, N + 1, size=60).tolist() for _ in range(3)]
    other, own = group("other", counts(1, right[1])), group("own", counts(1, right[2]))
    found = at_equal(own, other, group("base", counts(0, right[0])), "toy", 4)
    assert found.interval.low < found.difference < found.interval.high
    again = at_equal(own, other, group("base", counts(0, right[0])), "toy", 4)
    assert found == again


def test_what_is_missing_is_named() -> None:
    other = group("other", counts(1, [1, 1, 1, 1]))
    with pytest.raises(UsageError, match="x has seeds 3 and other 0"):
        at_equal(group("x", counts(1, [1, 1, 1, 1]), seeds=(3,)), other, BASE, "toy", 1)
    with pytest.raises(MissingError, match="no base model of seed 3"):
        points(group("x", counts(1, [1, 1, 1, 1]), seeds=(3,)), BASE, "toy", 1, "steps")
    only_base = replace(other, members=tuple(replace(m, evaluations=[counts(0, [1] * 4)]) for m in other.members))
    with pytest.raises(MissingError, match="not evaluated along the steps"):
        points(only_base, BASE, "toy", 1, "steps")
