"""Risk value, prompt weights, and the size of a batch's update."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rsgrpo_cli.core.advantages import dr_grpo, grpo, max_rl, rs_grpo
from rsgrpo_cli.core.passk_advantages import chen_passk, mahdavi_passk, pkpo
from rsgrpo_cli.core.risk import advantage_rms, effective_sample_size, prompt_weight, risk_value, scale_advantages

groups = arrays(np.float64, st.integers(1, 12), elements=st.integers(-64, 64).map(lambda x: x / 16))


class TestRiskValue:
    def test_by_hand(self) -> None:
        # beta = log 3: mean of 3, 1, 1, 1 is 3/2.
        assert risk_value([1, 0, 0, 0], math.log(3)) == pytest.approx(math.log(1.5) / math.log(3), rel=1e-15)
        assert risk_value([1, 0, 0, 0], 0) == 0.25

    @given(rewards=groups, beta=st.floats(-50, 50).filter(lambda b: b == 0 or abs(b) > 1e-30))
    def test_equals_extended_precision(self, rewards: np.ndarray, beta: float) -> None:
        with mpmath.workdps(250):
            weights = [mpmath.exp(mpmath.mpf(beta) * mpmath.mpf(float(r))) for r in rewards]
            exact = float(mpmath.log(sum(weights) / len(weights)) / mpmath.mpf(beta)) if beta else rewards.mean()
        np.testing.assert_allclose(risk_value(rewards, beta), exact, rtol=2e-15, atol=2e-15)

    @given(rewards=groups, betas=st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)))
    def test_rises_with_beta_from_minimum_to_maximum(self, rewards: np.ndarray, betas: tuple[float, float]) -> None:
        low, high = (risk_value(rewards, beta) for beta in sorted(betas))
        assert rewards.min() - 1e-15 <= low <= high + 4e-15
        assert high <= rewards.max() + 1e-15

    @pytest.mark.parametrize("beta", [1e-300, -1e-300, 5e-324, 1e-17])
    def test_tiny_beta_is_the_mean(self, beta: float) -> None:
        assert risk_value([1, 0, 0, 0], beta) == pytest.approx(0.25, rel=1e-15)

    @pytest.mark.parametrize(("beta", "limit"), [(1e308, 3.0), (1e9, 3.0), (-1e9, -2.5), (-1e308, -2.5)])
    def test_huge_beta_is_the_extreme(self, beta: float, limit: float) -> None:
        assert risk_value([-2.5, -0.5, 0, 3], beta) == pytest.approx(limit, rel=1e-8)

    @given(value=st.integers(-64, 64).map(lambda x: x / 10), beta=st.floats(-1e6, 1e6))
    def test_constant_group_gets_its_reward(self, value: float, beta: float) -> None:
        assert risk_value([value], beta) == value
        assert risk_value([value] * 4, beta) == pytest.approx(value, rel=1e-15, abs=0)

    def test_one_value_a_group(self) -> None:
        assert risk_value(np.zeros((2, 3, 4)), 2).shape == (2, 3)

    def test_its_gradient_is_the_advantage(self) -> None:
        # d J / d r_i = e_i / sum e = (1 + beta A_i) / G: central differences of step 1e-6.
        rewards, beta, step = np.array([0.1, 0.5, 0.9, 0.3]), 2.0, 1e-6
        nudges = step * np.eye(4)
        slope = (risk_value(rewards + nudges, beta) - risk_value(rewards - nudges, beta)) / (2 * step)
        np.testing.assert_allclose(slope, (1 + beta * rs_grpo(rewards, beta=beta)) / 4, rtol=1e-9)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="beta must be finite"):
            risk_value([1, 0], float("inf"))
        with pytest.raises(ValueError, match="rewards must be finite"):
            risk_value([1, float("nan")], 1)


class TestPromptWeight:
    # Section 9 of the reference: G = 16, exact binomial sums, four decimals.
    P = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99)
    TABLE = (
        (dr_grpo, ".9375 .9375 .9375 .9375 .9375 .9375 .9375 .9375 .9375 .9375 .9375"),
        (lambda r: grpo(r, eps=0), "3.6145 3.4888 3.1634 2.7574 2.2717 2.0260 1.8727 2.0260 2.7574 3.1634 3.6145"),
        (lambda r: rs_grpo(r, beta=2), "2.0753 2.0133 1.8435 1.6069 1.2610 1.0266 .7391 .5739 .4681 .4474 .4321"),
        (lambda r: rs_grpo(r, beta=4), "2.7188 2.5624 2.1599 1.6631 1.0753 .7684 .4794 .3470 .2717 .2577 .2475"),
        (lambda r: rs_grpo(r, beta=8), "1.7403 1.6258 1.3358 .9891 .6016 .4141 .2498 .1785 .1388 .1315 .1262"),
        (lambda r: chen_passk(r, k=4, eps=0), "1.6580 1.5888 1.4068 1.1708 .8575 .6562 .3849 .1742 .0178 .0030 .0000"),
        (lambda r: chen_passk(r, k=8, eps=0), ".9445 .8925 .7544 .5727 .3296 .1826 .0402 .0029 .0000 .0000 .0000"),
        (lambda r: pkpo(r, k=4), "3.8812 3.7648 3.4295 2.9160 2.0480 1.3720 .5000 .1080 .0040 .0005 .0000"),
        (lambda r: pkpo(r, k=8), "7.4565 6.9450 5.5867 3.8264 1.6777 .6588 .0625 .0017 .0000 .0000 .0000"),
        (lambda r: max_rl(r, eps=0), "13.9942 13.0715 10.7342 7.9411 4.8241 3.3175 1.9999 1.4286 1.1111 1.0526 1.0101"),
    )

    @pytest.mark.parametrize(("estimator", "row"), TABLE)
    def test_table_of_the_reference(self, estimator: object, row: str) -> None:
        expected = [float(number) for number in row.split()]
        np.testing.assert_allclose(prompt_weight(estimator, self.P, 16), expected, atol=5.1e-5)  # type: ignore[arg-type]

    def test_closed_forms(self) -> None:
        p = np.array([0, 0.1, 0.5, 0.9, 1])
        # Unbiased pass@k: k (1 - p)^(k-1). dr_grpo: (G - 1) / G. max_rl: (1 - (1 - p)^(G-1)) / p, its limit at 0 G - 1.
        for unbiased in (
            lambda r: pkpo(r, k=3),
            lambda r: pkpo(r, k=3, variant="sloo"),
            lambda r: mahdavi_passk(r, k=3),
        ):
            np.testing.assert_allclose(prompt_weight(unbiased, p, 8), 3 * (1 - p) ** 2, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(prompt_weight(dr_grpo, p, 8), 7 / 8, rtol=1e-13)
        expected = [7, *((1 - (1 - q) ** 7) / q for q in p[1:])]
        np.testing.assert_allclose(prompt_weight(lambda r: max_rl(r, eps=0), p, 8), expected, rtol=1e-13)

    def test_definition_in_fractions(self) -> None:
        # E_c[(c/G) A+ / p - (f/G) A- / (1-p)], G = 5, p = 3/10, word for word.
        size, p = 5, Fraction(3, 10)
        total = Fraction(0)
        for c in range(size + 1):
            advantages = chen_passk(np.repeat([1.0, 0.0], [c, size - c]), k=2)
            right, wrong = Fraction(float(advantages[0])), Fraction(float(advantages[-1]))
            probability = math.comb(size, c) * p**c * (1 - p) ** (size - c)
            total += probability * (Fraction(c, size) * right / p - Fraction(size - c, size) * wrong / (1 - p))
        assert prompt_weight(lambda r: chen_passk(r, k=2), 0.3, 5) == pytest.approx(float(total), rel=1e-14)

    def test_large_groups(self) -> None:
        np.testing.assert_allclose(prompt_weight(dr_grpo, [1e-9, 0.3, 0.5], 2048), 2047 / 2048, rtol=1e-12)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
            prompt_weight(dr_grpo, 1.1, 4)
        with pytest.raises(ValueError, match="group_size must be >= 1"):
            prompt_weight(dr_grpo, 0.5, 0)


class TestSizeOfABatch:
    def test_by_hand(self) -> None:
        assert advantage_rms([3, -4, 0, 0]) == 2.5  # sqrt(25 / 4)
        assert effective_sample_size([1, -1, 1, 0]) == pytest.approx(3)  # 3^2 / 3
        assert effective_sample_size([3, -1, 0]) == pytest.approx(1.6)  # 4^2 / 10

    def test_nothing_to_measure(self) -> None:
        for empty in ([], [0.0, 0.0]):
            assert advantage_rms(empty) == 0
            assert effective_sample_size(empty) == 0

    @pytest.mark.parametrize("scale", [1e-200, 1e200])
    def test_squares_neither_vanish_nor_overflow(self, scale: float) -> None:
        assert advantage_rms(np.array([3, -4, 0, 0]) * scale) == pytest.approx(2.5 * scale)
        assert effective_sample_size(np.array([3, -1, 0]) * scale) == pytest.approx(1.6)


class TestScaleAdvantages:
    def test_by_hand(self) -> None:
        batch = [3.0, -4.0, 0.0, 0.0]
        assert scale_advantages(batch, "none").tolist() == batch
        np.testing.assert_allclose(scale_advantages(batch, "rms"), [1.2, -1.6, 0, 0])
        assert scale_advantages(batch, "beta", 8).tolist() == [24, -32, 0, 0]

    def test_a_zero_batch_stays_zero(self) -> None:
        assert not scale_advantages([0.0, 0.0], "rms").any()
        assert scale_advantages([], "rms").shape == (0,)

    def test_beta_keeps_the_sign_and_never_shrinks(self) -> None:
        assert scale_advantages([1.0, -1.0], "beta", -4).tolist() == [4, -4]
        for beta in (0, 0.5, -1):
            assert scale_advantages([1.0, -1.0], "beta", beta).tolist() == [1, -1]

    def test_beta_joins_dr_grpo_with_max_rl(self) -> None:
        rewards = [1.0, 0.0, 0.0, 0.0]

        def scaled(beta: float) -> np.ndarray:
            return scale_advantages(rs_grpo(rewards, beta=beta), "beta", beta)

        np.testing.assert_array_equal(scaled(0), dr_grpo(rewards))
        np.testing.assert_allclose(scaled(500), max_rl(rewards, eps=0))
        np.testing.assert_allclose(scaled(1 - 1e-12), scaled(1 + 1e-12), rtol=1e-11)

    def test_returns_a_new_array(self) -> None:
        batch = np.array([1.0, -1.0])
        scale_advantages(batch, "none")[0] = 9
        assert batch[0] == 1

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="needs a finite beta, not None"):
            scale_advantages([1.0], "beta")
        with pytest.raises(ValueError, match="mode must be"):
            scale_advantages([1.0], "std")  # type: ignore[arg-type]
