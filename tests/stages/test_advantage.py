import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rsgrpo_cli.config import (
    VARIANTS,
    AdvantageConfig,
    ChenPassKConfig,
    DrGrpoConfig,
    EntropicAdaptiveConfig,
    EntropicLooConfig,
    FadeConfig,
    GrpoConfig,
    MahdaviPassKConfig,
    MaxRlConfig,
    OwnEstimatorConfig,
    PassKRlooConfig,
    PkpoConfig,
    QaeConfig,
    RlooConfig,
    RsGrpoConfig,
    TailRlConfig,
    TangMaxConfig,
    resolve,
)
from rsgrpo_cli.core.advantages import grpo
from rsgrpo_cli.core.history import History
from rsgrpo_cli.core.history_advantages import Batch, Weighing, fade
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.schemas import ADVANTAGES, REWARDS
from rsgrpo_cli.stages.advantage import (
    advantage,
    advantage_and_used,
    facts,
    groups_that_count,
    varied_groups,
    with_beta_of_step,
)


def rewards(groups: dict[str, list[float | None]], status: str | None = None) -> pa.Table:
    rows = [(name, index, value) for name, values in groups.items() for index, value in enumerate(values)]
    statuses = [status or ("timeout" if v is None else "ok" if v == 1 else "wrong") for _, _, v in rows]
    return pa.table(
        {
            "group_id": [name for name, _, _ in rows],
            "sample_index": pa.array([index for _, index, _ in rows], pa.int32()),
            "reward": pa.array([value for _, _, value in rows], pa.float64()),
            "reward_status": statuses,
            "reward_breakdown": pa.nulls(len(rows), REWARDS.schema.field("reward_breakdown").type),
        }
    )


def test_groups_are_compared_within_themselves() -> None:
    made = advantage(rewards({"a": [1, 0, 0, 0], "b": [1, 1], "c": [0, 0, 0]}), RsGrpoConfig(beta=2.0))
    assert made.schema == ADVANTAGES.schema
    # Z = (e^2 + 3) / 4 = 2.597; right: (e^2 / Z - 1) / 2 = 0.9225, wrong: (1 / Z - 1) / 2 = -0.3075.
    assert made["advantage"].to_pylist() == pytest.approx(
        [0.92247, -0.30749, -0.30749, -0.30749, 0, 0, 0, 0, 0], abs=1e-5
    )
    assert made["group_mean"].to_pylist() == [0.25] * 4 + [1.0] * 2 + [0.0] * 3
    assert made["group_risk_value"][0].as_py() == pytest.approx(math.log((math.e**2 + 3) / 4) / 2)
    assert made["group_status"].to_pylist() == ["mixed"] * 4 + ["all_right"] * 2 + ["all_wrong"] * 3
    assert facts(made)["groups"] == 3


