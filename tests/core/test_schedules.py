import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.core.schedules import TimedSchedule, adaptive_entropy_coef, beta_by_solve_rate, beta_by_step

BETAS = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("schedule", "step", "beta"),
    [
        ("linear", 0, 2.0),
        ("linear", 1, 3.5),  # a quarter of the way from 2 to 8
        ("linear", 4, 8.0),  # the fifth and last step
        ("linear", 99, 8.0),
        ("cosine", 0, 2.0),
        ("cosine", 1, 8 - 3 * (1 + math.sqrt(0.5))),  # 8 + (2 - 8) (1 + cos(45 degrees)) / 2
        ("cosine", 2, 5.0),  # half way
        ("cosine", 4, 8.0),
        ("cosine", 99, 8.0),
    ],
)
def test_from_2_to_8_in_five_steps(schedule: TimedSchedule, step: int, beta: float) -> None:
    assert beta_by_step(schedule, 2.0, 8.0, step=step, steps=5) == pytest.approx(beta, rel=1e-15)


def test_a_schedule_of_one_step_starts_and_jumps() -> None:
    assert [beta_by_step("linear", 2.0, 8.0, step=step, steps=1) for step in (0, 1)] == [2.0, 8.0]


@pytest.mark.parametrize(("rate", "beta"), [(0.0, 8.0), (0.25, 6.5), (1.0, 2.0)])
def test_by_solve_rate(rate: float, beta: float) -> None:
    assert beta_by_solve_rate(8.0, 2.0, rate) == beta


@given(BETAS, BETAS, st.integers(1, 50), st.sampled_from(["linear", "cosine"]))
def test_a_way_starts_and_ends_exactly_and_never_turns(
    start: float, end: float, steps: int, schedule: TimedSchedule
) -> None:
    way = [beta_by_step(schedule, start, end, step=step, steps=steps) for step in range(steps + 2)]
    assert way[0] == start
    assert way[-1] == end
    slack = 1e-9 * max(abs(start), abs(end))
    assert all((b - a) * (end - start) >= -slack * abs(end - start) for a, b in pairwise(way))
    assert all(min(start, end) <= beta <= max(start, end) for beta in way)


@given(BETAS, BETAS, st.floats(0, 1))
def test_a_solve_rate_never_leads_beyond_the_ends(start: float, end: float, rate: float) -> None:
    assert min(start, end) <= beta_by_solve_rate(start, end, rate) <= max(start, end)


def test_what_has_no_beta() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        beta_by_solve_rate(2.0, 8.0, 1.5)
    with pytest.raises(ValueError, match="step -1 of 5"):
        beta_by_step("linear", 2.0, 8.0, step=-1, steps=5)
    with pytest.raises(ValueError, match="not 'square'"):
        beta_by_step("square", 2.0, 8.0, step=1, steps=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between nan"):
        beta_by_step("cosine", math.nan, 8.0, step=1, steps=5)


@pytest.mark.parametrize(
    ("coef", "entropy", "moved", "applied"),
    [
        (0.0, 0.3, 0.005, 0.005),  # at the target it rises, and counts
        (0.01, 0.2, 0.015, 0.015),
        (0.01, 0.31, 0.005, 0.0),  # above it falls, and does not count
        (0.002, 0.4, 0.0, 0.0),
        (0.999, 0.1, 1.0, 1.0),
    ],
)
def test_an_adaptive_entropy_bonus_by_hand(coef: float, entropy: float, moved: float, applied: float) -> None:
    assert adaptive_entropy_coef(coef, entropy, 0.3) == pytest.approx((moved, applied))
