"""Advantages: numbers to check by hand, the limits, and what a change of the rewards does."""

import math
from typing import Literal

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike

from rsgrpo_cli.core.advantages import dr_grpo, grpo, max_rl, qae, rloo, rs_grpo, tail_rl

Denominator = Literal["group", "leave_one_out"]
E2 = math.exp(2)
# Multiples of 1/16: exact in floating point, and so are their differences and shifts by whole numbers.
groups = arrays(np.float64, st.integers(2, 12), elements=st.integers(-64, 64).map(lambda x: x / 16))
binary_groups = arrays(np.float64, st.integers(2, 12), elements=st.sampled_from([0.0, 1.0]))
betas = st.floats(-40, 40, allow_subnormal=False)


def close(result: np.ndarray, expected: ArrayLike, rtol: float = 1e-12, atol: float = 1e-14) -> None:
    np.testing.assert_allclose(result, np.asarray(expected), rtol=rtol, atol=atol)


class TestRsGrpo:
    def test_by_hand(self) -> None:
        # Mean weight (e^2 + 3) / 4. Right: (4 e^2 / (e^2 + 3) - 1) / 2 = 0.9225, wrong: (4 / (e^2 + 3) - 1) / 2.
        right, wrong = (4 * E2 / (E2 + 3) - 1) / 2, (4 / (E2 + 3) - 1) / 2
        close(rs_grpo([1, 0, 0, 0], beta=2), [right, wrong, wrong, wrong])
        assert round(right, 4) == 0.9225
        # beta = log 3 makes weights 3, 1, 1, 1: mean 3/2, ratios 2, 2/3, and A = 1 / log 3 and -1/3 / log 3.
        close(rs_grpo([1, 0, 0, 0], beta=math.log(3)), np.array([1, -1 / 3, -1 / 3, -1 / 3]) / math.log(3))

    def test_leave_one_out_by_hand(self) -> None:
        # beta = log 3, weights 3, 1, 1. Right: 3 / mean(1, 1) - 1 = 2; wrong: 1 / mean(3, 1) - 1 = -1/2; over beta.
        result = rs_grpo([1, 0, 0], beta=math.log(3), denominator="leave_one_out")
        close(result, np.array([2, -1 / 2, -1 / 2]) / math.log(3))

    def test_direction_of_leave_one_out_is_unbiased(self) -> None:
        # Three arms of rewards 0, 1/2, 1, drawn with 0.6, 0.3, 0.1; all 27 groups of three, beta 2. The gradient by the
        # logits is pi_a (e^(2 r_a) / Z - 1) / 2; its estimate is mean_i A_i (1[y_i = a] - pi_a).
        policy, arms, beta = np.array([0.6, 0.3, 0.1]), np.array([0, 0.5, 1]), 2.0
        weights = np.exp(beta * arms)
        gradient = policy * (weights / (policy @ weights) - 1) / beta

        def expected(denominator: Denominator) -> np.ndarray:
            total = np.zeros(3)
            for group in np.ndindex(3, 3, 3):
                index = np.array(group)
                advantages = rs_grpo(arms[index], beta=beta, denominator=denominator)
                score = (np.eye(3)[index] - policy) * advantages[:, None]
                total += np.prod(policy[index]) * score.mean(axis=0)
            return total

        ratio = expected("leave_one_out") / gradient
        close(ratio, ratio[0], rtol=1e-12)
        assert ratio[0] > 1
        assert np.ptp(expected("group") / gradient) > 0.1

    @pytest.mark.parametrize("denominator", ["group", "leave_one_out"])
    @given(rewards=groups, beta=betas.filter(lambda beta: beta == 0 or abs(beta) > 1e-30))
    def test_equals_extended_precision(self, denominator: Denominator, rewards: np.ndarray, beta: float) -> None:
        with mpmath.workdps(250):
            exact = [mpmath.mpf(float(r)) for r in rewards]
            if beta == 0:
                mean = sum(exact) / len(exact)
                scale = 1 if denominator == "group" else mpmath.mpf(len(exact)) / (len(exact) - 1)
                expected = [float((r - mean) * scale) for r in exact]
            else:
                weights = [mpmath.exp(mpmath.mpf(beta) * r) for r in exact]
                others = [
                    sum(weights) / len(weights)
                    if denominator == "group"
                    else sum(weights[:i] + weights[i + 1 :]) / (len(weights) - 1)
                    for i in range(len(weights))
                ]
                expected = [float((w / o - 1) / mpmath.mpf(beta)) for w, o in zip(weights, others, strict=True)]
        result = rs_grpo(rewards, beta=beta, denominator=denominator)
        np.testing.assert_allclose(result, expected, rtol=5e-14, atol=1e-17 + 1e-15 * np.abs(expected).max())

    @given(rewards=groups, beta=betas)
    def test_sums_to_zero_and_stays_in_its_bounds(self, rewards: np.ndarray, beta: float) -> None:
        advantages = rs_grpo(rewards, beta=beta)
        assert abs(advantages.sum()) <= 1e-13 * np.abs(advantages).sum()
        bounded = advantages * beta  # in [-1, G - 1], for either sign of beta
        assert bounded.min() >= -1 - 1e-12
        assert bounded.max() <= (len(rewards) - 1) * (1 + 1e-12)

    @given(rewards=groups, beta=betas, shift=st.integers(-100, 100))
    def test_ignores_an_offset(self, rewards: np.ndarray, beta: float, shift: int) -> None:
        close(rs_grpo(rewards + shift, beta=beta), rs_grpo(rewards, beta=beta), atol=1e-13)

    @given(rewards=groups, beta=betas, power=st.integers(-3, 3))
    def test_scaling_rewards_is_scaling_beta(self, rewards: np.ndarray, beta: float, power: int) -> None:
        factor = 2.0**power
        close(rs_grpo(factor * rewards, beta=beta), factor * rs_grpo(rewards, beta=factor * beta), atol=1e-13)

    @given(rewards=groups, beta=betas)
    def test_turning_rewards_and_beta_around(self, rewards: np.ndarray, beta: float) -> None:
        close(rs_grpo(-rewards, beta=-beta), -rs_grpo(rewards, beta=beta))

    @given(rewards=groups, beta=betas, data=st.data())
    def test_permutation_equivariant(self, rewards: np.ndarray, beta: float, data: st.DataObject) -> None:
        order = np.array(data.draw(st.permutations(range(len(rewards)))))
        close(rs_grpo(rewards[order], beta=beta), rs_grpo(rewards, beta=beta)[order])

    @given(rewards=groups, beta=betas)
    def test_better_rewards_get_no_less(self, rewards: np.ndarray, beta: float) -> None:
        advantages = rs_grpo(rewards, beta=beta)
        assert (np.diff(advantages[rewards.argsort()]) >= -1e-15 * np.abs(advantages).max()).all()

    @given(rewards=groups)
    def test_beta_zero_is_dr_grpo_and_rloo(self, rewards: np.ndarray) -> None:
        np.testing.assert_array_equal(rs_grpo(rewards, beta=0), dr_grpo(rewards))
        np.testing.assert_array_equal(rs_grpo(rewards, beta=0, denominator="leave_one_out"), rloo(rewards))

    @pytest.mark.parametrize("beta", [1e-8, -1e-12, 1e-100, 1e-300, 5e-324])
    def test_small_beta_keeps_all_digits(self, beta: float) -> None:
        # First order: (r - mean) + beta / 2 ((r - mean)^2 - variance); here mean 9/20, variance 7/80.
        centred = np.array([-0.35, 0.05, 0.45, -0.15])
        expected = centred + beta / 2 * (centred**2 - 0.0875)
        close(rs_grpo([0.1, 0.5, 0.9, 0.3], beta=beta), expected, rtol=5e-15, atol=0)

    @given(rewards=binary_groups)
    def test_beta_times_it_tends_to_max_rl(self, rewards: np.ndarray) -> None:
        close(200 * rs_grpo(rewards, beta=200), max_rl(rewards, eps=0))

    def test_limits_of_large_beta(self) -> None:
        # 2 of 4 are best: beta A = 4/2 - 1 = 1 for them; 1 of 4 is worst: beta A = 4 - 1 = 3 for it at beta -> -inf.
        close(rs_grpo([0, 1, 0.5, 1], beta=1e6) * 1e6, [-1, 1, -1, 1])
        close(rs_grpo([0, 1, 0.5, 1], beta=-1e6) * -1e6, [3, -1, -1, -1])

    @pytest.mark.parametrize("rewards", [[1e149, -1e149, 0.0], [5, 1, -3], [1e-300, 0, 0]])
    @pytest.mark.parametrize("beta", [1e308, -1e308, 1e160, 1.0, 1e-160, 1e-308])
    def test_extreme_sizes_stay_finite(self, rewards: list[float], beta: float) -> None:
        assert np.isfinite(rs_grpo(rewards, beta=beta)).all()

    def test_overflowing_exponent_is_the_limit(self) -> None:
        close(rs_grpo([1e149, -1e149, 0], beta=1e200) * 1e200, [2, -1, -1])

    @pytest.mark.parametrize("beta", [-1e6, -2, 0, 1e-8, 2, 1e6])
    @pytest.mark.parametrize("rewards", [[0.3] * 3, [0.1] * 7, [1e6 + 0.1] * 5, [0] * 8, [1]])
    def test_constant_group_is_exactly_zero(self, rewards: list[float], beta: float) -> None:
        assert not rs_grpo(rewards, beta=beta).any()
        if len(rewards) > 1:
            assert not rs_grpo(rewards, beta=beta, denominator="leave_one_out").any()

    @pytest.mark.parametrize("beta", [float("nan"), float("inf"), -float("inf")])
    def test_refuses_a_beta_that_is_not_finite(self, beta: float) -> None:
        with pytest.raises(ValueError, match="beta must be finite"):
            rs_grpo([1, 0], beta=beta)

    def test_refusals_of_leave_one_out(self) -> None:
        with pytest.raises(ValueError, match="at least 2 rewards per group; got 1"):
            rs_grpo([1], beta=2, denominator="leave_one_out")
        with pytest.raises(ValueError, match=r"overflow at beta = 1000.*denominator='group'"):
            rs_grpo([1, 0, 0], beta=1000, denominator="leave_one_out")
        with pytest.raises(ValueError, match="'group' or 'leave_one_out', not 'loo'"):
            rs_grpo([1, 0], beta=2, denominator="loo")  # type: ignore[arg-type]