@pytest.mark.parametrize(
    ("cfg", "right", "wrong"),
    [
        (DrGrpoConfig(), 0.75, -0.25),
        (RsGrpoConfig(beta=0.0), 0.75, -0.25),
        (RlooConfig(), 1.0, -1 / 3),
        (GrpoConfig(), 1.5, -0.5),  # standard deviation 0.5
        (MaxRlConfig(), 3.0, -1.0),
        (TailRlConfig(), 3.0, -1.0),  # max_rl on 0/1 rewards
        (QaeConfig(), 2.0, 0.0),  # 40% quantile 0, standard deviation 0.5
        # e^(2 - 2) / e^-2 - 1 = e^2 - 1; a wrong one: e^-2 / ((1 + 2 e^-2) / 3) - 1 = 3 / (e^2 + 2) - 1.
        (EntropicLooConfig(beta=2.0, eps=0.0), math.e**2 - 1, 3 / (math.e**2 + 2) - 1),
        # The same without 1/beta: half of it at beta 2.
        (RsGrpoConfig(denominator="leave_one_out"), (math.e**2 - 1) / 2, (3 / (math.e**2 + 2) - 1) / 2),
        # Of C(4, 2) = 6 pairs, 3 hold the right answer. s: 4/6 * 3 for the right one, 4/6 * 1 for a wrong one.
        (PkpoConfig(k=2, variant="s"), 2.0, 2 / 3),
        (PkpoConfig(k=2), 2.0, 0.0),  # its 3 pairs gain 1 each by it
        # Without i: 2 of 3 pairs of [1, 0, 0] hold the right answer, no pair of [0, 0, 0]. 4 * 2/3 * rho = 16/9 and 0.
        (PkpoConfig(k=2, variant="sloo"), 2.0, 2 / 3 - 16 / 9),
        # R = 1 - C(3, 2) / C(4, 2) = 1/2, sigma = 1/2; wrong: (1/2 - C(2, 1) / C(3, 1)) / (1/2) = -1/3.
        (ChenPassKConfig(k=2), 1.0, -1 / 3),
        (MahdaviPassKConfig(k=2), 2.0, 0.0),  # 2 C(3, 1) / C(3, 1)
        (MahdaviPassKConfig(k=2, variant="plugin"), 1.125, -0.375),  # 2 * 3/4 * (r - 1/4)
        (MahdaviPassKConfig(k=2, variant="plugin_grpo"), 1.125, -0.375),  # 3/4 * (r - 1/4) / (1/2)
        (PassKRlooConfig(k=2), 1.0, -1 / 3),  # w = 1
        (TangMaxConfig(), 1.0, 0.0),
    ],
)
def test_every_estimator_by_name(cfg: AdvantageConfig, right: float, wrong: float) -> None:
    made = advantage(rewards({"a": [1, 0, 0, 0]}), cfg)
    # What is added to a divisor of 1/2 or 1/4 is 1e-6.
    assert made["advantage"].to_pylist() == pytest.approx([right, wrong, wrong, wrong], rel=5e-6, abs=1e-9)


def test_the_adaptive_beta_by_its_definition() -> None:
    made = advantage(rewards({"a": [1, 0, 0, 0]}), EntropicAdaptiveConfig())
    right, wrong = made["advantage"].to_pylist()[:2]
    weight = right + 1  # e^beta: the right answer's weight against a wrong one's
    q = np.array([weight, 1, 1, 1]) / (weight + 3)
    assert (q * np.log(4 * q)).sum() == pytest.approx(math.log(2))
    assert wrong == pytest.approx(3 / (weight + 2) - 1)


def test_what_an_estimator_came_to_is_worked_out_with_the_advantages(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(batch: Batch, history: History) -> Weighing:
        calls.append(history)
        return fade(batch, history)

    monkeypatch.setattr("rsgrpo_cli.stages.advantage.WITH_HISTORY", {"fade": counted})
    groups, cfg = rewards({"0:a": [1, 0, 0, 0], "0:b": [1, 1, 0, 0]}), FadeConfig()
    made, used = advantage_and_used(groups, cfg, history=History())
    assert (sorted(used), len(calls)) == (["alpha", "delta"], 1)
    assert made.equals(advantage(groups, cfg, history=History()))


@pytest.mark.parametrize("name", VARIANTS)
def test_one_completion_has_nothing_to_be_compared_with(name: str) -> None:
    cfg = resolve({"advantage.estimator": name}).advantage
    made = advantage(rewards({"a": [1], "b": [0, None]}), cfg, history=History())
    assert made["advantage"].to_pylist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["chen_passk", "mahdavi_passk", "passk_rloo"])
def test_rewards_that_are_no_verdicts_are_refused_where_only_verdicts_count(name: str) -> None:
    table = rewards({"a": [0.5, 0.1, 0.2, 0.9]}, status="scored")
    with pytest.raises(DataError, match=f"^{name} needs 0/1 rewards; got 0.5: use rs_grpo or pkpo"):
        advantage(table, resolve({"advantage.estimator": name}).advantage)


