from collections.abc import Sequence

import pyarrow as pa
import pytest

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.countdown import CountdownReward
from rsgrpo_cli.rewards.shaping import Shaping
from rsgrpo_cli.rewards.types import Sample, Status, Verdict
from rsgrpo_cli.schemas import REWARDS
from rsgrpo_cli.stages.score import PROMPT_COLUMNS, count_statuses, score


class Echo:
    """Right where the completion is the ground truth; notes what it was given."""

    identity = "echo"

    def __init__(self) -> None:
        self.seen: list[Sample] = []

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        self.seen += samples
        return [
            Verdict(1.0, Status.OK, s.completion, {"length": float(len(s.completion))})
            if s.completion == s.ground_truth
            else Verdict(None, Status.SKIPPED)
            for s in samples
        ]

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        return [None] * len(ground_truths)

    def close(self) -> None:
        pass


def rollouts(*rows: tuple[str, int, str]) -> pa.Table:
    return pa.table(
        {
            "group_id": [f"000000:{prompt}" for prompt, _, _ in rows],
            "sample_index": pa.array([sample for _, sample, _ in rows], pa.int32()),
            "prompt_id": [prompt for prompt, _, _ in rows],
            "completion": [text for _, _, text in rows],
            "finish_reason": ["stop"] * len(rows),
        }
    )


def prompts(**answers: str) -> pa.Table:
    rows = [
        dict.fromkeys(PROMPT_COLUMNS) | {"prompt_id": name, "ground_truth": text, "task": "math"}
        for name, text in answers.items()
    ]
    return pa.Table.from_pylist(rows)


def test_each_completion_is_graded_against_its_own_prompt() -> None:
    reward = Echo()
    table = score(rollouts(("a", 0, "x"), ("a", 1, "y"), ("b", 0, "y")), prompts(b="y", a="x", c="z"), reward)
    assert table.schema == REWARDS.schema
    assert table["reward"].to_pylist() == [1.0, None, 1.0]
    assert table["reward_status"].to_pylist() == ["ok", "skipped", "ok"]
    assert table["extracted_answer"].to_pylist() == ["x", None, "y"]
    assert table["reward_breakdown"].to_pylist() == [[("length", 1.0)], [], [("length", 1.0)]]
    assert table["group_id"].to_pylist() == ["000000:a", "000000:a", "000000:b"]
    assert reward.seen[2].columns["prompt_id"] == "b"
    assert reward.seen[1].columns["sample_index"] == 1
    assert count_statuses(table) == {"ok": 2, "skipped": 1}


def test_a_prompt_that_is_not_there() -> None:
    with pytest.raises(DataError, match="have prompt b, which is not among"):
        score(rollouts(("a", 0, "x"), ("b", 0, "y")), prompts(a="x"), Echo())


def test_rewards_are_shaped_by_length_and_format() -> None:
    table = rollouts(("a", 0, "1"), ("a", 1, "x")).append_column("completion_ids", pa.array([[7] * 8, [7] * 10]))
    made = score(table, prompts(a="1"), Echo(), Shaping(10, overlong_buffer=4))
    # 8 of 10 tokens, the last 4 punished: (6 - 8) / 4 = -0.5. What was skipped stays without a reward.
    assert made["reward"].to_pylist() == [0.5, None]
    assert dict(made["reward_breakdown"][0].as_py()) == {"correctness": 1.0, "overlong": -0.5, "length": 1.0}


def test_a_box_in_a_thought_that_the_prompt_opened_earns_nothing() -> None:
    box = r"Maybe \boxed{3+4}, no, wait"
    table = rollouts(("a", 0, box), ("a", 1, box + r"</think>\boxed{4+3}"), ("b", 0, box))
    asked = prompts(a="3 4 -> 7", b="3 4 -> 7")
    graded = score(table, asked, CountdownReward(), in_thought={"a"})
    assert graded["reward"].to_pylist() == [0.0, 1.0, 1.0]
    assert graded["reward_status"].to_pylist() == ["think_unclosed", "ok", "ok"]
    shaped = score(with_lengths(table), asked, Numbers(), Shaping(8, format_weight=1.0), in_thought={"a"})
    assert shaped["reward"].to_pylist() == [0.0, 1.0, 1.0]


def with_lengths(table: pa.Table) -> pa.Table:
    return table.append_column("completion_ids", pa.array([[1]] * len(table), pa.list_(pa.int32())))


class Numbers(Echo):
    """A function of one's own, which knows no right and wrong."""

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        return [Verdict(0.0, Status.SCORED) for _ in samples]


class Late(Echo):
    """Times out on all but the completion "x"."""

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        return [Verdict(0.0, Status.WRONG if s.completion == "x" else Status.TIMEOUT) for s in samples]


def test_a_time_limit_that_most_completions_run_into_is_no_result() -> None:
    half = rollouts(("a", 0, "x"), ("a", 1, "y"))
    assert count_statuses(score(half, prompts(a="x"), Late())) == {"wrong": 1, "timeout": 1}
    most = rollouts(("a", 0, "x"), ("a", 1, "y"), ("a", 2, "z"))
    with pytest.raises(DataError, match="2 of 3 completions ran into the time limit") as caught:
        score(most, prompts(a="x"), Late())
    assert "--timeout" in caught.value.hint
