"""The reward function for verl, called as verl calls it: one completion at a time, from several threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.integrations.verl_reward import compute_score


def test_right_wrong_and_no_answer_from_many_threads() -> None:
    cases = [
        (r"so \boxed{\frac{2}{4}}", "0.5", 1.0, "ok"),
        (r"so \boxed{3}", r"\frac{1}{2}", 0.0, "wrong"),
        ("so 1/2", r"\frac{1}{2}", 0.0, "no_box"),
        (r"\boxed{(x+1)^2}", "x^2+2x+1", 1.0, "ok"),
        (r"\boxed{(3+5)*(7-4)}", "3 5 7 4 -> 24", 1.0, "ok"),
        (r"\boxed{3+5+7+4}", "3 5 7 4 -> 24", 0.0, "wrong"),
    ] * 4
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda case: compute_score("any", case[0], case[1], {"index": 0}), cases))
    assert [(score["score"], score["status"]) for score in found] == [(reward, why) for _, _, reward, why in cases]
    assert all(score["acc"] == score["score"] for score in found)
    # verl takes the keys of the first completion for all, and votes by "pred": text even where there is no answer.
    assert {tuple(score) for score in found} == {("score", "acc", "pred", "status")}
    assert (found[1]["pred"], found[2]["pred"]) == ("3", "")


def test_settings_come_as_keywords_beside_what_verl_adds() -> None:
    score = compute_score(
        data_source="any", solution_str=r"\boxed{7}", ground_truth="7", extra_info=None,
        workers=1, timeout=5.0, reward_router_address="not ours",
    )  # fmt: skip
    assert score["score"] == 1.0
    with pytest.raises(UsageError, match="at least 1 worker, not 0"):
        compute_score("any", r"\boxed{7}", "7", workers=0)


def test_a_box_in_a_thought_that_the_prompt_opened_is_no_answer() -> None:
    unclosed = compute_score("any", r"maybe \boxed{7}, wait", "7", in_thought=True)
    assert (unclosed["score"], unclosed["status"]) == (0.0, "think_unclosed")
    assert compute_score("any", r"maybe \boxed{6}</think>\boxed{7}", "7", in_thought=True)["score"] == 1.0
