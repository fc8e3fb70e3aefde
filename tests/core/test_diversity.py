"""Diversity of answers, by hand."""

import pytest

from rsgrpo_cli.core.diversity import distinct_answers, distinct_ratio


def test_by_hand() -> None:
    answers = ["1", "2", "1", None, "3", "1", None, "2"]
    assert distinct_answers(answers) == 3
    assert distinct_ratio(answers) == 3 / 8  # those without an answer count as samples


def test_extremes() -> None:
    assert (distinct_answers(["1"] * 4), distinct_ratio(["1"] * 4)) == (1, 0.25)
    assert distinct_ratio(["1", "2", "3", "4"]) == 1


def test_nobody_answered() -> None:
    assert (distinct_answers([None, None]), distinct_ratio([None, None])) == (0, 0)
    with pytest.raises(ValueError, match="without samples"):
        distinct_ratio([])
