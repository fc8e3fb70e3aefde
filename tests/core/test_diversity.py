"""Diversity of answers, by hand."""

import math

import pytest

from rsgrpo_cli.core.diversity import answer_entropy, distinct_answers, distinct_ratio


def test_by_hand() -> None:
    answers = ["1", "2", "1", None, "3", "1", None, "2"]
    assert distinct_answers(answers) == 3
    assert distinct_ratio(answers) == 3 / 8  # those without an answer count as samples
    # Among the six that answered: shares 1/2, 1/3, 1/6.
    assert answer_entropy(answers) == pytest.approx(math.log(2) / 2 + math.log(3) / 3 + math.log(6) / 6, rel=1e-15)


def test_extremes() -> None:
    assert (distinct_answers(["1"] * 4), distinct_ratio(["1"] * 4), answer_entropy(["1"] * 4)) == (1, 0.25, 0)
    assert distinct_ratio(["1", "2", "3", "4"]) == 1
    assert answer_entropy(["1", "2", "3", "4"]) == pytest.approx(math.log(4), rel=1e-15)


def test_nobody_answered() -> None:
    assert (distinct_answers([None, None]), distinct_ratio([None, None]), answer_entropy([None, None])) == (0, 0, 0)
    assert answer_entropy([]) == 0
    with pytest.raises(ValueError, match="without samples"):
        distinct_ratio([])
