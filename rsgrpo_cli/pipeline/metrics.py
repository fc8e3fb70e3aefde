"""The row of `metrics.parquet` that a training step leaves: what happened, in the field's usual names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import Lineage
from rsgrpo_cli.core.risk import advantage_rms, effective_sample_size
from rsgrpo_cli.rewards import verdicts
from rsgrpo_cli.rewards.types import Status
from rsgrpo_cli.stages.advantage import VARIED, group_statuses
from rsgrpo_cli.stages.score import count_statuses

ROLLOUT_COLUMNS = ("group_id", "sample_index", "prompt_id", "policy_version", "completion_ids", "finish_reason")
"""The columns of the rollouts that are read."""
REWARD_COLUMNS = ("group_id", *verdicts.COLUMNS)
"""The columns of the rewards that are read."""


@dataclass(frozen=True, slots=True)
class StepTables:
    """What a step left: its rollouts (ROLLOUT_COLUMNS), rewards (REWARD_COLUMNS), advantages and update metrics.

    `made` says what the advantages were made with, `most_groups` how many groups at most the update learned from.
    """

    rollouts: pa.Table
    rewards: pa.Table
    advantages: pa.Table
    update: pa.Table
    made: Lineage
    most_groups: int | None = None


def step_metrics(
    tables: StepTables,
    *,
    step: int,
    solve_rate: float | None,
    seconds: Mapping[str, float],
    peak_memory_bytes: int,
) -> dict[str, Any]:
    """One row of `schemas.METRICS`.

    Args:
        tables: What the step left.
        step: From 0.
        solve_rate: Share of the training problems solved at least once so far, this step included; None where rewards
            are grades, which solve nothing.
        seconds: Stage -> how long it took, of the stages that ran in this process or are in its log.
        peak_memory_bytes: Of this process so far.
    """
    lengths = pc.list_value_length(tables.rollouts["completion_ids"]).to_numpy()
    row: dict[str, Any] = {
        "step": step,
        "policy_version": tables.rollouts["policy_version"][0].as_py(),
        "estimator": tables.made.config["estimator"],
        "beta": used_beta(tables.made),
        "cumulative_solve_rate": solve_rate,
        "completion_length_mean": float(lengths.mean()),
        "completion_length_max": float(lengths.max()),
        "truncated_fraction": pc.mean(pc.equal(tables.rollouts["finish_reason"], "length")).as_py(),
        "peak_memory_bytes": float(peak_memory_bytes),
    }
    row |= _reward_metrics(tables.rewards) | _advantage_metrics(tables.advantages) | _update_metrics(tables.update)
    row |= _group_metrics(tables.advantages, tables.most_groups) | _verdict_metrics(tables.rewards)
    row |= {f"seconds_{stage}": seconds.get(stage) for stage in ("rollout", "score", "advantage", "update")}
    row["seconds_step"] = sum(seconds.values()) if seconds else None
    row["tokens_per_second"] = float(lengths.sum()) / seconds["rollout"] if seconds.get("rollout") else None
    return row


def used_beta(advantages: Lineage) -> float | None:
    """The beta that advantages were made with: their setting, or what its schedule came to; None without one."""
    beta = advantages.outputs.get("beta", advantages.config.get("beta"))
    return None if beta is None else float(beta)


def solved_prompts(rollouts: pa.Table, rewards: pa.Table) -> set[str] | None:
    """Prompts with at least one right completion; None where rewards are grades, which have no right and wrong."""
    right = verdicts.right(rewards)
    return None if right is None else set(rollouts["prompt_id"].filter(right).to_pylist())


def _reward_metrics(rewards: pa.Table) -> dict[str, Any]:
    statuses = count_statuses(rewards)
    values = rewards["reward"].drop_null().to_numpy()
    return {
        "reward_mean": float(values.mean()) if len(values) else None,
        "reward_std": float(values.std()) if len(values) else None,
        "reward_error": _error_over_groups(rewards),
        "scorer_timeouts": float(statuses.get(Status.TIMEOUT, 0)),
        "scorer_errors": float(statuses.get(Status.ERROR, 0)),
        "status_counts": list(statuses.items()),
    }


def _verdict_metrics(rewards: pa.Table) -> dict[str, Any]:
    """What only right and wrong have: a graded reward leaves it empty."""
    right = verdicts.right(rewards)
    if right is None:
        return dict.fromkeys(("pass@1", "pass@G", "groups_all_right", "groups_all_wrong"))
    groups = pa.table({"group": rewards["group_id"], "right": right}).group_by("group")
    solved = groups.aggregate([("right", "any")])["right_any"]
    row = {"pass@1": float(pc.mean(right).as_py()), "pass@G": float(pc.mean(solved).as_py())}
    return row | _groups_of_a_function(rewards, right)


def _groups_of_a_function(rewards: pa.Table, right: pa.ChunkedArray) -> dict[str, float]:
    """How many groups got equal verdicts of a user's function: the statuses of its groups do not know verdicts."""
    if not verdicts.is_from_user(rewards):
        return {}
    judged = pa.table({"group": rewards["group_id"], "right": right}).filter(pc.is_valid(rewards["reward"]))
    spread = judged.group_by("group").aggregate([("right", "min"), ("right", "max")])
    all_right = pc.sum(pc.cast(spread["right_min"], pa.int64())).as_py()
    all_wrong = pc.sum(pc.cast(pc.invert(spread["right_max"]), pa.int64())).as_py()
    return {"groups_all_right": float(all_right or 0), "groups_all_wrong": float(all_wrong or 0)}


