"""Pass@k advantages: by hand, against enumerated subsets, and exact where binomials overflow."""

import itertools
import math
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike

from rsgrpo_cli.core.advantages import grpo, rloo
from rsgrpo_cli.core.passk_advantages import chen_passk, mahdavi_passk, passk_rloo, pkpo, tang_max

groups = arrays(np.float64, st.integers(2, 7), elements=st.integers(-64, 64).map(lambda x: x / 16))
binary_groups = arrays(np.float64, st.integers(2, 9), elements=st.sampled_from([0.0, 1.0]))


def close(result: np.ndarray, expected: ArrayLike, rtol: float = 1e-13, atol: float = 1e-13) -> None:
    np.testing.assert_allclose(result, np.asarray(expected), rtol=rtol, atol=atol)


def subsets(size: int, k: int, member: int | None = None) -> list[list[int]]:
    return [list(s) for s in itertools.combinations(range(size), k) if member is None or member in s]


def staircase(size: int) -> np.ndarray:
    return np.tri(size + 1, size, -1)


class TestPkpo:
    def test_by_hand(self) -> None:
        # Rewards 3, 1, 0, k = 2, subsets with maxima {3,1}: 3, {3,0}: 3, {1,0}: 1; G / C(3, 2) = 1.
        close(pkpo([3, 1, 0], k=2, variant="s"), [3 + 3, 3 + 1, 3 + 1])
        # Minus what is left without i: 3 - 1, 3 - 0 for the best; 1 - 0 for the second; nothing for the last.
        close(pkpo([3, 1, 0], k=2), [5, 1, 0])
        # rho of the others: 1, 3, 3; times G k / (G - 1) = 3.
        close(pkpo([3, 1, 0], k=2, variant="sloo"), [6 - 3, 4 - 9, 4 - 9])

    @given(rewards=groups, data=st.data())
    def test_equals_enumerated_subsets(self, rewards: np.ndarray, data: st.DataObject) -> None:
        size = len(rewards)
        k = data.draw(st.integers(1, size))
        scale = size / math.comb(size, k)
        s = [scale * sum(rewards[i_set].max() for i_set in subsets(size, k, i)) for i in range(size)]
        close(pkpo(rewards, k=k, variant="s"), s)
        if k > 1:
            gains = [
                sum(rewards[i_set].max() - rewards[[j for j in i_set if j != i]].max() for i_set in subsets(size, k, i))
                for i in range(size)
            ]
            close(pkpo(rewards, k=k), scale * np.array(gains))
        if k < size:
            rho = [np.mean([rewards[i_set].max() for i_set in subsets(size, k) if i not in i_set]) for i in range(size)]
            close(pkpo(rewards, k=k, variant="sloo"), np.array(s) - size * k / (size - 1) * np.array(rho))

    @pytest.mark.parametrize("variant", ["s", "sloo", "sloo_minus_one"])
    def test_unbiased(self, variant: Literal["s", "sloo", "sloo_minus_one"]) -> None:
        # Two arms, rewards 0 and 1, p = 1/3, G = 3, k = 2: grad of 1 - (1 - p)^2 by p is 2 (1 - p) = 4/3. The estimate
        # is mean_i A_i / p or -A_i / (1 - p), over the 8 groups.
        p, expected = 1 / 3, 0.0
        for group in itertools.product([0.0, 1.0], repeat=3):
            rewards = np.array(group)
            score = np.where(rewards == 1, 1 / p, -1 / (1 - p))
            probability = np.prod(np.where(rewards == 1, p, 1 - p))
            expected += probability * (pkpo(rewards, k=2, variant=variant) * score).mean()
        assert expected == pytest.approx(4 / 3, rel=1e-14)

    @given(rewards=groups, shift=st.integers(-100, 100), power=st.integers(-3, 3), data=st.data())
    def test_properties_of_sloo_minus_one(
        self, rewards: np.ndarray, shift: int, power: int, data: st.DataObject
    ) -> None:
        k = data.draw(st.integers(2, len(rewards)))
        advantages = pkpo(rewards, k=k)
        assert (advantages >= 0).all()
        close(pkpo(2.0**power * (rewards + shift), k=k), 2.0**power * advantages, atol=1e-11)
        order = np.array(data.draw(st.permutations(range(len(rewards)))))
        close(pkpo(rewards[order], k=k), advantages[order])

    def test_constant_groups(self) -> None:
        assert not pkpo([0.3] * 5, k=3).any()
        close(pkpo([0.3] * 5, k=3, variant="s"), [0.9] * 5)  # k r
        close(pkpo([0.3] * 5, k=3, variant="sloo"), [-0.225] * 5)  # -k r / (G - 1)

    def test_k_1_is_rloo(self) -> None:
        np.testing.assert_array_equal(pkpo([3, 1, 0], k=1), rloo([3, 1, 0]))
        close(pkpo([3, 1, 0], k=1, variant="s"), [3, 1, 0], atol=0)

    def test_integer_rewards_are_not_truncated(self) -> None:
        close(pkpo(np.array([1, 0, 0, 0]), k=2), [2, 0, 0, 0])  # G / C(4, 2) * 3 subsets

    @pytest.mark.parametrize(("size", "k"), [(1030, 515), (2048, 7), (65536, 32768)])
    def test_exact_where_binomials_overflow(self, size: int, k: int) -> None:
        # c = 2: k C(G-2, k-1) / C(G-1, k-1) = k (G - k) / (G - 1) for a right answer.
        rewards = np.repeat([1.0, 0.0], [2, size - 2])
        assert pkpo(rewards, k=k)[0] == pytest.approx(float(Fraction(k * (size - k), size - 1)), rel=1e-15)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="pkpo needs k = 4 rewards or more a group; got 3: lower k"):
            pkpo([3, 1, 0], k=4)
        with pytest.raises(ValueError, match=r"sloo needs groups of more than k = 3 .*sloo_minus_one"):
            pkpo([3, 1, 0], k=3, variant="sloo")
        with pytest.raises(ValueError, match="variant must be"):
            pkpo([3, 1, 0], k=2, variant="loo")  # type: ignore[arg-type]
        for k in (0, -1, 1.5, True):
            with pytest.raises(ValueError, match="k must be a whole number >= 1"):
                pkpo([3, 1, 0], k=k)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least 2 rewards per group; got 1"):
            pkpo([1], k=1)


