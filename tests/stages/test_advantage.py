import math

import numpy as np
import pyarrow as pa
import pytest

from rsgrpo_cli.config import DrGrpoConfig, GrpoConfig, MaxRlConfig, RlooConfig, RsGrpoConfig
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.schemas import ADVANTAGES
from rsgrpo_cli.stages.advantage import advantage, facts


def rewards(groups: dict[str, list[float | None]], status: str | None = None) -> pa.Table:
    rows = [(name, index, value) for name, values in groups.items() for index, value in enumerate(values)]
    statuses = [status or ("skipped" if v is None else "ok" if v == 1 else "wrong") for _, _, v in rows]
    return pa.table(
        {
            "group_id": [name for name, _, _ in rows],
            "sample_index": pa.array([index for _, index, _ in rows], pa.int32()),
            "reward": pa.array([value for _, _, value in rows], pa.float64()),
            "reward_status": statuses,
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
        (GrpoConfig(eps=0.0), 1.5, -0.5),  # standard deviation 0.5
        (MaxRlConfig(eps=0.0), 3.0, -1.0),
    ],
)
def test_every_estimator_by_name(cfg: RsGrpoConfig, right: float, wrong: float) -> None:
    made = advantage(rewards({"a": [1, 0, 0, 0]}), cfg)
    assert made["advantage"].to_pylist() == pytest.approx([right, wrong, wrong, wrong])


def test_a_completion_without_a_reward_is_left_out() -> None:
    made = advantage(rewards({"a": [1, None, 0], "b": [None, None], "c": [None, 1]}), RlooConfig())
    # a is compared as [1, 0]; b has nothing, c nothing to compare with.
    assert made["advantage"].to_pylist() == [1.0, 0.0, -1.0, 0, 0, 0, 0]
    assert made["group_mean"].to_pylist() == [0.5] * 1 + [None] + [0.5] + [None, None] + [None, 1.0]
    assert made["group_status"].to_pylist() == ["mixed"] * 3 + ["empty"] * 2 + ["all_right"] * 2


def test_numbers_that_are_no_verdicts() -> None:
    made = advantage(rewards({"a": [0.5, 0.5], "b": [0.1, 0.9]}, status="scored"), DrGrpoConfig())
    assert made["group_status"].to_pylist() == ["constant"] * 2 + ["mixed"] * 2


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
