"""Comparisons of evaluations, from problems with known numbers of right answers."""

from dataclasses import replace

import pytest

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.report.comparison import (
    compare,
    equal_results,
    graded_otherwise,
    require_same_problems,
    reward_for_all,
    unlike,
)
from tests.report.test_evaluations import FIRST, SAMPLING, SECOND, evaluation


def test_a_paired_comparison_by_hand() -> None:
    found = compare(FIRST, SECOND, None)
    assert (found["before"], found["after"], found["problems"]) == ("first@3", "second@3", 4)
    once, four = found["differences"]
    # pass@1: (0 + 1 + 4 + 2) / 16 and (1 + 2 + 4 + 0) / 16; a and b are better, d is worse, c is tied.
    assert (once["k"], once["before"], once["after"], once["difference"]) == (1, 7 / 16, 7 / 16, 0.0)
    assert (once["better"], once["worse"], once["tied"]) == (2, 1, 1)
    # pass@4 of four samples is whether any is right: a is newly solved, d is lost.
    assert (four["k"], four["before"], four["after"]) == (4, 3 / 4, 3 / 4)
    assert (found["newly_solved"], found["newly_lost"]) == (["a"], ["d"])
    assert once["ci_low"] < 0 < once["ci_high"]


def test_an_evaluation_against_itself_is_tied() -> None:
    for row in compare(FIRST, FIRST, [1, 2])["differences"]:
        assert (row["difference"], row["ci_low"], row["ci_high"], row["tied"]) == (0.0, 0.0, 0.0, 4)
        assert row["p_value"] == 1.0
    assert equal_results(compare(FIRST, FIRST, None))
    assert not equal_results(compare(FIRST, SECOND, None))


def test_k_beyond_the_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="pass@8 needs 8 samples per problem; there are 4"):
        compare(FIRST, SECOND, [8])


def test_only_the_same_problems_are_compared() -> None:
    others = replace(evaluation("third", {"x": 1}), benchmark_id="other")
    with pytest.raises(UsageError, match="different problems"):
        require_same_problems([FIRST, others])
    reworded = replace(SECOND, benchmark_id="other", phrasing="by a template of its own")
    with pytest.raises(UsageError, match="the same problems, worded differently: plain text against by a template"):
        compare(FIRST, reworded, None)
    require_same_problems([FIRST, SECOND])


def test_what_else_differs_is_said() -> None:
    assert unlike([("first", FIRST), ("second", SECOND)]) == []
    colder = replace(SECOND, sampling=SAMPLING | {"temperature": 0.6}, verifier="math 2")
    told = unlike([("first", FIRST), ("second", colder)])
    assert told[0] == "temperature: 1.0 (first), 0.6 (second)"
    assert told[1].startswith("graded by: math 1 (first), math 2 (second); grade again")


def test_the_reward_that_grades_again_is_the_one_that_the_others_have() -> None:
    assert graded_otherwise(["user mine:f 1a", "user mine:g 1a", "user mine:f 1a"]) == ("mine:f", [1])
    assert graded_otherwise(["auto math: math policy-30", "user mine:g 1a"]) == ("auto", [1])
    # Which version of a function is there now, nobody knows: graded by it again, they are alike.
    assert graded_otherwise(["user mine:f 1a", "user mine:f 2b"]) == ("mine:f", [0, 1])
    assert graded_otherwise(["user mine:f 1a", "user mine:f 2b", "user mine:g 1a"]) == ("mine:f", [0, 1, 2])


def test_what_gave_the_grades_gives_no_verdicts() -> None:
    assert reward_for_all(["math policy-30"], ["user mine:f 1a"]) == "math"
    assert reward_for_all(["user mine:f 2b"], ["user mine:f 1a"]) == "auto"
    assert reward_for_all([""]) == "auto"
