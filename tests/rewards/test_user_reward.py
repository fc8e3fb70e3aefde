import logging
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.rewards.types import Sample, Status, Verdict
from rsgrpo_cli.rewards.user import UserReward

FUNCTIONS = textwrap.dedent("""
    import math, os, time

    def length(completions, ground_truth, **columns):
        return [float(len(completion)) for completion in completions]

    def calls(completions, ground_truth, prompt_id):
        return [len(completions)] * len(completions)

    def given(completions, **columns):
        return [len(columns)] * len(completions)

    def hard(completions, level):
        return level

    def optional(completions, level=None):
        return [0.5 if level is None else 1.0] * len(completions)

    def reckless(completions, ground_truth):
        for completion in completions:
            if completion == "hang":
                time.sleep(60)
            if completion == "raise":
                raise ValueError("no such answer")
            if completion == "die":
                os._exit(9)
        return [1.0] * len(completions)

    def some(completions, ground_truth):
        return [None if completion == "skip" else True for completion in completions]

    def not_a_number(completions, ground_truth):
        return [math.nan if completion == "bad" else 1.0 for completion in completions]

    def text(completions, ground_truth):
        return ["good" if completion == "bad" else 1.0 for completion in completions]

    def short(completions, ground_truth):
        return [1.0]

    def scalar(completions, ground_truth):
        return 1.0

    class Callable:
        def __call__(self, completions, ground_truth):
            return [2.0] * len(completions)

    instance = Callable()
    constant = 3
""")

Opener = Callable[..., UserReward]


@pytest.fixture
def open_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Rewards from a module in the current directory, which is not on sys.path."""
    (tmp_path / "my_rewards.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    opened: list[UserReward] = []

    def opener(function: str, deadline: float = 2.0) -> UserReward:
        opened.append(UserReward(f"my_rewards:{function}", workers=2, deadline=deadline))
        return opened[-1]

    yield opener
    for reward in opened:
        reward.close()


def samples(*completions: str, prompt: str = "p1", **columns: object) -> list[Sample]:
    return [
        Sample(text, "42", columns={"prompt_id": prompt, "sample_index": index, **columns})
        for index, text in enumerate(completions)
    ]


def test_rewards_are_what_the_function_returns(open_user: Opener) -> None:
    assert open_user("length")(samples("a", "bcd")) == [Verdict(1.0, Status.SCORED), Verdict(3.0, Status.SCORED)]


def test_a_call_has_the_consecutive_completions_of_one_prompt(open_user: Opener) -> None:
    batch = samples("a", "b", "c") + samples("d", prompt="p2") + samples("e", "f")
    assert [verdict.reward for verdict in open_user("calls")(batch)] == [3, 3, 3, 1, 2, 2]


def test_only_the_columns_that_are_asked_for_are_passed(open_user: Opener) -> None:
    batch = samples("a", "b", level=7.0)
    assert [verdict.reward for verdict in open_user("hard")(batch)] == [7.0, 7.0]
    # prompt_id, sample_index, level and ground_truth
    assert [verdict.reward for verdict in open_user("given")(batch)] == [4, 4]
    assert [verdict.reward for verdict in open_user("optional")(samples("a"))] == [0.5]


def test_a_column_that_is_not_there_is_one_error(open_user: Opener) -> None:
    with pytest.raises(UsageError, match="needs level") as caught:
        open_user("hard")(samples("a"))
    assert "prompt_id" in caught.value.message


@pytest.mark.parametrize(
    ("culprit", "status"), [("hang", Status.TIMEOUT), ("raise", Status.ERROR), ("die", Status.ERROR)]
)
def test_only_the_culprit_goes_without(open_user: Opener, culprit: str, status: Status) -> None:
    batch = samples("a", culprit, "b") + samples("c", prompt="p2")
    right = Verdict(1.0, Status.SCORED)
    assert open_user("reckless", deadline=1.0)(batch) == [right, Verdict(0.0, status), right, right]


def test_the_first_failure_of_a_kind_is_told(open_user: Opener, caplog: pytest.LogCaptureFixture) -> None:
    reward = open_user("reckless")
    with caplog.at_level(logging.WARNING):
        reward(samples("raise", "raise", "a", "b"))
        reward(samples("raise", "a"))
    assert len(caplog.records) == 1
    assert "ValueError: no such answer" in caplog.text
    assert "my_rewards:reckless" in caplog.text


def test_a_function_that_always_fails_is_a_bug(open_user: Opener) -> None:
    with pytest.raises(DataError, match="failed on every completion: it raised ValueError: no such answer"):
        open_user("reckless")(samples("raise", "raise"))


def test_none_is_no_reward_and_a_bool_is_a_number(open_user: Opener) -> None:
    assert open_user("some")(samples("skip", "a")) == [Verdict(None, Status.SKIPPED), Verdict(1.0, Status.SCORED)]


@pytest.mark.parametrize(("function", "what"), [("not_a_number", "nan"), ("text", "good")])
def test_a_reward_that_is_no_finite_number_is_named(open_user: Opener, function: str, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        open_user(function)(samples("a", prompt="p1") + samples("b", "bad", prompt="p2"))
    assert f"my_rewards:{function}" in caught.value.message
    assert "p2" in caught.value.message
    assert "sample 1" in caught.value.message


@pytest.mark.parametrize("function", ["short", "scalar"])
def test_another_number_of_rewards_is_an_error(open_user: Opener, function: str) -> None:
    with pytest.raises(DataError, match=f"my_rewards:{function}.*p1"):
        open_user(function)(samples("a", "b"))


def test_an_object_that_can_be_called_will_do(open_user: Opener) -> None:
    assert open_user("instance")(samples("a")) == [Verdict(2.0, Status.SCORED)]


@pytest.mark.parametrize("function", ["no_such_function", "constant"])
def test_a_function_that_is_not_there_is_an_error_with_a_next_step(open_user: Opener, function: str) -> None:
    with pytest.raises(UsageError, match=f"my_rewards:{function}") as caught:
        open_user(function)(samples("a"))
    assert "my_rewards" in caught.value.hint


def test_a_module_that_is_not_there_is_an_error_before_anything_is_scored() -> None:
    reward = UserReward("no_such_rewards:f", workers=1, deadline=1.0)
    with pytest.raises(UsageError, match="no_such_rewards"):
        _ = reward.identity
    reward.close()


@pytest.mark.parametrize("name", ["my_rewards", ":f", "my_rewards:"])
def test_a_name_without_both_parts_is_refused_at_once(name: str) -> None:
    with pytest.raises(UsageError, match=r"package\.module:function"):
        UserReward(name, workers=1, deadline=1.0)


def test_identity_changes_with_the_source(open_user: Opener, tmp_path: Path) -> None:
    first, same = open_user("length").identity, open_user("length").identity
    (tmp_path / "my_rewards.py").write_text(FUNCTIONS + "# changed\n")
    os.utime(tmp_path / "my_rewards.py", (1, 1))
    assert first == same != open_user("length").identity


def test_user_code_never_runs_here(open_user: Opener, tmp_path: Path) -> None:
    (tmp_path / "my_rewards.py").write_text(f"import os\nhome = os.getpid() == {os.getpid()}\n" + FUNCTIONS)
    with (tmp_path / "my_rewards.py").open("a") as file:
        file.write("def here(completions, ground_truth):\n    return [float(home)] * len(completions)\n")
    assert [verdict.reward for verdict in open_user("here")(samples("a"))] == [0.0]


def test_reference_answers_are_the_functions_business(open_user: Opener) -> None:
    assert open_user("length").check_ground_truth(["", "x"]) == [None, None]
