"""Which numbers of a step are warned of."""

from typing import Any

import pytest

from rsgrpo_cli.health import all_warnings, warnings

SOUND = {
    "step": 7,
    "policy_version": 7,
    "reward_mean": 0.5,
    "advantage_rms": 0.4,
    "groups_all_right": 1.0,
    "groups_all_wrong": 1.0,
    "truncated_fraction": 0.2,
    "scorer_errors": 1.0,
    "scorer_timeouts": 0.0,
    "status_counts": [("ok", 50), ("wrong", 50)],
    "logprob_diff_mean": 0.02,
    "ratio_capped_fraction": 0.01,
    "entropy": 0.1,
}
FIRST = {**SOUND, "step": 0, "policy_version": 0, "entropy": 1.0}


def told(**changed: Any) -> list[tuple[str, str]]:
    return [(warned.about, warned.text) for warned in warnings({**SOUND, **changed}, FIRST)]


def test_a_sound_step_has_none() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("changed", "about", "says"),
    [
        ({"advantage_rms": 0.0, "groups_all_right": 0.0}, "gradient", "All are wrong: try easier problems"),
        ({"advantage_rms": 0.0, "groups_all_wrong": 0.0}, "gradient", "All are right: try harder problems"),
        ({"advantage_rms": 0.0}, "gradient", "--zero-variance resample"),
        ({"advantage_rms": 0.0, "groups_mixed": 4.0}, "gradient", "gives its 4 mixed groups no weight"),
        ({"advantage_rms": 0.0, "reward_mean": None}, "gradient", "no completion has a reward"),
        ({"truncated_fraction": 0.21}, "truncated", "21% of the completions are cut off"),
        ({"scorer_errors": 1.0, "scorer_timeouts": 1.0}, "verifier", "failed on 2.0% of the completions, 1 of them"),
        ({"policy_version": 4}, "sampler", "the sampler is 3 updates behind"),
        ({"logprob_diff_mean": 0.3}, "sampler", "differ by 0.3 nats per token"),
        ({"ratio_capped_fraction": 0.02}, "capped", "of 2.0% of the tokens is capped"),
        ({"entropy": 0.09}, "entropy", "the entropy is 0.09, less than 10% of the 1 at the start"),
    ],
)
def test_each_says_what_is_wrong_and_what_to_do(changed: dict[str, Any], about: str, says: str) -> None:
    ((found, text),) = told(**changed)
    assert found == about
    assert text.startswith("step 7: ")
    assert says in text


def test_a_number_that_is_not_there_says_nothing() -> None:
    absent = dict.fromkeys(("truncated_fraction", "logprob_diff_mean", "ratio_capped_fraction", "entropy"))
    assert told(**absent, status_counts=[]) == []
    assert warnings({**SOUND, "entropy": 0.01}, {**FIRST, "entropy": None}) == []


def test_of_several_steps_each_kind_is_given_once() -> None:
    rows = [{**SOUND, "step": step, "policy_version": step, "truncated_fraction": 0.5} for step in (3, 4)]
    assert [warned.text[:7] for warned in all_warnings(rows, FIRST)] == ["step 3:"]
