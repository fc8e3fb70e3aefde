"""Intervals over problems and seeds together."""

import numpy as np
import pytest

from rsgrpo_cli.core.crossed_bootstrap import crossed_difference_interval, crossed_interval
from rsgrpo_cli.core.intervals import bootstrap_interval


def test_equal_values_have_no_width() -> None:
    found = crossed_interval([np.full((3, 5), 0.25)])
    assert found.low == pytest.approx(0.25)
    assert found.high == pytest.approx(0.25)


def test_one_seed_is_the_bootstrap_over_problems() -> None:
    values = np.random.default_rng(0).random(200)
    crossed, plain = crossed_interval([values[None]]), bootstrap_interval(values)
    assert crossed.low == pytest.approx(plain.low, abs=2e-3)
    assert crossed.high == pytest.approx(plain.high, abs=2e-3)


def test_seeds_that_differ_as_a_whole_widen_it() -> None:
    # Two seeds, 0 and 1 on every problem: a resample has both (half of the time), or one of them twice.
    found = crossed_interval([np.repeat([[0.0], [1.0]], 50, axis=1)])
    assert (found.low, found.high) == pytest.approx((0.0, 1.0))


def test_what_both_sides_share_drops_out_of_a_paired_difference() -> None:
    hard = np.random.default_rng(1).random(300)
    before = np.stack([hard, hard + 0.2])  # problems and seeds differ widely, the difference is always 0.1
    paired = crossed_difference_interval([before + 0.1], [before])
    assert (paired.low, paired.high) == pytest.approx((0.1, 0.1))
    apart = crossed_difference_interval([before + 0.1], [before], paired_seeds=False)
    assert apart.low == pytest.approx(-0.1)  # seeds 0, 0 against 1, 1
    assert apart.high == pytest.approx(0.3)


def test_coverage_is_about_what_it_says() -> None:
    # Values are a seed's effect plus a problem's effect plus noise; the mean of all is 0.
    rng, hits = np.random.default_rng(2), 0
    for _ in range(200):
        values = rng.normal(size=(8, 1)) * 0.1 + rng.normal(size=(1, 60)) * 0.3 + rng.normal(size=(8, 60)) * 0.2
        found = crossed_interval([values], resamples=2000)
        hits += found.low <= 0 <= found.high
    assert 180 <= hits <= 199  # 95% would be 190, with a standard deviation of 3


def test_several_benchmarks_weigh_the_same() -> None:
    few, many = np.zeros((2, 4)), np.ones((2, 400))
    found = crossed_interval([few, many])
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("after", "before", "told"),
    [
        ([np.zeros(3)], None, "shape"),
        ([np.full((1, 2), np.nan)], None, "finite"),
        ([], None, "at least one benchmark"),
        ([np.zeros((2, 3))], [np.zeros((2, 4))], "same problems"),
        ([np.zeros((2, 3))], [np.zeros((3, 3))], "paired seeds"),
        ([np.zeros((2, 3)), np.zeros((3, 3))], None, "same seeds"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    after: list[np.ndarray], before: list[np.ndarray] | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        crossed_difference_interval(after, before)


def test_a_single_problem_has_no_interval() -> None:
    assert np.isnan(crossed_interval([np.zeros((3, 1))]).low)
