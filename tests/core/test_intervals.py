"""Error bars: against closed forms, full enumeration and known quantiles."""

import itertools
import math

import numpy as np
import pytest

from rsgrpo_cli.core import intervals
from rsgrpo_cli.core.intervals import (
    bootstrap_interval,
    bootstrap_macro_interval,
    paired_difference,
    sign_flip_p_value,
    solved_changes,
)


class TestBootstrap:
    def test_against_the_exact_distribution(self) -> None:
        # 4 of 16 solved: the resampled number solved is Bin(16, 1/4), whose 2.5% and 97.5% quantiles are 1 and 8
        # (P(0) = 0.0100, P(<= 1) = 0.0635; P(<= 7) = 0.9729, P(<= 8) = 0.9925).
        interval = bootstrap_interval([1] * 4 + [0] * 12)
        assert (interval.low, interval.high) == (1 / 16, 8 / 16)

    def test_width_of_many_problems(self) -> None:
        values = np.random.default_rng(0).random(400)
        interval = bootstrap_interval(values)
        half = 1.96 * values.std() / 20
        assert interval.low == pytest.approx(values.mean() - half, abs=0.05 * half)
        assert interval.high == pytest.approx(values.mean() + half, abs=0.05 * half)
        assert bootstrap_interval(values, confidence=0.5).low > interval.low

    def test_the_seed_decides(self) -> None:
        values = np.random.default_rng(0).random(10)
        assert bootstrap_interval(values) == bootstrap_interval(values)
        assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)

    def test_blocks_do_not_change_the_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.random.default_rng(0).random(10)
        whole = bootstrap_interval(values, resamples=1000)
        monkeypatch.setattr(intervals, "_CHUNK", 64)
        assert bootstrap_interval(values, resamples=1000) == whole

    def test_equal_values(self) -> None:
        interval = bootstrap_interval([0.25] * 5)
        assert (interval.low, interval.high) == (0.25, 0.25)

    def test_one_problem_has_none(self) -> None:
        interval = bootstrap_interval([0.5])
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)

    def test_macro_mean_is_stratified(self) -> None:
        # Two benchmarks without spread inside have none, however far apart they are.
        interval = bootstrap_macro_interval([[0.2] * 30, [0.8] * 500])
        assert interval.low == pytest.approx(0.5)
        assert interval.high == pytest.approx(0.5)
        # One of two varies: half its width.
        values = np.random.default_rng(0).random(400)
        alone, macro = bootstrap_interval(values), bootstrap_macro_interval([values, [0.5, 0.5]])
        assert macro.high - macro.low == pytest.approx((alone.high - alone.low) / 2, rel=0.05)
        assert math.isnan(bootstrap_macro_interval([values, [0.5]]).low)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            bootstrap_interval([])
        with pytest.raises(ValueError, match="NaN or inf"):
            bootstrap_interval([0.5, float("nan")])
        with pytest.raises(ValueError, match="confidence"):
            bootstrap_interval([0.5, 1], confidence=95)
        with pytest.raises(ValueError, match="resample"):
            bootstrap_interval([0.5, 1], resamples=0)
        with pytest.raises(ValueError, match="at least one benchmark"):
            bootstrap_macro_interval([])


class TestSignFlips:
    def test_by_hand(self) -> None:
        # |+-1 +-1 +-1| >= 3 in 2 of 8 patterns; problems that tie do not count.
        assert sign_flip_p_value([1, 1, 1]) == 0.25
        assert sign_flip_p_value([1, 0, 1, 0, 1]) == 0.25
        # 3 - 1 = 2: sums +-4 and +-2, all of them as large.
        assert sign_flip_p_value([3, -1]) == 1
        assert sign_flip_p_value([0, 0]) == 1

    def test_equals_enumeration(self) -> None:
        differences = np.random.default_rng(0).normal(0.3, size=9)
        sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=9)]
        expected = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12)
        assert sign_flip_p_value(differences) == expected

    def test_ties_are_not_lost_to_rounding(self) -> None:
        # 0.1 + 0.2 - 0.3 is not 0 in floating point: every pattern of sum 0.6 or 0 must be counted right.
        assert sign_flip_p_value([0.1, 0.2, 0.3]) == 0.25
        assert sign_flip_p_value([0.1, 0.2, -0.3]) == 1
        # +-3 +-2 +-8 +-2 +-7 +-5 tenths are 0.3 or more in 58 of 64 patterns; without a tolerance 54 are found.
        assert sign_flip_p_value([-0.3, 0.2, 0.8, -0.2, -0.7, 0.5]) == 58 / 64

    def test_draws_agree_with_enumeration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        differences = np.random.default_rng(1).normal(0.4, size=12)
        exact = sign_flip_p_value(differences)
        monkeypatch.setattr(intervals, "EXACT_FLIPS", 0)
        drawn = sign_flip_p_value(differences, flips=20_000)
        assert abs(drawn - exact) < 5 * math.sqrt(exact / 20_000) + 1 / 20_000

    def test_never_zero_where_drawn(self) -> None:
        # 1 in 2^40 patterns is as large: (1 + 0) / (1 + 99).
        assert sign_flip_p_value([1] * 40, flips=99) == 0.01

    def test_blocks_do_not_change_the_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        differences = np.random.default_rng(2).normal(0.1, size=40)
        whole = sign_flip_p_value(differences, flips=500)
        monkeypatch.setattr(intervals, "_CHUNK", 400)
        assert abs(sign_flip_p_value(differences, flips=500) - whole) < 0.1


class TestPairedDifference:
    def test_by_hand(self) -> None:
        result = paired_difference([0.0, 0.5, 1.0, 0.5], [0.5, 1.0, 0.5, 0.5])
        assert result.mean == 0.125  # (0.5 + 0.5 - 0.5 + 0) / 4
        assert (result.improved, result.worsened, result.tied) == (2, 1, 1)
        assert result.p_value == 1  # +-0.5 three times: every sum is 0.5 or 1.5
        assert result.interval.low < 0.125 < result.interval.high

    def test_pairing_takes_out_the_spread_between_problems(self) -> None:
        before = np.random.default_rng(0).random(60)
        result = paired_difference(before, before + 0.02)
        assert result.interval.low == pytest.approx(0.02)
        assert result.interval.high == pytest.approx(0.02)
        assert result.p_value == pytest.approx(1 / 10_001)

    def test_turns_around(self) -> None:
        rng = np.random.default_rng(0)
        before, after = rng.random(20), rng.random(20)
        there, back = paired_difference(before, after), paired_difference(after, before)
        assert back.mean == pytest.approx(-there.mean)
        assert back.interval.low == pytest.approx(-there.interval.high)
        assert back.p_value == there.p_value

    def test_refuses_different_problems(self) -> None:
        with pytest.raises(ValueError, match="same problems: 2 against 3"):
            paired_difference([1, 0], [1, 0, 1])


def test_solved_changes() -> None:
    won, lost = solved_changes([0, 3, 0, 1, 0], [2, 3, 0, 0, 1])
    assert won.tolist() == [0, 4]
    assert lost.tolist() == [3]
    with pytest.raises(ValueError, match="same problems: 1 against 2"):
        solved_changes([0], [1, 0])
