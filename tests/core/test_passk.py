"""pass@k against exact fractions, its variance against every possible draw."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.core.passk import (
    pass_at_k,
    pass_at_k_standard_error,
    pass_at_k_variance,
)


def all_wrong(n: int, c: int, k: int) -> Fraction:
    return Fraction(math.comb(n - c, k), math.comb(n, k))


class TestPassAtK:
    def test_by_hand(self) -> None:
        # 5 answers, 2 right, 3 drawn: C(3, 3) / C(5, 3) = 1/10 are all wrong.
        assert pass_at_k(5, 2, 3) == pytest.approx(0.9, rel=1e-15)
        assert pass_at_k(16, 13, 4) == 1

    @given(st.data())
    def test_equals_exact_fractions(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(1, 600))
        c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
        np.testing.assert_allclose(pass_at_k(n, c, k), float(1 - all_wrong(n, c, k)), rtol=5e-16, atol=0)

    @pytest.mark.parametrize(
        ("n", "c", "k"), [(65536, 7, 32768), (65536, 30000, 2), (65536, 1, 65535), (4096, 3, 1000)]
    )
    def test_equals_exact_fractions_for_many_answers(self, n: int, c: int, k: int) -> None:
        # C(n-c, k) / C(n, k) is symmetric in c and k: the product over the smaller one.
        few, many = sorted((c, k))
        exact = 1 - math.prod(Fraction(n - many - j, n - j) for j in range(few)) if few < 100 else 1
        np.testing.assert_allclose(pass_at_k(n, c, k), float(exact), rtol=5e-16)

    def test_problems_with_different_counts(self) -> None:
        result = pass_at_k([4, 16, 4, 1024], [1, 1, 0, 37], 2)
        exact = np.array([float(1 - all_wrong(n, c, 2)) for n, c in ((4, 1), (16, 1), (4, 0), (1024, 37))])
        np.testing.assert_allclose(result, exact, rtol=5e-16)
        assert pass_at_k(16, [[0, 1], [2, 16]], 4).shape == (2, 2)

    def test_several_k(self) -> None:
        result = np.stack([pass_at_k([16, 32], [1, 32], k) for k in (1, 8, 16)], axis=-1)
        np.testing.assert_allclose(result, np.array([[1 / 16, 1 / 2, 1], [1, 1, 1]]))
        assert (np.diff(result, axis=-1) >= 0).all()

    def test_pass_at_1_is_the_accuracy_and_zero_is_zero(self) -> None:
        np.testing.assert_allclose(pass_at_k(7, np.arange(8), 1), np.arange(8) / 7, rtol=5e-16)
        assert str(pass_at_k(16, 0, 4)) == "0.0"  # not -0.0

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="k = 64 needs 64 answers or more to each problem; one has 32"):
            pass_at_k([128, 32], [1, 1], 64)
        for n, c in ((4, 5), (4, -1), (4, 0.5)):
            with pytest.raises(ValueError, match="0 <= right answers <= answers"):
                pass_at_k(n, c, 1)
        for k in (0, -1, 1.5, True):
            with pytest.raises(ValueError, match="k must be a whole number"):
                pass_at_k(4, 1, k)  # type: ignore[arg-type]


class TestVariance:
    def test_by_hand(self) -> None:
        # n = 4, c = 1, k = 2: q_2 = 3/6, q_4 = 0: 1/4.
        assert pass_at_k_variance(4, 1, 2) == pytest.approx(0.25, rel=1e-15)

    @given(st.data())
    def test_equals_exact_fractions(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(2, 600))
        c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n // 2))
        exact = all_wrong(n, c, k) ** 2 - all_wrong(n, c, 2 * k)
        np.testing.assert_allclose(pass_at_k_variance(n, c, k), float(exact), rtol=1e-12, atol=0)

    @pytest.mark.parametrize(("n", "k", "p"), [(4, 2, 0.3), (6, 1, 0.5), (7, 3, 0.1)])
    def test_unbiased(self, n: int, k: int, p: float) -> None:
        counts = np.arange(n + 1)
        chance = np.array([math.comb(n, c) for c in counts]) * p**counts * (1 - p) ** (n - counts)
        estimates = pass_at_k(n, counts, k)
        true = chance @ estimates**2 - (chance @ estimates) ** 2
        assert chance @ pass_at_k_variance(n, counts, k) == pytest.approx(true, rel=1e-12)

    def test_none_below_two_k(self) -> None:
        assert np.isnan(pass_at_k_variance([4, 7, 8], [1, 1, 1], 4)).tolist() == [True, True, False]
        assert math.isnan(pass_at_k_standard_error([4, 8], [1, 1], 4))

    def test_nothing_varies_where_all_or_none_are_right(self) -> None:
        assert pass_at_k_variance(8, [0, 8], 2).tolist() == [0, 0]

    def test_standard_error_of_the_mean(self) -> None:
        # Variances 1/4 and 0: sqrt(1/4) / 2.
        assert pass_at_k_standard_error([4, 4], [1, 0], 2) == pytest.approx(0.25)
        with pytest.raises(ValueError, match="no problems"):
            pass_at_k_standard_error([], [], 1)
