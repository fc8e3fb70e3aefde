import pyarrow as pa
import pytest

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.schemas import PROBLEMS, REWARDS, SUMMARY
from rsgrpo_cli.stages.evaluate import evaluate


def tables(
    verdicts: dict[str, str], answers: dict[str, str] | None = None, lenient: dict[str, str] | None = None
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Samples of problems, one character each: + right, - wrong, ? without an answer."""
    keys = [(name, index) for name, text in verdicts.items() for index in range(len(text))]
    status = {"+": "ok", "-": "wrong", "?": "no_box"}
    rollouts = pa.table(
        {
            "group_id": [name for name, _ in keys],
            "sample_index": pa.array([index for _, index in keys], pa.int32()),
            "prompt_id": [name for name, _ in keys],
            "completion_ids": [[1] * (index + 1) for _, index in keys],
        }
    )
    rows = [
        {
            "group_id": name,
            "sample_index": index,
            "reward": float(verdicts[name][index] == "+"),
            "reward_breakdown": [("lenient", float(lenient[name][index] == "+"))] if lenient else [],
            "reward_status": status[verdicts[name][index]],
            "extracted_answer": None if verdicts[name][index] == "?" else (answers or verdicts)[name][index],
        }
        for name, index in keys
    ]
    prompts = pa.table({"prompt_id": list(verdicts), "ground_truth": ["+"] * len(verdicts)})
    return rollouts, pa.Table.from_pylist(rows, schema=REWARDS.schema), prompts


def summary(rows: pa.Table) -> dict[tuple[str, int | None], dict[str, float]]:
    return {(row["metric"], row["k"]): row for row in rows.to_pylist()}


def test_pass_at_k_of_a_benchmark() -> None:
    problems, rows = evaluate(*tables({"a": "+---", "b": "++++", "c": "----"}), [1, 2], 4)
    assert problems.schema == PROBLEMS.schema
    assert rows.schema == SUMMARY.schema
    found = summary(rows)
    # a: 1/4 and 1 - C(3,2)/C(4,2) = 1/2, b: 1, c: 0.
    assert found["pass", 1]["value"] == pytest.approx((0.25 + 1 + 0) / 3)
    assert found["pass", 2]["value"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["pass", 4]["value"] == pytest.approx(2 / 3)  # the curve's points are added
    # a alone varies: p(1-p)/(n-1) = 3/16/3 = 1/16, so the error is sqrt(1/16)/3.
    assert found["pass", 1]["sampling_error"] == pytest.approx(1 / 12)
    assert found["pass", 4]["sampling_error"] is None  # n = k is a single draw
    assert found["pass", 1]["ci_low"] <= found["pass", 1]["value"] <= found["pass", 1]["ci_high"]
    assert found["solved", None]["value"] == pytest.approx(2 / 3)
    assert problems["correct"].to_pylist() == [1, 4, 0]
    assert (found["pass", 1]["n_problems"], found["pass", 1]["n_samples"]) == (3, 4)


def test_votes_answers_and_health() -> None:
    answers = {"a": "xxyz", "b": "xyyy"}
    problems, rows = evaluate(*tables({"a": "++--", "b": "-??+"}, answers), [1, 4], 4)
    found = summary(rows)
    assert problems["distinct_answers"].to_pylist() == [3, 2]
    assert problems["majority_answer"].to_pylist() == ["x", "x"]
    # a: x wins 2 to 1 to 1 and is right. b: x (wrong) and y (right) tie at one vote each.
    assert problems["majority_correct"].to_pylist() == pytest.approx([1.0, 0.5])
    assert found["maj", 4]["value"] == pytest.approx(0.75)
    assert found["status_no_box", None]["value"] == pytest.approx(0.25)
    assert found["completion_tokens", None]["value"] == pytest.approx(2.5)


def test_the_lenient_reading_is_reported_beside_the_strict_one() -> None:
    verdicts = {"a": "+-?-", "b": "----"}
    _, rows = evaluate(*tables(verdicts, lenient={"a": "+-+-", "b": "--+-"}), [1], 4)
    found = summary(rows)
    assert found["pass", 1]["value"] == pytest.approx(1 / 8)
    assert found["pass_lenient", 1]["value"] == pytest.approx(3 / 8)


def test_samples_beyond_those_asked_for_are_left_out() -> None:
    rollouts, rewards, prompts = tables({"a": "+---++++", "b": "----++++"})
    few = summary(evaluate(rollouts, rewards, prompts, [1], 4)[1])
    assert few["pass", 1]["value"] == pytest.approx(1 / 8)
    assert few["pass", 1]["n_samples"] == 4


def test_a_problem_without_all_its_samples_is_refused() -> None:
    with pytest.raises(DataError, match="not every problem has its 4 samples"):
        evaluate(*tables({"a": "++++", "b": "++"}), [1], 4)


def scored(rewards: pa.Table, values: list[float | None]) -> pa.Table:
    """The same rewards as a user's function would have given them."""
    statuses = ["skipped" if value is None else "scored" for value in values]
    names = rewards.schema.names
    rewards = rewards.set_column(names.index("reward_status"), "reward_status", pa.array(statuses))
    return rewards.set_column(names.index("reward"), "reward", pa.array(values, pa.float64()))


def test_zeros_and_ones_of_a_function_are_verdicts() -> None:
    rollouts, rewards, prompts = tables({"a": "++--", "b": "----"})
    said = scored(rewards, [1.0, 1.0, 0.0, None, 0.0, 0.0, 0.0, 0.0])
    found = summary(evaluate(rollouts, said, prompts, [1, 2], 4)[1])
    assert found["pass", 1]["value"] == pytest.approx((2 / 4 + 0) / 2)
    assert found["pass", 2]["value"] == pytest.approx((1 - (2 * 1) / (4 * 3)) / 2)  # two of four are wrong
    assert ("reward", None) not in found
    # A function says no answers: nothing to vote on, nothing to tell apart.
    assert not {metric for metric, _ in found} & {"maj", "distinct_answers", "distinct_ratio"}


def test_grades_have_a_mean_and_no_pass_at_k() -> None:
    rollouts, rewards, prompts = tables({"a": "++--", "b": "----"})
    said = scored(rewards, [1.0, 0.5, None, 0.0, -1.0, -1.0, -1.0, 0.0])
    problems, rows = evaluate(rollouts, said, prompts, [1, 2], 4)
    found = summary(rows)
    assert found["reward", None]["value"] == pytest.approx((0.5 + -0.75) / 2)  # None is left out of a's mean
    assert not [metric for metric, _ in found if metric in ("pass", "maj", "solved")]
    assert problems["reward_mean"].to_pylist() == pytest.approx([0.5, -0.75])
    assert found["completion_tokens", None]["n_problems"] == 2


def test_a_function_that_gives_no_reward_at_all_is_refused() -> None:
    rollouts, rewards, prompts = tables({"a": "++"})
    with pytest.raises(DataError, match="no sample has a reward"):
        evaluate(rollouts, scored(rewards, [None, None]), prompts, [1], 2)


def test_the_former_name_of_a_status_is_read() -> None:
    rollouts, rewards, prompts = tables({"a": "+-"})
    index = rewards.schema.names.index("reward_status")
    found = summary(
        evaluate(rollouts, rewards.set_column(index, "reward_status", pa.array(["ok", "guard"])), prompts, [1], 2)[1]
    )
    assert found["status_unparsable", None]["value"] == 0.5
