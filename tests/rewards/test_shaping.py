import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.rewards.shaping import Shaping, soft_overlong_punishment
from rsgrpo_cli.rewards.types import Status, Verdict

RIGHT, WRONG = Verdict(1.0, Status.OK, "4"), Verdict(0.0, Status.WRONG, "5")


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (0, 0.0),
        (80, 0.0),  # L_max - L_cache = 100 - 20: the last length that costs nothing
        (81, -0.05),  # (80 - 81) / 20
        (90, -0.5),
        (100, -1.0),  # (80 - 100) / 20
        (101, -1.0),
    ],
)
def test_punishment_of_length(tokens: int, expected: float) -> None:
    assert soft_overlong_punishment(tokens, max_tokens=100, buffer=20) == expected


@given(st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 3000))
def test_the_punishment_falls_with_length_and_stays_between_0_and_1(buffer: int, before: int, tokens: int) -> None:
    here, next_ = (
        soft_overlong_punishment(length, max_tokens=before + buffer, buffer=buffer) for length in (tokens, tokens + 1)
    )
    assert -1.0 <= next_ <= here <= 0.0


def test_nothing_asked_for_changes_nothing() -> None:
    off = Shaping(max_tokens=10)
    assert off.is_off
    assert off.apply(RIGHT, r"\boxed{4}", 10) is RIGHT


def test_the_reward_is_the_sum_of_its_parts() -> None:
    shaping = Shaping(100, overlong_buffer=20, format_weight=0.25)
    shaped = shaping.apply(RIGHT, r"\boxed{4}", 90)
    assert shaped.breakdown == {"correctness": 1.0, "overlong": -0.5, "format": 0.25}  # (80 - 90) / 20
    assert shaped.reward == 0.75
    assert (shaped.status, shaped.answer) == (RIGHT.status, RIGHT.answer)
    assert shaping.apply(WRONG, r"\boxed{5}", 100).reward == 0.0 - 1.0 + 0.25


def test_one_part_alone() -> None:
    assert Shaping(100, overlong_buffer=20).apply(RIGHT, "", 85).breakdown == {"correctness": 1.0, "overlong": -0.25}
    assert Shaping(100, format_weight=0.5).apply(WRONG, "", 85).breakdown == {"correctness": 0.0, "format": 0.5}


@pytest.mark.parametrize("status", [Status.NO_BOX, Status.THINK_UNCLOSED, Status.TRUNCATED])
def test_no_answer_earns_nothing_for_its_format(status: Status) -> None:
    assert Shaping(100, format_weight=0.5).apply(Verdict(0.0, status), "", 10).reward == 0.0


@pytest.mark.parametrize(("completion", "earned"), [(r"\boxed{7}", 0.5), (r"\boxed{7", 0.0), ("7", 0.0)])
def test_a_users_reward_says_nothing_of_the_format_so_the_text_is_read(completion: str, earned: float) -> None:
    shaped = Shaping(100, format_weight=0.5).apply(Verdict(3.0, Status.SCORED), completion, 10)
    assert shaped.breakdown == {"correctness": 3.0, "format": earned}


def test_no_reward_stays_none() -> None:
    skipped = Verdict(None, Status.SKIPPED)
    assert Shaping(100, overlong_buffer=20, format_weight=0.5).apply(skipped, r"\boxed{7}", 100) is skipped