def test_groups_smaller_than_k_are_refused() -> None:
    table = rewards({"a": [1, 0, 0, None]})
    with pytest.raises(DataError, match=r"^chen_passk needs k = 4 rewards or more a group; got 3: lower k or use"):
        advantage(table, ChenPassKConfig())


def test_a_completion_without_a_reward_is_left_out() -> None:
    made = advantage(rewards({"a": [1, None, 0], "b": [None, None], "c": [None, 1]}), RlooConfig())
    # a is compared as [1, 0]; b has nothing, c nothing to compare with.
    assert made["advantage"].to_pylist() == [1.0, 0.0, -1.0, 0, 0, 0, 0]
    assert made["group_mean"].to_pylist() == [0.5] * 1 + [None] + [0.5] + [None, None] + [None, 1.0]
    assert made["group_status"].to_pylist() == ["mixed"] * 3 + ["empty"] * 2 + ["all_right"] * 2


def test_numbers_that_are_no_verdicts() -> None:
    made = advantage(rewards({"a": [0.5, 0.5], "b": [0.1, 0.9]}, status="scored"), DrGrpoConfig())
    assert made["group_status"].to_pylist() == ["constant"] * 2 + ["mixed"] * 2


def test_zeros_and_ones_of_a_function_are_verdicts() -> None:
    made = advantage(rewards({"a": [1, 1], "b": [0, 0], "c": [1, 0]}, status="scored"), DrGrpoConfig())
    assert made["group_status"].to_pylist() == ["all_right"] * 2 + ["all_wrong"] * 2 + ["mixed"] * 2
    # One other number in the step, and all of them are grades.
    made = advantage(rewards({"a": [1, 1], "b": [0, 0], "c": [0.5, 0.5]}, status="scored"), DrGrpoConfig())
    assert made["group_status"].to_pylist() == ["constant"] * 6


def test_scaling_to_rms_one() -> None:
    table = rewards({"a": [1, 0, 0, 0], "b": [1, 1, 0, 0]})
    made = advantage(table, RsGrpoConfig(beta=8.0, scale="rms"))
    plain = advantage(table, RsGrpoConfig(beta=8.0))
    values = made["advantage"].to_numpy()
    assert math.sqrt((values**2).mean()) == pytest.approx(1)
    ratio = values / plain["advantage"].to_numpy()
    assert np.allclose(ratio, ratio[0])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(DataError, match=r"reward of b sample 1 is (nan|inf); 1 of 4 are"):
        advantage(rewards({"a": [1, 0], "b": [0, bad]}), RsGrpoConfig())


def test_a_group_that_does_not_suit_the_estimator() -> None:
    with pytest.raises(DataError, match="max_rl"):
        advantage(rewards({"a": [-1, -2]}), MaxRlConfig())


LINEAR = RsGrpoConfig(beta=2.0, schedule="linear", beta_end=8.0, schedule_steps=4)
BY_RATE = RsGrpoConfig(beta=8.0, schedule="solve_rate", beta_end=0.0, scale="rms")


def test_a_schedule_is_settled_by_the_step_alone() -> None:
    table = rewards({"a": [1, 0]})
    assert [with_beta_of_step(LINEAR, step, table).knobs()["beta"] for step in range(5)] == [2.0, 4.0, 6.0, 8.0, 8.0]
    assert with_beta_of_step(RsGrpoConfig(beta=3.0), 7, table) == RsGrpoConfig(beta=3.0)
    assert with_beta_of_step(GrpoConfig(), 7, table) == GrpoConfig()


def test_a_schedule_without_a_horizon_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="lacks its beta_end or schedule_steps"):
        with_beta_of_step(RsGrpoConfig(schedule="linear", beta_end=8.0), 0, rewards({"a": [1, 0]}))


