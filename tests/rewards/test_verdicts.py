import pyarrow as pa
import pytest

from rsgrpo_cli.rewards.verdicts import right
from rsgrpo_cli.schemas import REWARDS


def rewards(*rows: tuple[float | None, str], correctness: list[float] | None = None) -> pa.Table:
    parts = [[("correctness", value)] for value in correctness] if correctness else [[]] * len(rows)
    table = {
        "reward": pa.array([reward for reward, _ in rows], pa.float64()),
        "reward_breakdown": pa.array(parts, REWARDS.schema.field("reward_breakdown").type),
        "reward_status": [status for _, status in rows],
    }
    return pa.table(table)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1.0, "ok"), (0.0, "wrong"), (0.0, "timeout")], [True, False, False]),
        ([(1.0, "scored"), (0.0, "scored"), (None, "skipped"), (0.0, "error")], [True, False, False, False]),
        ([(1.0, "scored"), (0.0, "scored"), (0.5, "scored")], None),
        ([(-1.0, "scored"), (1.0, "scored")], None),
        ([(None, "skipped"), (None, "skipped")], None),
        ([(None, "skipped"), (0.0, "timeout")], None),
    ],
)
def test_only_zeros_and_ones_are_verdicts(rows: list[tuple[float | None, str]], expected: list[bool] | None) -> None:
    found = right(rewards(*rows))
    assert (None if found is None else found.to_pylist()) == expected


def test_what_length_and_format_add_says_nothing_about_right_and_wrong() -> None:
    found = right(rewards((0.5, "scored"), (-0.5, "scored"), correctness=[1.0, 0.0]))
    assert found is not None
    assert found.to_pylist() == [True, False]