class TestChenPassk:
    def test_by_hand(self) -> None:
        # G = 4, c = 1, k = 2: R = 1 - 3/6 = 1/2, sigma = 1/2; right (1/2) / (1/2) = 1, wrong -1/3 of it.
        close(chen_passk([1, 0, 0, 0], k=2, eps=0), [1, -1 / 3, -1 / 3, -1 / 3])
        close(chen_passk([1, 0, 0, 0], k=2, eps=0.5), [0.5, -1 / 6, -1 / 6, -1 / 6])

    @given(rewards=binary_groups, data=st.data())
    def test_equals_enumerated_subsets(self, rewards: np.ndarray, data: st.DataObject) -> None:
        size = len(rewards)
        k = data.draw(st.integers(1, size))
        solved = {tuple(i_set): rewards[i_set].max() for i_set in subsets(size, k)}
        mean, deviation = np.mean(list(solved.values())), np.std(list(solved.values()))
        expected = [np.mean([solved[tuple(i_set)] - mean for i_set in subsets(size, k, i)]) for i in range(size)]
        close(chen_passk(rewards, k=k, eps=0), np.array(expected) / deviation if deviation else np.zeros(size))

    @given(rewards=binary_groups)
    def test_k_1_is_grpo(self, rewards: np.ndarray) -> None:
        close(chen_passk(rewards, k=1, eps=0), grpo(rewards, eps=0, ddof=0))
        close(chen_passk(rewards, k=1, eps=0.1), grpo(rewards, eps=0.1, ddof=0))

    def test_no_signal_once_fewer_than_k_are_wrong(self) -> None:
        signal = chen_passk(staircase(16), k=4).any(axis=-1)
        assert np.flatnonzero(signal).tolist() == list(range(1, 13))

    @given(rewards=binary_groups, k=st.integers(1, 2))
    def test_sums_to_zero(self, rewards: np.ndarray, k: int) -> None:
        assert abs(chen_passk(rewards, k=k).sum()) < 1e-13

    def test_refuses_rewards_that_are_not_binary(self) -> None:
        with pytest.raises(ValueError, match=r"chen_passk needs 0/1 rewards; got 0\.5: use rs_grpo or pkpo"):
            chen_passk([1, 0.5, 0], k=2)
        with pytest.raises(ValueError, match="got -1"):
            chen_passk([1, -1], k=2)


