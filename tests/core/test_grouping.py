"""Grouping: by_group is the loop over groups, whatever their sizes."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.core.advantages import rloo, rs_grpo
from rsgrpo_cli.core.grouping import Groups, by_group, zero_if_single
from rsgrpo_cli.core.risk import risk_value


def test_groups_of_codes() -> None:
    groups = Groups.of(np.array([7, 7, 2, 9, 9, 9], dtype=np.int32))
    assert groups.starts_K.tolist() == [0, 2, 3]
    assert groups.sizes_K.tolist() == [2, 1, 3]
    assert {len(rows[0]): rows.tolist() for _, rows in groups.rows_by_size()} == {1: [[2]], 2: [[0, 1]], 3: [[3, 4, 5]]}


def test_by_group_by_hand() -> None:
    # Means 2, 5 and 1: one number per row, and one number per group repeated on its rows.
    groups = Groups.of([0, 0, 1, 2, 2])
    values = [1.0, 3.0, 5.0, 0.0, 2.0]
    assert by_group(groups, values, lambda v: v - v.mean(axis=-1, keepdims=True)).tolist() == [-1, 1, 0, -1, 1]
    assert by_group(groups, values, lambda v: v.mean(axis=-1)).tolist() == [2, 2, 5, 1, 1]


@given(sizes=st.lists(st.integers(1, 9), max_size=30), seed=st.integers(0, 2**32 - 1))
def test_by_group_is_the_loop_over_groups(sizes: list[int], seed: int) -> None:
    codes = np.repeat(np.random.default_rng(seed).permutation(len(sizes)), sizes)
    rewards = np.random.default_rng(seed).integers(0, 3, size=sum(sizes)) / 2
    groups = Groups.of(codes)
    functions: list[Callable[[np.ndarray], np.ndarray]] = [lambda r: rs_grpo(r, beta=2), lambda r: risk_value(r, 2)]
    for function in functions:
        expected = np.zeros_like(rewards)
        for code in range(len(sizes)):
            expected[codes == code] = function(rewards[codes == code])
        np.testing.assert_allclose(by_group(groups, rewards, function), expected, rtol=1e-14, atol=1e-16)


def test_an_empty_batch() -> None:
    assert by_group(Groups.of([]), [], lambda v: v).shape == (0,)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="must stand together"):
        Groups.of([0, 1, 0])
    with pytest.raises(ValueError, match="one dimension, not 2"):
        Groups.of([[0, 1]])
    for values in ([1.0, 2.0], [1.0] * 4, [[1.0, 2.0, 3.0]]):
        with pytest.raises(ValueError, match="3 rows are grouped, but the values have shape"):
            by_group(Groups.of([0, 0, 1]), values, lambda v: v)


def test_what_is_alone_gets_zero() -> None:
    # rloo refuses a group of one; the other group's advantages are 3 - 1 and 1 - 3.
    groups = Groups.of([0, 1, 1])
    assert by_group(groups, [5.0, 3.0, 1.0], zero_if_single(rloo)).tolist() == [0, 2, -2]