def test_a_schedule_is_settled_by_the_share_that_is_right() -> None:
    # One of four is right, the completion without a reward does not count: 8 (1 - 1/4).
    made = with_beta_of_step(BY_RATE, 0, rewards({"a": [1, 0, 0], "b": [None, 0]}))
    assert made == RsGrpoConfig(beta=6.0, scale="rms")
    # Numbers that are no verdicts: their mean, 1/2.
    assert with_beta_of_step(BY_RATE, 0, rewards({"a": [0.25, 0.75]}, status="scored")).knobs()["beta"] == 4.0


def test_a_solve_rate_that_is_none() -> None:
    with pytest.raises(DataError, match=r"needs rewards in \[0, 1\]; these go from -1 to 3"):
        with_beta_of_step(BY_RATE, 0, rewards({"a": [-1, 3]}, status="scored"))
    with pytest.raises(DataError, match="no completion of the step has a reward"):
        with_beta_of_step(BY_RATE, 0, rewards({"a": [None, None]}))


def test_advantages_with_a_schedule_need_a_step() -> None:
    with pytest.raises(ValueError, match="without a step"):
        advantage(rewards({"a": [1, 0]}), LINEAR)


def test_the_risk_value_is_the_mean_where_there_is_no_beta() -> None:
    table = rewards({"a": [1, 0, 0, 0]})
    assert advantage(table, ChenPassKConfig())["group_risk_value"][0].as_py() == 0.25
    value = advantage(table, EntropicLooConfig(beta=2.0))["group_risk_value"][0].as_py()
    assert value == pytest.approx(math.log((math.e**2 + 3) / 4) / 2)


def test_verdicts_alike_and_rewards_that_differ_are_shaped() -> None:
    # Right is 1 and wrong 0; length takes 0.5 off the second completion of each group.
    values: dict[str, list[float | None]] = {"a": [1.0, 0.5], "b": [0.0, -0.5], "c": [1.0, -0.5], "d": [0.0, 0.0]}
    statuses = pa.array(["ok", "ok", "wrong", "wrong", "ok", "wrong", "wrong", "wrong"])
    table = rewards(values).set_column(3, "reward_status", statuses)
    made = advantage(table, DrGrpoConfig())
    assert made["group_status"].to_pylist()[::2] == ["shaped", "shaped", "mixed", "all_wrong"]
    assert made["advantage"].to_pylist()[:4] == [0.25, -0.25, 0.25, -0.25]  # all right, all wrong: a gradient
    assert varied_groups(table) == 3


def test_groups_that_count_are_the_first_drawn_with_varied_rewards() -> None:
    made = advantage(rewards({"a": [1, 0], "b": [1, 1], "c": [0, 1], "d": [None, None], "e": [1, 0]}), DrGrpoConfig())
    assert groups_that_count(made, ["e", "d", "c", "b", "a"]) == ["e", "c", "a"]
    assert groups_that_count(made, ["e", "d", "c", "b", "a"], 2) == ["e", "c"]
    assert varied_groups(rewards({"a": [None, 1], "b": [None, None], "c": [1, 0]})) == 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(st.none() | st.floats(-1e3, 1e3) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=6),
        min_size=1,
        max_size=8,
    )
)
def test_an_own_function_that_does_what_grpo_does_gives_its_bytes(groups: list[list[float | None]]) -> None:
    table = rewards({f"g{number}": values for number, values in enumerate(groups)})
    seen: list[str] = []

    def own(given: Sequence[tuple[str, NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
        seen.extend(name for name, _ in given)
        return [grpo(rewards_G) for _, rewards_G in given]

    made = advantage(table, OwnEstimatorConfig(estimator="m:f", scale="rms"), own)
    assert made.equals(advantage(table, GrpoConfig(scale="rms")))
    several = [f"g{n}" for n, values in enumerate(groups) if sum(value is not None for value in values) > 1]
    assert seen == several  # a group of one has nothing to be compared with


def test_an_own_function_that_is_not_there_is_not_replaced_by_another() -> None:
    with pytest.raises(ValueError, match="m:f"):
        advantage(rewards({"a": [1, 0]}), OwnEstimatorConfig(estimator="m:f"))