class TestMeanAndStandardDeviation:
    def test_dr_grpo_by_hand(self) -> None:
        close(dr_grpo([1, 0, 0, 0]), [0.75, -0.25, -0.25, -0.25], rtol=0, atol=0)

    def test_grpo_by_hand(self) -> None:
        # Mean 1/4, squares 9/16 + 3/16 = 3/4: sample deviation sqrt(3/4 / 3) = 1/2, population sqrt(3/4 / 4).
        close(grpo([1, 0, 0, 0], eps=0), [1.5, -0.5, -0.5, -0.5])
        close(grpo([1, 0, 0, 0], eps=0, ddof=0), np.array([3, -1, -1, -1]) / math.sqrt(3))
        close(grpo([1, 0, 0, 0], eps=0.25), [1, -1 / 3, -1 / 3, -1 / 3])

    def test_rloo_by_hand(self) -> None:
        # 3 - mean(1, 2) = 1.5, 1 - mean(3, 2) = -1.5, 2 - mean(3, 1) = 0.
        close(rloo([3, 1, 2]), [1.5, -1.5, 0])

    def test_max_rl_by_hand(self) -> None:
        # Mean 1/4: (1 - 1/4) / (1/4) = 3, -1. With eps 1/4 the denominator doubles.
        close(max_rl([1, 0, 0, 0], eps=0), [3, -1, -1, -1])
        close(max_rl([1, 0, 0, 0], eps=0.25), [1.5, -0.5, -0.5, -0.5])

    def test_tail_rl_by_hand(self) -> None:
        # Sorted 0, 1, 3: steps 1 (two of three above: x 3/2) and 2 (one above: x 3), sums 0, 1.5, 7.5, mean 3.
        close(tail_rl([3, 0, 1]), [4.5, -3, -1.5])

    @given(rewards=groups, shift=st.integers(-100, 100), power=st.integers(-3, 3))
    def test_offset_and_scale(self, rewards: np.ndarray, shift: int, power: int) -> None:
        other = 2.0**power * (rewards + shift)
        close(grpo(other, eps=0), grpo(rewards, eps=0), atol=1e-12)
        for linear in (dr_grpo, rloo, tail_rl):
            close(linear(other), 2.0**power * linear(rewards), atol=1e-12)

    @given(rewards=groups)
    def test_sums_to_zero(self, rewards: np.ndarray) -> None:
        for estimator in (dr_grpo, grpo, rloo, tail_rl):
            advantages = estimator(rewards)
            assert abs(advantages.sum()) <= 1e-13 * (1 + np.abs(advantages).sum())

    @given(rewards=binary_groups)
    def test_tail_rl_is_max_rl_on_binary_rewards(self, rewards: np.ndarray) -> None:
        close(tail_rl(rewards), max_rl(rewards, eps=0))

    @pytest.mark.parametrize("rewards", [[0.3] * 3, [1.0] * 4, [0.0] * 4, [0.7]])
    @pytest.mark.parametrize("estimator", [dr_grpo, grpo, max_rl, tail_rl, qae, lambda r: grpo(r, eps=0)])
    def test_constant_group_is_exactly_zero(self, estimator: object, rewards: list[float]) -> None:
        result = estimator(rewards)  # type: ignore[operator]
        assert result.shape == (len(rewards),)
        assert not result.any()

    def test_max_rl_refuses_what_would_turn_its_sign(self) -> None:
        for rewards in ([-1, 1, -1, -1], [-1, 1], [-1, -1]):
            with pytest.raises(ValueError, match=r"positive mean; got a mean of .*use rs_grpo or tail_rl"):
                max_rl(rewards)
        assert max_rl([-1, 3])[1] > 0

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="rloo needs at least 2 rewards per group; got 1"):
            rloo([1])
        with pytest.raises(ValueError, match="ddof must be 0 or 1"):
            grpo([1, 0], ddof=2)
        with pytest.raises(ValueError, match="eps must be finite and >= 0"):
            grpo([1, 0], eps=-1e-6)


