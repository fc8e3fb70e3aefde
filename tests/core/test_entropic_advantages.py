"""Entropic advantages: by hand, against their definition, and where no beta can do what is asked."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rsgrpo_cli.core.advantages import rs_grpo
from rsgrpo_cli.core.entropic_advantages import entropic_adaptive, entropic_loo

groups = arrays(np.float64, st.integers(3, 12), elements=st.integers(-64, 64).map(lambda x: x / 16))


class TestEntropicLoo:
    def test_by_hand(self) -> None:
        # beta = log 3, weights 3, 1, 1. Right: 3 / mean(1, 1) - 1 = 2; wrong: 1 / mean(3, 1) - 1 = -1/2.
        np.testing.assert_allclose(entropic_loo([1, 0, 0], beta=math.log(3), eps=0), [2, -0.5, -0.5], rtol=1e-14)

    @given(rewards=groups, beta=st.floats(-20, 20))
    def test_is_beta_times_leave_one_out_rs_grpo(self, rewards: np.ndarray, beta: float) -> None:
        expected = beta * rs_grpo(rewards, beta=beta, denominator="leave_one_out")
        np.testing.assert_allclose(entropic_loo(rewards, beta=beta, eps=0), expected, rtol=1e-13, atol=1e-300)

    def test_many_weights_far_apart(self) -> None:
        # sum(e) - e_1 would be 0 in float64: e^-50 is below the last digit of 1. Here 1 / e^-50 - 1 for the best.
        assert entropic_loo([50, 0, 0], beta=1, eps=0)[0] == pytest.approx(math.exp(50) - 1, rel=1e-14)

    def test_eps_caps_a_single_best(self) -> None:
        np.testing.assert_allclose(entropic_loo([0, 1, 0], beta=1000), [-1, 1e12 - 1, -1])

    @pytest.mark.parametrize("beta", [0, 2, -1000])
    def test_constant_group_is_exactly_zero(self, beta: float) -> None:
        assert not entropic_loo([0.3] * 3, beta=beta).any()

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="at least 2 rewards per group; got 1"):
            entropic_loo([1], beta=2)
        with pytest.raises(ValueError, match=r"overflow.*eps > 0"):
            entropic_loo([1, 0, 0], beta=1000, eps=0)
        with pytest.raises(ValueError, match="eps must be"):
            entropic_loo([1, 0], beta=2, eps=float("nan"))


class TestEntropicAdaptive:
    def test_by_hand(self) -> None:
        # Weights 2, 1, 1 (beta = log 2) are shares 1/2, 1/4, 1/4 of divergence log 3 - (1/2 log 2 + 1/2 log 4), which
        # is what is asked for here. Best: 2 / mean(1, 1) - 1 = 1, rest: 1 / mean(2, 1) - 1 = -1/3.
        kl = math.log(3) - 1.5 * math.log(2)
        np.testing.assert_allclose(entropic_adaptive([1, 0, 0], kl=kl), [1, -1 / 3, -1 / 3], rtol=1e-14)

    @given(rewards=groups)
    def test_solves_its_equation(self, rewards: np.ndarray) -> None:
        size, best = len(rewards), (rewards == rewards.max()).sum()
        advantages = entropic_adaptive(rewards)
        if best == size:
            assert not advantages.any()
        elif 2 * best >= size:
            limit = (size - 1) / (best - 1) - 1
            np.testing.assert_allclose(advantages, np.where(rewards == rewards.max(), limit, -1))
        else:
            # A_i + 1 = (G - 1) q_i / (1 - q_i) gives the weights back, and with them their divergence from 1/G.
            odds = (advantages + 1) / (size - 1)
            shares = odds / (1 + odds)
            assert shares.sum() == pytest.approx(1, abs=1e-12)
            shares = shares[shares > 0]
            assert (shares * np.log(shares * size)).sum() == pytest.approx(math.log(2), abs=1e-12)

    def test_many_groups_of_verdicts_each_solve_their_own_equation(self) -> None:
        # Solved once for each number of right answers: rows must get their own solution back, in any order and mix.
        rng = np.random.default_rng(0)
        stack = np.concatenate([np.tri(17, 16, -1), 3 * np.tri(17, 16, -1) - 1, rng.random((9, 16))])
        stack = rng.permuted(stack[rng.permutation(len(stack))], axis=1)
        for rewards, advantages in zip(stack, entropic_adaptive(stack), strict=True):
            best = (rewards == rewards.max()).sum()
            if best == 16 or 2 * best >= 16:
                continue
            odds = (advantages + 1) / 15
            shares = odds / (1 + odds)
            assert (shares * np.log(shares * 16)).sum() == pytest.approx(math.log(2), abs=1e-12)

    @pytest.mark.parametrize("gap", [1e-1, 1e-4, 1e-8, 1e-14])
    def test_near_ties(self, gap: float) -> None:
        # Two nearly best of four reach log 2 only where beta tells them apart: far beyond the scale of the rest.
        rewards = np.array([1 + gap, 1, 0.2, 0])
        with mpmath.workdps(60):
            exact = [mpmath.mpf(float(r)) - mpmath.mpf(float(rewards[0])) for r in rewards]

            def excess(log_beta: mpmath.mpf) -> mpmath.mpf:
                weights = [mpmath.exp(mpmath.exp(log_beta) * r) for r in exact]
                shares = [w / sum(weights) for w in weights]
                return sum(q * mpmath.log(4 * q) for q in shares if q > 0) - mpmath.log(2)

            beta = mpmath.exp(mpmath.findroot(excess, (0, 45), solver="illinois", maxsteps=500))
            weights = [mpmath.exp(beta * r) for r in exact]
            expected = [float(3 * w / (sum(weights) - w) - 1) for w in weights]
        np.testing.assert_allclose(entropic_adaptive(rewards), expected, rtol=1e-9)

    @given(rewards=groups, shift=st.integers(-100, 100), power=st.integers(-3, 3))
    def test_neither_offset_nor_scale_matters(self, rewards: np.ndarray, shift: int, power: int) -> None:
        expected = entropic_adaptive(rewards)
        np.testing.assert_allclose(entropic_adaptive(2.0**power * (rewards + shift)), expected, rtol=1e-12, atol=1e-13)

    @given(rewards=groups, data=st.data())
    def test_permutation_equivariant(self, rewards: np.ndarray, data: st.DataObject) -> None:
        order = np.array(data.draw(st.permutations(range(len(rewards)))))
        expected = entropic_adaptive(rewards)[order]
        np.testing.assert_allclose(entropic_adaptive(rewards[order]), expected, rtol=1e-12, atol=1e-13)

    def test_a_stack_of_groups_is_its_groups(self) -> None:
        stack = np.random.default_rng(0).integers(0, 5, size=(2, 30, 6)) / 4
        result = entropic_adaptive(stack)
        assert result.shape == stack.shape
        for position in np.ndindex(2, 30):
            np.testing.assert_allclose(result[position], entropic_adaptive(stack[position]), rtol=1e-13, atol=1e-15)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="at least 3 rewards per group; got 2"):
            entropic_adaptive([1, 0])
        with pytest.raises(ValueError, match="at least 8 rewards per group; got 7"):
            entropic_adaptive([1] + [0] * 6, kl=2)  # e^2 = 7.39
        with pytest.raises(ValueError, match="kl must be"):
            entropic_adaptive([1, 0, 0], kl=0)
