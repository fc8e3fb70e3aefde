"""Estimators that go by a group's accuracy: by hand, their limits, and what they have in common with others."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike

from rsgrpo_cli.core.accuracy_advantages import asym_grpo, bbg, f_grpo, power, w_reinforce
from rsgrpo_cli.core.advantages import dr_grpo, grpo, max_rl
from rsgrpo_cli.core.passk_advantages import mahdavi_passk
from rsgrpo_cli.core.risk import prompt_weight

binary_groups = arrays(np.float64, st.integers(2, 12), elements=st.sampled_from([0.0, 1.0]))


def close(result: np.ndarray, expected: ArrayLike) -> None:
    np.testing.assert_allclose(result, np.asarray(expected), rtol=1e-12, atol=1e-14)


def group(right: int, of: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [right, of - right])


class TestPower:
    def test_by_hand(self) -> None:
        # p = 1/4, r - p = 3/4, -1/4; alpha 2 multiplies by 3/4, alpha 3 by 9/16.
        close(power([1, 0, 0, 0], alpha=2), [9 / 16, -3 / 16, -3 / 16, -3 / 16])
        close(power([1, 0, 0, 0], alpha=3), [27 / 64, -9 / 64, -9 / 64, -9 / 64])
        # alpha 1.5, p = 3/4: the square root of 1/4 is 1/2.
        close(power([1, 1, 1, 0], alpha=1.5), [1 / 8, 1 / 8, 1 / 8, -3 / 8])

    @given(rewards=binary_groups, alpha=st.floats(1, 6))
    def test_is_dr_grpo_times_a_weight_of_the_prompt(self, rewards: np.ndarray, alpha: float) -> None:
        advantages = power(rewards, alpha=alpha)
        close(advantages, (1 - rewards.mean()) ** (alpha - 1) * dr_grpo(rewards))
        assert abs(advantages.sum()) < 1e-12
        close(power(rewards, alpha=1), dr_grpo(rewards))
        close(4 * power(rewards, alpha=4), mahdavi_passk(rewards, k=4, variant="plugin"))

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="alpha must be finite and >= 1, not 0"):
            power([1, 0], alpha=0)
        with pytest.raises(ValueError, match=r"power needs 0/1 rewards; got 0\.5"):
            power([1, 0.5], alpha=2)


class TestFGrpo:
    def test_by_hand(self) -> None:
        # p = 1/4, sample variance (9/16 + 3/16) / 3 = 1/4: grpo is 3/2, -1/2; gamma 2 multiplies by 9/16.
        close(f_grpo([1, 0, 0, 0], gamma=2, eps=0), np.array([3, -1, -1, -1]) / 2 * 9 / 16)

    @given(rewards=binary_groups, gamma=st.floats(0, 6))
    def test_is_grpo_times_a_weight_of_the_prompt(self, rewards: np.ndarray, gamma: float) -> None:
        close(f_grpo(rewards, gamma=gamma), (1 - rewards.mean()) ** gamma * grpo(rewards))
        close(f_grpo(rewards, gamma=0), grpo(rewards))
        close(f_grpo(rewards, gamma=3), mahdavi_passk(rewards, k=4, variant="plugin_grpo"))

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="gamma must be finite and >= 0, not -1"):
            f_grpo([1, 0], gamma=-1)
        with pytest.raises(ValueError, match="f_grpo needs 0/1 rewards; got 2"):
            f_grpo([1, 2], gamma=1)


class TestBbg:
    def test_by_hand(self) -> None:
        # G = 4, k = 2: u = 2 (f + 1) / 6. One right: 8/6, and r - p = 3/4, -1/4; none: 10/6 times -1; all: r - p = 0.
        close(bbg([1, 0, 0, 0], k=2), [1, -1 / 3, -1 / 3, -1 / 3])
        close(bbg([0, 0, 0, 0], k=2), [-5 / 3] * 4)
        close(bbg([1, 1, 1, 1], k=2), [0] * 4)
        # G = 16, k = 4: u(0) = 4 * 17 18 19 / (18 19 20) = 3.4, u(1) = 4 * 16 17 18 / (18 19 20) = 2.8632.
        close(bbg(group(0, 16), k=4)[:1], [-3.4])
        close(bbg(group(1, 16), k=4)[[0, -1]], np.array([15, -1]) / 16 * 4 * 16 * 17 / (19 * 20))
        # k = 16: the product 17 .. 31 over 18 .. 32 is 17/32.
        close(bbg(group(0, 16), k=16)[:1], [-16 * 17 / 32])

    def test_the_weight_is_a_mean_over_the_posterior(self) -> None:
        # E (1 - q)^3 under Beta(c + 1, f + 1) is a ratio of factorials: (f + 3)! (G + 1)! / (f! (G + 4)!).
        for right in range(1, 8):
            wrong = 8 - right
            mean = Fraction(math.factorial(wrong + 3) * math.factorial(9), math.factorial(wrong) * math.factorial(12))
            close(bbg(group(right, 8), k=4, threshold=0)[-1:], [-4 * float(mean) * right / 8])

    def test_groups_of_little_weight_are_left_out(self) -> None:
        # G = 16, k = 4: u = 4 (f + 1)(f + 2)(f + 3) / 6840, and .01 * 17 lies between f = 4, .1228, and f = 5, .1965.
        signal = [bool(bbg(group(16 - wrong, 16), k=4).any()) for wrong in range(17)]
        assert signal == [False] * 5 + [True] * 12
        assert bbg(group(12, 16), k=4, threshold=0).any()

    def test_k_1_is_dr_grpo_where_something_is_right(self) -> None:
        close(bbg([1, 0, 0], k=1), dr_grpo([1, 0, 0]))

    def test_refusals(self) -> None:
        for k in (0, 1.5, True):
            with pytest.raises(ValueError, match="k must be a whole number >= 1"):
                bbg([1, 0], k=k)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="threshold must be finite and >= 0, not -1"):
            bbg([1, 0], k=2, threshold=-1)
        with pytest.raises(ValueError, match=r"bbg needs 0/1 rewards; got 0\.5"):
            bbg([1, 0.5], k=2)


class TestWReinforce:
    def test_by_hand(self) -> None:
        close(w_reinforce([1, 0, 0, 1]), [0.1, -1, -1, 0.1])
        close(w_reinforce([1, 0, 1], right=1, wrong=0), [1, 0, 1])  # PSR
        close(w_reinforce([1, 0, 1], right=0, wrong=1), [0, -1, 0])  # NSR
        close(w_reinforce([[1, 1], [0, 0]]), [[0.1, 0.1], [-1.0, -1.0]])

    def test_the_weight_of_a_prompt_does_not_depend_on_it(self) -> None:
        # W(p) = A+ - A-.
        close(prompt_weight(w_reinforce, [0.1, 0.5, 0.9], 8), [1.1] * 3)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="wrong must be finite and >= 0, not -1"):
            w_reinforce([1, 0], wrong=-1)
        with pytest.raises(ValueError, match=r"w_reinforce needs 0/1 rewards; got 0\.5"):
            w_reinforce([1, 0.5])


class TestAsymGrpo:
    def test_by_hand(self) -> None:
        # p = 1/5: odds 4. Right: 4^0.5 = 2, wrong: -(1/4)^1 = -1/4; with 1 and 0: 4 and -1.
        close(asym_grpo(group(1, 5), right=0.5, wrong=1), [2, -1 / 4, -1 / 4, -1 / 4, -1 / 4])
        close(asym_grpo(group(1, 5), right=1, wrong=0), [4, -1, -1, -1, -1])

    @given(rewards=binary_groups)
    def test_relations(self, rewards: np.ndarray) -> None:
        close(asym_grpo(rewards, right=0.5, wrong=0.5), grpo(rewards, eps=0, ddof=0))
        # 1 and 0: (1 - p) / p and -1, the advantages of max_rl.
        close(asym_grpo(rewards, right=1, wrong=0), max_rl(rewards, eps=0))

    def test_constant_groups(self) -> None:
        assert not asym_grpo([[0, 0, 0], [1, 1, 1]], right=0.9, wrong=0).any()

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="right must be finite and >= 0, not -1"):
            asym_grpo([1, 0], right=-1)
        with pytest.raises(ValueError, match=r"asym_grpo needs 0/1 rewards; got 0\.5"):
            asym_grpo([1, 0.5])
