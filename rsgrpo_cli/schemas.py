"""The Arrow schema and the key columns of every artifact, and nothing else.

A change here is a new `version`: files of another version are refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

KEYS = ("group_id", "sample_index")
"""One completion. `group_id` is "<step>:<prompt_id>" in training and the prompt_id in an evaluation."""


def key_of(row: Mapping[str, Any]) -> tuple[str, int]:
    """Which completion a row is about."""
    return row["group_id"], row["sample_index"]


@dataclass(frozen=True, slots=True)
class ArtifactSchema:
    """One kind of artifact.

    Args:
        name: What it is called in messages and in the lineage.
        version: Raised when a column changes.
        schema: Columns, their types and whether they may be null.
        keys: Columns that name a row; rows are sorted by them and no two rows share them.
        repeated: String columns that repeat (dictionary-encoded in the file).
        optional: Nullable columns at the end that a file need not have; they are read as null then, and have no part
            in its id, so that adding one to a file makes nothing stale that was made from it.
        maker: What makes it, if not a stage.
    """

    name: str
    version: int
    schema: pa.Schema
    keys: tuple[str, ...]
    repeated: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    maker: str = ""

    @property
    def required(self) -> pa.Schema:
        """The columns that every file has."""
        return pa.schema([field for field in self.schema if field.name not in self.optional])


def _columns(**types: pa.DataType | tuple[pa.DataType, bool]) -> pa.Schema:
    """Columns in order; a bare type is non-null, (type, True) may be null."""
    fields = []
    for name, spec in types.items():
        kind, nullable = spec if isinstance(spec, tuple) else (spec, False)
        fields.append(pa.field(name, kind, nullable=nullable))
    return pa.schema(fields)


STRING, INT32, INT64, FLOAT32, FLOAT64 = pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.float64()
MESSAGES = pa.list_(pa.struct([("role", STRING), ("content", STRING)]))
TEXT_ROLE = "text"
"""The role of a prompt that reaches the model as it is, without a chat template: it is the only message then."""

PROMPTS = ArtifactSchema(
    "prompts",
    1,
    _columns(
        prompt_id=STRING,
        task=STRING,
        split=STRING,
        messages=MESSAGES,
        ground_truth=STRING,
        # The columns that verl reads (data_source picks its reward function, prompt is the chat).
        data_source=STRING,
        prompt=MESSAGES,
        ability=STRING,
        reward_model=pa.struct([("ground_truth", STRING), ("style", STRING)]),
        extra_info=pa.struct([("index", INT64), ("split", STRING), ("prompt_id", STRING)]),
        extra_columns=(STRING, True),  # the data set's own columns that a reward function takes, as a JSON object
    ),
    keys=("prompt_id",),
    repeated=("task", "split", "data_source", "ability"),
    optional=("extra_columns",),
)

ROLLOUTS = ArtifactSchema(
    "rollouts",
    1,
    _columns(
        group_id=STRING,
        sample_index=INT32,
        prompt_id=STRING,
        policy_version=INT32,
        seed=INT64,
        prompt_ids=pa.list_(INT32),
        completion=STRING,
        completion_ids=pa.list_(INT32),
        # Natural log, at the temperature sampled with; an update drops a token whose number is not finite or is null.
        sampling_logprobs=pa.list_(FLOAT32),
        finish_reason=STRING,  # "stop" or "length"
        weight_versions=(pa.list_(pa.struct([("version", STRING), ("start", INT32), ("end", INT32)])), True),
    ),
    keys=KEYS,
    repeated=("group_id", "prompt_id", "finish_reason"),
    optional=("weight_versions",),
)

REWARDS = ArtifactSchema(
    "rewards",
    1,
    _columns(
        group_id=STRING,
        sample_index=INT32,
        reward=(FLOAT64, True),  # null where a user's function gave none
        reward_breakdown=pa.map_(STRING, FLOAT64),  # correctness, overlong, format where rewards are shaped: the sum
        reward_status=STRING,
        extracted_answer=(STRING, True),
    ),
    keys=KEYS,
    repeated=("group_id", "reward_status", "extracted_answer"),
)

AUDIT = ArtifactSchema(
    "audit",
    1,
    _columns(
        group_id=STRING,
        sample_index=INT32,
        ground_truth=STRING,
        extracted_answer=(STRING, True),
        reward=(FLOAT64, True),  # without shaping
        reward_status=STRING,
        second_reward=(FLOAT64, True),  # of the second grader; another number than `reward` in every row
        second_status=STRING,
    ),
    keys=KEYS,
    repeated=("group_id", "ground_truth", "reward_status", "second_status"),
)

ADVANTAGES = ArtifactSchema(
    "advantages",
    1,
    _columns(
        group_id=STRING,
        sample_index=INT32,
        advantage=FLOAT64,
        group_mean=(FLOAT64, True),  # of the group's rewards; null where it has none
        group_risk_value=(FLOAT64, True),  # (1/beta) log mean exp(beta r); the mean where there is no beta
        # Rewards that differ: mixed, or shaped (only length or format tells them apart). Equal ones: all_right,
        # all_wrong, or constant (no verdicts). empty: no reward at all.
        group_status=STRING,
    ),
    keys=KEYS,
    repeated=("group_id", "group_status"),
)

HISTORY = ArtifactSchema(
    "history",
    1,
    _columns(
        prompt_id=STRING,
        right=FLOAT64,  # right answers of its visits before this step, each visit counting half of the one after it
        completions=FLOAT64,  # completions, counted in the same way
        recent_steps=pa.list_(INT32),  # of the last ten, those that sampled it
        recent_rates=pa.list_(FLOAT64),  # the share of right answers in each
    ),
    keys=("prompt_id",),
)

POLICY_LOGPROBS = ArtifactSchema(
    "policy_logprobs",
    1,
    _columns(
        group_id=STRING,
        sample_index=INT32,
        # Natural log, at the temperature sampled with, of each completion token under the policy at the start of the
        # update; empty where a completion has no gradient and never goes through the model.
        policy_logprobs=pa.list_(FLOAT32),
        # Of the distribution that each of these tokens was chosen from: -sum p log p over the whole vocabulary.
        entropies=(pa.list_(FLOAT32), True),
    ),
    keys=KEYS,
    repeated=("group_id",),
    optional=("entropies",),
)

UPDATE_METRICS = ArtifactSchema(
    "update_metrics",
    1,
    _columns(
        optimizer_step=INT32,  # within this update, from 0
        loss=FLOAT64,  # of the completions of this optimizer step, before it
        grad_norm=FLOAT64,  # before clipping
        learning_rate=FLOAT64,
        entropy=(FLOAT64, True),  # nats per token, over the tokens of the forward pass
        kl=(FLOAT64, True),
        clip_fraction_low=FLOAT64,
        clip_fraction_high=FLOAT64,
        logprob_diff_mean=FLOAT64,  # |policy - sampling|, over tokens
        logprob_diff_max=FLOAT64,
        importance_ratio_max=FLOAT64,  # exp(policy - sampling), before the cap
        ratio_capped_fraction=FLOAT64,
        tokens=INT64,  # completion tokens of the optimizer step
        tokens_forward=INT64,  # of these, in groups with a non-zero advantage
        groups=INT32,
        groups_dropped=INT32,
        micro_batches=INT32,
        # Tokens left out of the loss because what the sampler said of them is not a finite number.
        sampler_logprobs_dropped=(INT64, True),
    ),
    keys=("optimizer_step",),
    optional=("sampler_logprobs_dropped",),
)

PROBLEMS = ArtifactSchema(
    "problems",
    1,
    _columns(
        prompt_id=STRING,
        ground_truth=STRING,
        n=INT32,
        correct=INT32,  # 0 where rewards are grades; reward_mean says what they are
        correct_lenient=(INT32, True),  # null where the task has no lenient reading
        distinct_answers=INT32,
        majority_answer=(STRING, True),
        majority_correct=FLOAT64,  # expected correctness of the majority vote over all n; ties count in part
        completion_tokens_mean=FLOAT64,
        reward_mean=(FLOAT64, True),  # of graded rewards alone, null where the problem got none
    ),
    keys=("prompt_id",),
    optional=("reward_mean",),
)

SUMMARY = ArtifactSchema(
    "summary",
    1,
    _columns(
        metric=STRING,
        k=(INT32, True),
        value=FLOAT64,
        sampling_error=(FLOAT64, True),  # standard error from the finite number of samples per problem
        ci_low=(FLOAT64, True),  # 95% over problems (bootstrap)
        ci_high=(FLOAT64, True),
        n_problems=INT32,
        n_samples=INT32,
    ),
    keys=("metric", "k"),
    repeated=("metric",),
)

_STEP_METRICS = (
    *("reward_mean", "reward_std", "reward_error", "groups_all_right", "groups_all_wrong", "groups_mixed"),
    *("groups_shaped", "groups_sampled", "groups_kept"),
    *("pass@1", "pass@G", "cumulative_solve_rate"),
    *("advantage_rms", "advantage_min", "advantage_max", "effective_sample_size"),
    *("completion_length_mean", "completion_length_max", "truncated_fraction"),
    *("optimizer_steps", "loss", "grad_norm", "grad_norm_max", "lr", "entropy", "kl"),
    *("clip_fraction_low", "clip_fraction_high"),
    *("logprob_diff_mean", "logprob_diff_max", "importance_ratio_max", "ratio_capped_fraction"),
    *("scorer_timeouts", "scorer_errors", "tokens_per_second"),
    *("seconds_rollout", "seconds_score", "seconds_advantage", "seconds_update", "seconds_step"),
    "peak_memory_bytes",
)

METRICS = ArtifactSchema(
    "metrics",
    2,
    _columns(
        step=INT32,
        policy_version=INT32,  # of the policy that was sampled
        estimator=STRING,
        beta=(FLOAT64, True),
        **dict.fromkeys(_STEP_METRICS, (FLOAT64, True)),
        status_counts=pa.map_(STRING, INT64),  # reward_status -> completions
        sampler_logprobs_dropped=(FLOAT64, True),  # tokens left out of the update's loss, as update_metrics counts them
    ),
    keys=("step",),
    optional=("sampler_logprobs_dropped",),
)

SOLVED = ArtifactSchema(
    "solved",
    1,
    _columns(step=INT32, prompt_ids=pa.list_(STRING)),  # problems with a right completion in this step and none before
    keys=("step",),
)

CHECKED = ArtifactSchema(
    "checked",
    1,
    _columns(
        step=INT32, file=STRING, size=INT64, mtime_ns=INT64
    ),  # of a step that was found consistent; see checked_steps
    keys=("step", "file"),
    repeated=("file",),
)

CELL_METRICS = (
    *("reward_mean", "pass@1", "pass@G", "cumulative_solve_rate", "groups_all_right", "groups_all_wrong"),
    *("groups_mixed", "beta", "advantage_rms", "effective_sample_size", "loss", "grad_norm", "lr", "entropy", "kl"),
    *("completion_length_mean", "truncated_fraction"),
)
"""What a cell's result keeps of `METRICS`, step by step."""

