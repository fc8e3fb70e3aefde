"""Comparisons of evaluations, from problems with known numbers of right answers."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.report.evaluations import Evaluation, columns, compare, macro_mean, require_same_problems, unlike
from rsgrpo_cli.run_dir import RunDir
from tests.tables import problems, summary

SAMPLING = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 20}


def evaluation(
    name: str, correct: Mapping[str, int], *, samples: int = 4, version: int = 3, ks: tuple[int, ...] = (1, 4)
) -> Evaluation:
    """An evaluation that was never on a disk."""
    points = [*(("pass", k) for k in ks), ("maj", ks[0])]
    curve: dict[tuple[str, int | None], float] = dict.fromkeys(points, 0.5)
    made = RunDir(Path("runs") / name)
    tables = summary(samples, curve), problems(correct, samples)
    return Evaluation(made, version, "puzzles", "puzzles", *tables, "id", dict(SAMPLING), "math 1", "plain text")


FIRST = evaluation("first", {"a": 0, "b": 1, "c": 4, "d": 2})
SECOND = evaluation("second", {"a": 1, "b": 2, "c": 4, "d": 0})


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


def test_k_beyond_the_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="pass@8 needs 8 samples per problem; there are 4"):
        compare(FIRST, SECOND, [8])


def test_only_the_same_problems_are_compared() -> None:
    others = replace(evaluation("third", {"x": 1}), benchmark_id="other")
    with pytest.raises(UsageError, match="different problems"):
        require_same_problems([FIRST, others])
    reworded = replace(SECOND, benchmark_id="other", phrasing="by a template of its own")
    with pytest.raises(UsageError, match="the same problems in other words: plain text against by a template"):
        compare(FIRST, reworded, None)
    require_same_problems([FIRST, SECOND])


def test_what_else_differs_is_said() -> None:
    assert unlike([("first", FIRST), ("second", SECOND)]) == []
    colder = replace(SECOND, sampling=SAMPLING | {"temperature": 0.6}, verifier="math 2")
    told = unlike([("first", FIRST), ("second", colder)])
    assert told[0] == "temperature: 1.0 (first), 0.6 (second)"
    assert told[1].startswith("graded by: math 1 (first), math 2 (second); grade again")


def test_a_mean_over_benchmarks_weighs_them_alike() -> None:
    # Four problems with 7 of 16 right, and one with 3 of 4: (7/16 + 3/4) / 2.
    (row,) = macro_mean([FIRST, evaluation("first", {"z": 3})], [1])
    assert row["value"] == pytest.approx((7 / 16 + 3 / 4) / 2)
    assert (row["metric"], row["k"], row["n_problems"], row["n_samples"]) == ("pass", 1, 5, 4)
    # Samples a problem of p: variance p (1 - p) / (n - 1), over three; a mean over problems, then over benchmarks.
    first = math.sqrt(sum(p * (1 - p) / 3 for p in (0, 1 / 4, 1, 1 / 2))) / 4
    second = math.sqrt(3 / 4 * 1 / 4 / 3)
    assert row["sampling_error"] == pytest.approx(math.hypot(first, second) / 2)


def test_grades_are_shown_by_their_mean_and_verdicts_by_pass_at_k() -> None:
    graded = replace(FIRST, summary=summary(4, {("reward", None): 0.3}))
    assert graded.is_graded
    assert columns([FIRST], [1, 4]) == [("pass@1", "pass", 1), ("pass@4", "pass", 4)]
    assert columns([graded], [1, 4]) == [("reward", "reward", None)]
    assert columns([graded, FIRST], [1]) == [("reward", "reward", None), ("pass@1", "pass", 1)]


def test_what_an_evaluation_says_of_itself() -> None:
    assert (FIRST.label, replace(FIRST, version=0).label) == ("first@3", "first@0 (base)")
    assert FIRST.num_samples == 4
    assert FIRST.value("pass", 4) is not None
    assert FIRST.value("pass", 2) is None
    assert [row["k"] for row in FIRST.curve()] == [1, 4]
    assert FIRST.asked_ks() == (1,)  # those with a vote
    samples, right = FIRST.counts(4)
    assert (samples.tolist(), right.tolist()) == ([4, 4, 4, 4], [0, 1, 4, 2])