class TestQae:
    def test_right_by_hand(self) -> None:
        # Sorted 0, 1, 2, 3, 4; K = 0.4: F(1) = 0.4 >= K, so Q = 1. Deviations +-2, +-1, 0: sd sqrt(10 / 4).
        close(qae([4, 0, 3, 1, 2], eps=0), np.array([3, -1, 2, 0, 1]) / math.sqrt(2.5))

    def test_linear_by_hand(self) -> None:
        # Position 0.4 * 3 = 1.2 in 0, 1, 2, 3.
        close(qae([3, 0, 2, 1], quantile="linear", eps=0), np.array([1.8, -1.2, 0.8, -0.2]) / math.sqrt(5 / 3))

    def test_two_regimes(self) -> None:
        # 10 samples, K = 0.4: up to 6 right (p <= 1 - K) the baseline is 0 and only they count, from 7 on 1.
        for right in range(1, 10):
            rewards = np.repeat([1.0, 0.0], [right, 10 - right])
            counts = qae(rewards) != 0
            assert (counts == (rewards == (1 if right <= 6 else 0))).all()

    @pytest.mark.parametrize("size", [1, 3, 7, 100])
    def test_rank_is_not_off_by_rounding(self, size: int) -> None:
        rewards = np.arange(size, dtype=float)
        for percent in range(0, 101):
            rank = max(-(-percent * size // 100), 1)  # smallest rank with rank / size >= percent / 100
            assert (qae(rewards, level=percent / 100)[rank - 1]) == 0

    def test_agrees_with_numpy(self) -> None:
        rewards = np.array([[0.3, 1.7, -2.0, 0.9, 5.0], [1.0, 1.0, 0.0, 0.0, 0.0]])
        for level in (0, 0.1, 0.4, 0.6, 1):
            baseline = np.quantile(rewards, level, axis=-1, keepdims=True)
            scale = rewards.std(axis=-1, ddof=1, keepdims=True)
            close(qae(rewards, level=level, quantile="linear", eps=0), (rewards - baseline) / scale)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"level must lie in \[0, 1\]"):
            qae([1, 0], level=1.5)
        with pytest.raises(ValueError, match="'right' or 'linear'"):
            qae([1, 0], quantile="left")  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", [dr_grpo, grpo, rloo, max_rl, tail_rl, qae, lambda r: rs_grpo(r, beta=2)])
def test_a_stack_of_groups_is_its_groups(estimator: object) -> None:
    stack = np.random.default_rng(0).integers(0, 5, size=(2, 3, 6)) / 4
    result = estimator(stack)  # type: ignore[operator]
    assert result.shape == stack.shape
    for position in np.ndindex(2, 3):
        close(result[position], estimator(stack[position]))  # type: ignore[operator]


@pytest.mark.parametrize("estimator", [dr_grpo, grpo, max_rl, qae, lambda r: rs_grpo(r, beta=2)])
@pytest.mark.parametrize("rewards", [[1, float("nan")], [1, float("inf")], [], 1.0, [1e200, 0]])
def test_refuses_rewards_it_cannot_use(estimator: object, rewards: object) -> None:
    with pytest.raises(ValueError, match="reward"):
        estimator(rewards)  # type: ignore[operator]
