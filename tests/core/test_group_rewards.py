"""The pieces under the estimators: where digits would be lost, they are not."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rsgrpo_cli.core.group_rewards import centred, exponential_tilt, mean_of_others, rank_sums


class TestCentred:
    @pytest.mark.parametrize("size", [3, 1000, 65535])
    def test_a_single_success_keeps_its_digits(self, size: int) -> None:
        # Mean 0.1 + 0.8 / G: the many stand 0.8 / G below it, which one pass would know to 1e-16 / (0.8 / G) only.
        values = np.full(size, 0.1)
        values[0] = 0.9
        gap = Fraction(0.9) - Fraction(0.1)
        np.testing.assert_allclose(centred(values)[1:], -float(gap / size), rtol=1e-15)

    @given(value=st.floats(-1e150, 1e150), size=st.integers(1, 300))
    def test_a_constant_group_is_exactly_zero(self, value: float, size: int) -> None:
        assert not centred(np.full(size, value)).any()

    def test_equal_floats_whose_mean_is_another(self) -> None:
        tenths = np.full(3, 0.1)
        assert tenths.mean() != 0.1
        assert not centred(tenths).any()


class TestMeanOfOthers:
    def test_by_hand(self) -> None:
        # (2 + 3) / 2, (1 + 3) / 2, (1 + 2) / 2; and with a tie of the largest.
        np.testing.assert_allclose(mean_of_others(np.array([1.0, 2, 3])), [2.5, 2, 1.5], rtol=1e-15)
        np.testing.assert_allclose(mean_of_others(np.array([3.0, 1, 3])), [2, 3, 2], rtol=1e-15)

    @given(exponents=arrays(np.float64, st.integers(2, 9), elements=st.floats(-300, 0)))
    def test_equals_exact_fractions_over_all_magnitudes(self, exponents: np.ndarray) -> None:
        weights = 10.0**exponents
        total = sum(Fraction(w) for w in weights.tolist())
        exact = [float((total - Fraction(w)) / (len(weights) - 1)) for w in weights.tolist()]
        np.testing.assert_allclose(mean_of_others(weights), exact, rtol=2e-15, atol=0)


def test_exponential_tilt_by_hand() -> None:
    # Against the maximum 1: weights 1 and e^-2, growth 0 and (e^-2 - 1) / 2. Against the minimum 0 for beta = -2.
    growth, weights = exponential_tilt(np.array([1.0, 0.0]), 2)
    np.testing.assert_allclose([growth, weights], [[0, np.expm1(-2) / 2], [1, np.exp(-2)]], rtol=1e-15)
    growth, weights = exponential_tilt(np.array([1.0, 0.0]), -2)
    np.testing.assert_allclose([growth, weights], [[-np.expm1(-2) / 2, 0], [np.exp(-2), 1]], rtol=1e-15)


class TestRankSums:
    def test_by_hand(self) -> None:
        # Sorted 0, 1, 3: steps 1 and 2. below (10, 20): 0, 10, 10 + 40. above (1, 2): 1 + 4, 4, 0. own: half of each.
        rewards = np.array([3.0, 0.0, 1.0])
        below, above = np.array([10.0, 20.0]), np.array([1.0, 2.0])
        assert rank_sums(rewards, below_S=below).tolist() == [50, 0, 10]
        assert rank_sums(rewards, above_S=above).tolist() == [0, 5, 4]
        assert rank_sums(rewards, own=0.5, above_S=above, below_S=below).tolist() == [51.5, 5, 14.5]

    def test_ties_get_equal_values(self) -> None:
        result = rank_sums(np.array([0.1, 0.7, 0.1, 0.7, 0.7]), own=1, below_S=np.array([1.0, 2.0, 3.0, 4.0]))
        assert result[0] == result[2]
        assert result[1] == result[3] == result[4]