class TestMahdaviAndRloo:
    def test_by_hand(self) -> None:
        # G = 4, c = 1, k = 2, p = 1/4. plugin: 2 * 3/4 * (1 - 1/4) = 9/8 and 2 * 3/4 * -1/4 = -3/8.
        rewards = [1, 0, 0, 0]
        close(mahdavi_passk(rewards, k=2, variant="plugin"), [9 / 8, -3 / 8, -3 / 8, -3 / 8])
        # sd 1/2: 3/4 * 3/4 / (1/2) = 9/8 again, and -3/8.
        close(mahdavi_passk(rewards, k=2, variant="plugin_grpo", eps=0), [9 / 8, -3 / 8, -3 / 8, -3 / 8])
        # C(3, 1) / C(3, 1) = 1: k for the right one. With c = 2: C(2, 1) / C(3, 1) = 2/3.
        close(mahdavi_passk(rewards, k=2), [2, 0, 0, 0])
        close(mahdavi_passk([1, 1, 0, 0], k=2), [4 / 3, 4 / 3, 0, 0])
        # w = 2/3, f / (G - 1) = 2/3, c / (G - 1) = 2/3.
        close(passk_rloo([1, 1, 0, 0], k=2), [4 / 9, 4 / 9, -4 / 9, -4 / 9])

    @given(rewards=binary_groups, data=st.data())
    def test_relations(self, rewards: np.ndarray, data: st.DataObject) -> None:
        size = len(rewards)
        k = data.draw(st.integers(1, size))
        unbiased = mahdavi_passk(rewards, k=k)
        if k > 1:
            close(unbiased, pkpo(rewards, k=k))
        close(passk_rloo(rewards, k=k), rloo(unbiased / k))
        assert abs(passk_rloo(rewards, k=k).sum()) < 1e-12
        assert abs(mahdavi_passk(rewards, k=k, variant="plugin").sum()) < 1e-12

    def test_k_1(self) -> None:
        rewards = [1.0, 1.0, 0.0]
        close(passk_rloo(rewards, k=1), rloo(rewards))
        close(mahdavi_passk(rewards, k=1), rewards)
        close(mahdavi_passk(rewards, k=1, variant="plugin_grpo"), grpo(rewards))

    def test_plugins_take_k_beyond_the_group(self) -> None:
        close(mahdavi_passk([1, 0], k=4, variant="plugin"), [0.25, -0.25])  # 4 * (1/2)^3 * 1/2

    @pytest.mark.parametrize("variant", ["plugin", "plugin_grpo", "unbiased"])
    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_constant_groups_are_exactly_zero(
        self, variant: Literal["plugin", "plugin_grpo", "unbiased"], value: float
    ) -> None:
        assert not mahdavi_passk([value] * 4, k=2, variant=variant).any()
        assert not passk_rloo([value] * 4, k=2).any()
        assert not chen_passk([value] * 4, k=2).any()

    def test_single_element(self) -> None:
        assert not mahdavi_passk([1], k=3, variant="plugin_grpo").any()
        with pytest.raises(ValueError, match="passk_rloo needs at least 2 rewards per group; got 1"):
            passk_rloo([1], k=1)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="k = 3 rewards or more a group; got 2"):
            mahdavi_passk([1, 0], k=3)
        with pytest.raises(ValueError, match="k = 3 rewards or more a group; got 2"):
            passk_rloo([1, 0], k=3)
        with pytest.raises(ValueError, match="needs 0/1 rewards; got 2"):
            mahdavi_passk([1, 2], k=1)
        with pytest.raises(ValueError, match="variant must be"):
            mahdavi_passk([1, 0], k=1, variant="plug-in")  # type: ignore[arg-type]


class TestTangMax:
    def test_by_hand(self) -> None:
        close(tang_max([0.5, 3, 1]), [0, 2, 0], atol=0)
        close(tang_max([3, 3, 1]), [0, 0, 0], atol=0)

    @given(rewards=groups)
    def test_is_pkpo_at_k_of_the_whole_group(self, rewards: np.ndarray) -> None:
        close(tang_max(rewards), pkpo(rewards, k=len(rewards)) / len(rewards))

    def test_refuses_a_single_element(self) -> None:
        with pytest.raises(ValueError, match="tang_max needs at least 2 rewards per group; got 1"):
            tang_max([1])


@pytest.mark.parametrize(
    "estimator",
    [
        *(lambda r, v=v: pkpo(r, k=2, variant=v) for v in ("s", "sloo", "sloo_minus_one")),
        *(lambda r, v=v: mahdavi_passk(r, k=2, variant=v) for v in ("plugin", "plugin_grpo", "unbiased")),
        lambda r: chen_passk(r, k=2),
        lambda r: passk_rloo(r, k=2),
        tang_max,
    ],
)
def test_a_stack_of_groups_is_its_groups(estimator: object) -> None:
    stack = np.random.default_rng(0).integers(0, 2, size=(2, 5, 6)).astype(float)
    result = estimator(stack)  # type: ignore[operator]
    assert result.shape == stack.shape
    for position in np.ndindex(2, 5):
        close(result[position], estimator(stack[position]))  # type: ignore[operator]