def _error_over_groups(rewards: pa.Table) -> float | None:
    """Standard error of the mean reward: groups are independent of each other, the samples of one prompt are not."""
    means = rewards.group_by("group_id").aggregate([("reward", "mean")])["reward_mean"].drop_null().to_numpy()
    return float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else None


def _advantage_metrics(advantages: pa.Table) -> dict[str, Any]:
    values = advantages["advantage"].to_numpy()
    return {
        "advantage_rms": advantage_rms(values),
        "advantage_min": float(values.min()),
        "advantage_max": float(values.max()),
        "effective_sample_size": effective_sample_size(values),
    }


def _group_metrics(advantages: pa.Table, most: int | None) -> dict[str, float]:
    """How many groups were sampled, how many of them the update's gradient is from, and what the groups are.

    all_right and all_wrong groups have equal rewards and no gradient; where rewards are shaped, one whose completions
    are all wrong (or all right) and yet earn differently is counted as shaped. By the verdicts alone, the share of
    groups that are all wrong is 1 - pass@G.
    """
    counts = group_statuses(advantages)
    sampled, varied = sum(counts.values()), sum(counts.get(status, 0) for status in VARIED)
    kept = varied if most is None else min(varied, most)
    shown = {f"groups_{status}": counts.get(status, 0) for status in ("all_right", "all_wrong", "mixed", "shaped")}
    return {name: float(count) for name, count in {**shown, "groups_sampled": sampled, "groups_kept": kept}.items()}


def _update_metrics(update: pa.Table) -> dict[str, Any]:
    """Of several optimizer steps: means, over tokens where it is one per token; the largest where the name says so."""
    row: dict[str, Any] = {"optimizer_steps": float(len(update)), "lr": update["learning_rate"][-1].as_py()}
    row |= {name: pc.mean(update[name]).as_py() for name in ("loss", "grad_norm")}
    a_token = "entropy kl clip_fraction_low clip_fraction_high logprob_diff_mean ratio_capped_fraction"
    row |= {name: mean_over_tokens(update, name) for name in a_token.split()}
    row |= {name: pc.max(update[name]).as_py() for name in ("logprob_diff_max", "importance_ratio_max")}
    dropped = pc.sum(update["sampler_logprobs_dropped"]).as_py()  # null of an update that did not count them
    row["sampler_logprobs_dropped"] = None if dropped is None else float(dropped)
    return row | {"grad_norm_max": pc.max(update["grad_norm"]).as_py()}


def mean_over_tokens(update: pa.Table, name: str) -> float | None:
    """A step's number counts as often as it has tokens; one without any has no number, or 0."""
    tokens = update["tokens_forward"].to_numpy()
    if not tokens.sum():
        return update[name][0].as_py()  # type: ignore[no-any-return]
    shares = pa.array(tokens / tokens.sum())
    return pc.sum(pc.multiply(update[name], shares)).as_py()  # type: ignore[no-any-return]
