import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.policy.schedule import learning_rate


def values(count: int, **settings: object) -> list[float]:
    cfg = UpdateConfig(learning_rate=1.0, **settings)  # type: ignore[arg-type]
    return [learning_rate(cfg, step) for step in range(count)]


def test_constant_is_exactly_what_was_set() -> None:
    assert learning_rate(UpdateConfig(learning_rate=3e-7), 1234) == 3e-7


def test_warm_up_rises_in_equal_parts_and_wastes_no_step() -> None:
    assert values(6, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_by_hand() -> None:
    # (1 + cos(pi t / 4)) / 2 at t = 0..3: 1, (1 + 0.7071) / 2, 1/2, (1 - 0.7071) / 2; the end is 0 and stays.
    assert values(7, lr_schedule="cosine", schedule_steps=4) == pytest.approx(
        [1, 0.853553, 0.5, 0.146447, 0, 0, 0], abs=1e-6
    )


def test_cosine_after_a_warm_up() -> None:
    # Two steps up, then (1 + cos(pi t / 4)) / 2 over the remaining four.
    made = values(8, lr_schedule="cosine", warmup_steps=2, schedule_steps=6)
    assert made == pytest.approx([0.5, 1, 1, 0.853553, 0.5, 0.146447, 0, 0], abs=1e-6)


@given(st.integers(0, 30), st.integers(1, 100))
def test_it_rises_to_its_peak_and_never_again(warmup: int, rest: int) -> None:
    total = warmup + rest
    made = values(total + 5, lr_schedule="cosine", warmup_steps=warmup, schedule_steps=total)
    assert made[:warmup] == sorted(made[:warmup])
    assert made[warmup:] == sorted(made[warmup:], reverse=True)
    assert max(made) == pytest.approx(1)
    assert made[total:] == [0.0] * 5