CELLS = ArtifactSchema(
    "cells",
    1,
    _columns(
        cell=STRING,
        sweep=STRING,
        seed=INT64,
        steps=INT32,  # updates that it was asked for, 0 where only the base model was evaluated
        settings=STRING,  # the whole configuration, as JSON
        varied=STRING,  # the settings that its sweep varies, as JSON
        metrics=pa.list_(pa.struct([("step", INT32), *((name, FLOAT32) for name in CELL_METRICS)])),
        evaluations=pa.list_(
            pa.struct(
                [
                    *(("policy", INT32), ("benchmark", STRING), ("benchmark_id", STRING), ("interpolation", FLOAT64)),
                    # One entry per problem, in the order of their ids.
                    ("prompt_id", pa.list_(STRING)),
                    *((name, pa.list_(INT32)) for name in ("n", "correct", "distinct_answers")),
                ]
            )
        ),
        canary=pa.list_(FLOAT64),  # what a fixed small run comes to with this code on this machine
        measured=(  # one entry per evaluation: how it was sampled, as JSON; what graded it; mean rewards of problems
            pa.list_(
                pa.struct(
                    [
                        *(("sampling", STRING), ("verifier", STRING), ("graded", pa.bool_())),
                        ("reward", pa.list_(FLOAT64)),  # null where a verifier judged
                    ]
                )
            ),
            True,
        ),
    ),
    keys=("sweep", "cell"),
    optional=("measured",),
    maker="the sweep with its --keep",
)

BANDIT_RUNS = ArtifactSchema(
    "bandit_runs",
    1,
    _columns(
        beta=FLOAT64,
        seed=INT64,
        expected_reward=FLOAT64,  # of the final policy, as are the next two
        entropy=FLOAT64,  # nats
        best_arm=INT32,  # the most probable one
        samples_to_escape=(INT64, True),  # until the expected reward first reached 0.9; null: never
        exact_expected_reward=FLOAT64,  # after as many steps along the exact gradient, which no seed changes
    ),
    keys=("beta", "seed"),
)

BANDIT_CURVES = ArtifactSchema(
    "bandit_curves",
    1,
    _columns(beta=FLOAT64, seed=INT64, samples=INT64, expected_reward=FLOAT64, entropy=FLOAT64),
    keys=("beta", "seed", "samples"),
)

BANDIT_POLICIES = ArtifactSchema(
    "bandit_policies",
    1,
    _columns(
        beta=FLOAT64,
        seed=INT64,
        arm=INT32,
        reward=FLOAT64,
        initial_probability=FLOAT64,
        probability=FLOAT64,  # under the final policy
        exact_probability=FLOAT64,  # the same along the exact gradient
    ),
    keys=("beta", "seed", "arm"),
)
