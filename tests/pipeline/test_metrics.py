"""The row of a step from four small tables, with numbers to check by hand."""

import math
from dataclasses import replace

import pyarrow as pa
import pytest

from rsgrpo_cli.artifacts import Lineage
from rsgrpo_cli.pipeline.metrics import StepTables, solved_prompts, step_metrics, used_beta
from rsgrpo_cli.schemas import METRICS
from tests.tables import advantages, rewards, rollouts, update_metrics

MADE = Lineage("advantage", {"estimator": "rs_grpo", "beta": 4.0}, {})
LENGTHS = {"a": [1, 2], "b": [3, 9], "c": [4, 5]}
ONE_VARIES = {"a": [2.0, -1.0], "b": [0.0, 0.0], "c": [0.0, 0.0]}
VALUES = {"a": [1, 0], "b": [1, 1], "c": [0, 0]}


def step_tables() -> StepTables:
    """Three groups of two: one mixed, one all right, one all wrong; one completion was cut."""
    return StepTables(
        rollouts(LENGTHS, version=5),
        rewards(VALUES),
        advantages(
            {"a": [2.0, -1.0], "b": [0.0, 0.0], "c": [0.0, 0.0]}, {"a": "mixed", "b": "all_right", "c": "all_wrong"}
        ),
        update_metrics({"loss": 1.0, "grad_norm": 3.0, "learning_rate": 0.2, "entropy": 0.5, "tokens_forward": 3}),
        MADE,
    )


def row_of(tables: StepTables, seconds: dict[str, float] | None = None) -> dict[str, float | None]:
    row = step_metrics(tables, step=5, solve_rate=0.25, seconds=seconds or {}, peak_memory_bytes=10)
    assert row.keys() <= set(METRICS.schema.names)
    pa.Table.from_pylist([row], schema=METRICS.schema)  # fits as it is
    return row


def picked(row: dict[str, float | None], names: str) -> list[float | None]:
    return [row[name] for name in names.split()]


def test_what_a_step_was() -> None:
    row = row_of(step_tables())
    assert picked(row, "step policy_version estimator beta cumulative_solve_rate") == [5, 5, "rs_grpo", 4.0, 0.25]
    # Tokens: 1 + 2 + 3 + 9 + 4 + 5 = 24 of six completions.
    assert picked(row, "completion_length_mean completion_length_max") == [4.0, 9.0]
    assert row["truncated_fraction"] == pytest.approx(1 / 6)
    assert row["peak_memory_bytes"] == 10.0


def test_rewards_and_groups() -> None:
    row = row_of(step_tables())
    # 1, 0, 1, 1, 0, 0: mean 1/2, every value 1/2 away from it.
    assert picked(row, "reward_mean reward_std") == [0.5, 0.5]
    # The groups' means 1/2, 1, 0 have a sample standard deviation of 1/2; over the root of three groups.
    assert row["reward_error"] == pytest.approx(0.5 / math.sqrt(3))
    assert picked(row, "groups_mixed groups_all_right groups_all_wrong groups_shaped") == [1, 1, 1, 0]
    assert picked(row, "groups_sampled groups_kept") == [3, 1]
    assert picked(row, "pass@1 pass@G") == [0.5, pytest.approx(2 / 3)]
    assert dict(row["status_counts"]) == {"ok": 3, "wrong": 3}  # type: ignore[call-overload]


def test_advantages() -> None:
    row = row_of(step_tables())
    # 4 + 1 over six completions; (2 + 1)^2 / (4 + 1) completions' worth.
    assert row["advantage_rms"] == pytest.approx(math.sqrt(5 / 6))
    assert picked(row, "advantage_min advantage_max") == [-1.0, 2.0]
    assert row["effective_sample_size"] == pytest.approx(9 / 5)


def test_of_several_optimizer_steps_tokens_weigh() -> None:
    first = {"loss": 1.0, "grad_norm": 3.0, "learning_rate": 0.2, "entropy": 0.5, "logprob_diff_max": 0.1}
    second = {"loss": 2.0, "grad_norm": 5.0, "learning_rate": 0.1, "entropy": 0.9, "logprob_diff_max": 0.3}
    update = update_metrics(first | {"tokens_forward": 3}, second | {"tokens_forward": 1})
    row = row_of(replace(step_tables(), update=update))
    assert picked(row, "optimizer_steps loss grad_norm grad_norm_max lr") == [2, 1.5, 4.0, 5.0, 0.1]
    assert row["entropy"] == pytest.approx((3 * 0.5 + 0.9) / 4)
    assert (row["logprob_diff_max"], row["kl"]) == (0.3, None)


def test_an_update_without_a_gradient() -> None:
    row = row_of(replace(step_tables(), update=update_metrics({"tokens_forward": 0})))
    assert picked(row, "loss entropy clip_fraction_low") == [0.0, None, 0.0]


def test_times_are_empty_where_a_stage_did_not_run() -> None:
    assert picked(row_of(step_tables()), "seconds_rollout seconds_step tokens_per_second") == [None, None, None]
    row = row_of(step_tables(), {"rollout": 2.0, "update": 1.0})
    assert picked(row, "seconds_rollout seconds_score seconds_step tokens_per_second") == [2.0, None, 3.0, 12.0]


def test_no_more_groups_are_kept_than_the_update_learned_from() -> None:
    statuses = dict.fromkeys("abc", "mixed")
    varied = advantages({name: [1.0, -1.0] for name in "abc"}, statuses)
    assert row_of(replace(step_tables(), advantages=varied))["groups_kept"] == 3
    assert row_of(replace(step_tables(), advantages=varied, most_groups=2))["groups_kept"] == 2


def test_grades_have_no_verdicts() -> None:
    graded = rewards({"a": [0.5, 0.25], "b": [None, 0.75], "c": [0.0, 1.0]}, own=True)
    row = row_of(replace(step_tables(), rewards=graded))
    assert picked(row, "pass@1 pass@G groups_all_right groups_all_wrong") == [None] * 4
    assert row["reward_mean"] == pytest.approx(2.5 / 5)  # of the five that have a reward
    assert solved_prompts(rollouts(LENGTHS), graded) is None


def test_a_users_zeros_and_ones_are_verdicts() -> None:
    judged = rewards({"a": [1.0, 0.0], "b": [1.0, 1.0], "c": [0.0, None]}, own=True)
    statuses = {"a": "mixed", "b": "constant", "c": "constant"}
    made = advantages({"a": [1.0, -1.0], "b": [0.0, 0.0], "c": [0.0, 0.0]}, statuses)
    row = row_of(replace(step_tables(), rewards=judged, advantages=made))
    # Without a reward counts as wrong: three of six are right, two of three groups have one.
    assert picked(row, "pass@1 pass@G") == [0.5, pytest.approx(2 / 3)]
    assert picked(row, "groups_all_right groups_all_wrong") == [1, 1]
    assert solved_prompts(rollouts(LENGTHS), judged) == {"a", "b"}


def test_a_scheduled_beta_wins_over_the_setting() -> None:
    assert used_beta(MADE) == 4.0
    assert used_beta(replace(MADE, outputs={"beta": "2.5"})) == 2.5
    assert used_beta(Lineage("advantage", {"estimator": "grpo"}, {})) is None
