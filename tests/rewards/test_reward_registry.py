import pytest

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.rewards.registry import REWARDS, AutoReward, open_reward
from rsgrpo_cli.rewards.types import RewardFn, Sample, Status
from rsgrpo_cli.rewards.user import UserReward


@pytest.mark.parametrize("name", REWARDS)
def test_every_name_opens_a_reward(name: str) -> None:
    reward: RewardFn = open_reward(name, workers=1, deadline=5.0)
    assert reward.identity
    reward.close()
    reward.close()


def test_a_colon_makes_it_a_users_function() -> None:
    assert isinstance(open_reward("module:function", workers=1, deadline=5.0), UserReward)


def test_an_unknown_name_is_answered_with_the_names() -> None:
    with pytest.raises(UsageError, match="maths") as caught:
        open_reward("maths", workers=1, deadline=5.0)
    assert "auto, math, countdown" in caught.value.hint


def test_auto_judges_each_sample_by_its_task_and_keeps_the_order() -> None:
    reward = open_reward("auto", workers=1, deadline=5.0)
    samples = [
        Sample(r"\boxed{42}", "42", columns={"task": "math"}),
        Sample(r"\boxed{1+2}", "1 2 -> 3", columns={"task": "countdown"}),
        Sample(r"\boxed{41}", "42", columns={"task": "math"}),
    ]
    assert [verdict.status for verdict in reward(samples)] == [Status.OK, Status.OK, Status.WRONG]


def test_auto_names_a_prompt_whose_task_it_does_not_know() -> None:
    reward = open_reward("auto", workers=1, deadline=5.0)
    with pytest.raises(DataError, match=r"prompt p7 .*'chess'") as caught:
        reward([Sample("", "", columns={"task": "chess", "prompt_id": "p7"})])
    assert "math, countdown" in caught.value.hint


def test_auto_checks_reference_answers_by_their_form() -> None:
    reward = open_reward("auto", workers=1, deadline=5.0)
    complaints = reward.check_ground_truth(["42", "1 2 -> 3", "x -> 3", ""])
    assert [complaint is None for complaint in complaints] == [True, True, False, False]


def test_auto_is_identified_by_the_rewards_of_its_tasks() -> None:
    reward = open_reward("auto", workers=1, deadline=5.0)
    assert isinstance(reward, AutoReward)
    assert "math-verify" in reward.identity
    assert "countdown" in reward.identity
