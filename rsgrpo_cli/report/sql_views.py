"""The views of `rsgrpo sql`: their columns, what each means, and how it is joined from the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rsgrpo_cli.schemas import METRICS, SUMMARY, UPDATE_METRICS, ArtifactSchema


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view.

    Args:
        name: Its name.
        meaning: In a few words.
        expression: SQL for it.
    """

    name: str
    meaning: str
    expression: str


@dataclass(frozen=True, slots=True)
class View:
    """A view.

    Args:
        name: Its name.
        rows: What a row is.
        sources: The datasets that it reads, of `sql_files.SOURCES`, or "_runs".
        columns: Its columns.
        joined: The FROM clause.
    """

    name: str
    rows: str
    sources: tuple[str, ...]
    columns: tuple[Column, ...]
    joined: str

    @property
    def statement(self) -> str:
        """SQL that makes it."""
        chosen = ", ".join(f'{column.expression} AS "{column.name}"' for column in self.columns)
        return f"CREATE VIEW {self.name} AS SELECT {chosen} FROM {self.joined}"


def _columns(alias: str, **meanings: str) -> list[Column]:
    """Columns that are taken from one dataset as they are."""
    return [Column(name, meaning, f'{alias}."{name}"') for name, meaning in meanings.items()]


def _of_kind(alias: str, kind: ArtifactSchema, meanings: Mapping[str, str]) -> list[Column]:
    """All columns of an artifact, in its order."""
    return _columns(alias, **{name: meanings[name] for name in kind.schema.names})


def _tag(alias: str) -> Column:
    return Column("tag", "null for the run's own, else the --tag that it was made with", f"nullif({alias}.tag, '')")


_RUN = "the run's name"
_QUESTION = "what the model is asked: the last message of the chat"
_GOLD = "the reference answer"
_TEXT = {"completion": "its text", "finish_reason": "stop or length"}
_GRADE = {
    "reward": "null where there is none (yet)",
    "reward_status": "why: ok, wrong, no_box, truncated, unparsable, ...",
    "extracted_answer": "what was compared with the reference answer",
    "reward_breakdown": "correctness, overlong, format where rewards are shaped",
}
_TOKENS = {
    "seed": "decides its random draws",
    "completion_ids": "its tokens",
    "sampling_logprobs": "natural log, per token, as the sampler says",
}
_OF_A_POLICY = {
    "interpolation": "1 for the policy; below 1, a place on the line to it from the base model's weights, at 0",
    "benchmark": "what it was evaluated on, with the evaluation's --tag",
    "stale": "why it does not belong to the policy any more; null where it does",
}


def _evaluated(alias: str) -> list[Column]:
    """The columns that say which evaluation a row is of."""
    policy = Column("policy_version", "the policy that was evaluated; 0 is the base model", f"{alias}.policy")
    return [*_columns(alias, run=_RUN), _tag(alias), policy, *_columns(alias, **_OF_A_POLICY)]


def _length(alias: str) -> Column:
    return Column("completion_tokens", "its length in tokens", f"len({alias}.completion_ids)")


def _question(alias: str) -> Column:
    return Column("question", _QUESTION, f"{alias}.messages[-1].content")


_METRICS = {
    "step": "the step, from 0",
    "policy_version": "the policy that was sampled",
    "estimator": "what the advantages were made with",
    "beta": "of the estimator; null where it has none",
    "reward_mean": "over completions",
    "reward_std": "over completions",
    "reward_error": "standard error of reward_mean over groups",
    "groups_all_right": "groups in which every completion is right",
    "groups_all_wrong": "groups in which every completion is wrong",
    "groups_mixed": "groups with both",
    "groups_shaped": "groups whose rewards differ by length or format alone",
    "groups_sampled": "all groups",
    "groups_kept": "groups that the update learned from",
    "pass@1": "share of right completions",
    "pass@G": "share of groups with a right completion",
    "cumulative_solve_rate": "share of the training problems solved so far",
    "advantage_rms": "root mean square of the advantages",
    "advantage_min": "the lowest advantage",
    "advantage_max": "the highest advantage",
    "effective_sample_size": "(sum |a|)^2 / sum a^2 over completions",
    "completion_length_mean": "in tokens",
    "completion_length_max": "in tokens",
    "truncated_fraction": "share of completions cut at max_tokens",
    "optimizer_steps": "of the update",
    "loss": "mean over the optimizer steps",
    "grad_norm": "mean over the optimizer steps, before clipping",
    "grad_norm_max": "the largest",
    "lr": "the last learning rate",
    "entropy": "nats per token",
    "kl": "to the base model, with a KL penalty",
    "clip_fraction_low": "share of tokens whose ratio was clipped below",
    "clip_fraction_high": "share of tokens whose ratio was clipped above",
    "logprob_diff_mean": "absolute difference between trainer and sampler, over tokens",
    "logprob_diff_max": "the largest",
    "importance_ratio_max": "exp(trainer - sampler), before the cap",
    "ratio_capped_fraction": "share of tokens above the cap",
    "scorer_timeouts": "completions whose verifier did not return",
    "scorer_errors": "completions whose verifier failed",
    "tokens_per_second": "of the rollout",
    "seconds_rollout": "wall-clock time of the rollout",
    "seconds_score": "wall-clock time of scoring",
    "seconds_advantage": "wall-clock time of the advantages",
    "seconds_update": "wall-clock time of the update",
    "seconds_step": "wall-clock time of the step",
    "peak_memory_bytes": "of the process so far",
    "status_counts": "reward_status and its number of completions, as a map",
    "sampler_logprobs_dropped": "tokens left out because the sampler gave no finite log-probability",
}
_UPDATES = _METRICS | {
    "optimizer_step": "within this update, from 0",
    "loss": "before the optimizer step",
    "grad_norm": "before clipping",
    "learning_rate": "of this optimizer step",
    "tokens": "completion tokens",
    "tokens_forward": "of these, in groups with a non-zero advantage",
    "groups": "groups of the optimizer step",
    "groups_dropped": "of these, without a non-zero advantage",
    "micro_batches": "forward and backward passes",
}
_SUMMARY = {
    "metric": "pass, maj, solved, ...",
    "k": "the k that it was computed for; null where it has none",
    "value": "its value",
    "sampling_error": "standard error from the finite number of samples per problem",
    "ci_low": "95% over problems (bootstrap), low end",
    "ci_high": "95% over problems (bootstrap), high end",
    "n_problems": "problems",
    "n_samples": "samples per problem",
}
_STEP_KEYS = "USING (run, tag, step, group_id, sample_index)"

VIEWS = (
    View(
        "prompts",
        "a training problem",
        ("_prompts",),
        (
            *_columns("p", run=_RUN, prompt_id="names it", task="decides the built-in reward", split="train or test"),
            _question("p"),
            *_columns(
                "p",
                ground_truth=_GOLD,
                messages="the chat: role and content",
                extra_columns="the data set's own columns, as JSON",
            ),
        ),
        "_prompts AS p",
    ),
    View(
        "completions",
        "a completion of a training step, with its problem, reward and advantage",
        ("_rollouts", "_rewards", "_advantages", "_prompts"),
        (
            *_columns("c", run=_RUN),
            _tag("c"),
            *_columns("c", step="the step, from 0", policy_version="the policy that it was sampled from"),
            Column("prompt_id", "the problem", "substr(c.group_id, instr(c.group_id, ':') + 1)"),
            *_columns("c", sample_index="within its group", group_id="STEP:PROMPT_ID"),
            _question("p"),
            *_columns("p", ground_truth=_GOLD),
            *_columns("c", **_TEXT),
            _length("c"),
            *_columns("r", **_GRADE),
            *_columns(
                "a",
                advantage="null where there is none yet",
                group_mean="mean reward of its group",
                group_risk_value="(1/beta) log mean exp(beta r) of its group",
                group_status="mixed, shaped, all_right, all_wrong, constant or empty",
            ),
            *_columns("c", **_TOKENS),
        ),
        f"_rollouts AS c LEFT JOIN _rewards AS r {_STEP_KEYS} LEFT JOIN _advantages AS a {_STEP_KEYS} "
        "LEFT JOIN _prompts AS p ON p.run = c.run AND p.prompt_id = substr(c.group_id, instr(c.group_id, ':') + 1)",
    ),
    View(
        "evals",
        "a problem of an evaluation",
        ("_problems",),
        (
            *_evaluated("e"),
            *_columns(
                "e",
                prompt_id="the problem",
                ground_truth=_GOLD,
                n="samples",
                correct="right ones among them; 0 where rewards are grades",
                correct_lenient="right without the required form; null where the task has no lenient reading",
                distinct_answers="different answers",
                majority_answer="the most frequent one",
                majority_correct="expected correctness of the majority vote; ties count in part",
                completion_tokens_mean="mean length in tokens",
                reward_mean="of grades alone",
            ),
        ),
        "_problems AS e",
    ),
    View(
        "eval_samples",
        "a sample of an evaluation, with its problem and reward",
        ("_samples", "_verdicts", "_problems", "_benchmarks"),
        (
            *_evaluated("s"),
            *_columns("s", prompt_id="the problem", sample_index="within its problem, from 0"),
            _question("b"),
            *_columns("e", ground_truth=_GOLD),
            *_columns("s", **_TEXT),
            _length("s"),
            *_columns("r", **_GRADE),
            *_columns("s", **_TOKENS),
        ),
        "_samples AS s LEFT JOIN _verdicts AS r "
        "USING (run, tag, policy, interpolation, benchmark, group_id, sample_index) "
        "JOIN _problems AS e ON e.run = s.run AND e.tag = s.tag AND e.policy = s.policy "
        "AND e.interpolation = s.interpolation AND e.benchmark = s.benchmark AND e.prompt_id = s.prompt_id "
        "AND s.sample_index < e.n "
        "LEFT JOIN _benchmarks AS b ON b.run = s.run AND b.benchmark = s.benchmark AND b.prompt_id = s.prompt_id",
    ),
    View(
        "eval_metrics",
        "a metric of an evaluation, with its interval",
        ("_summary",),
        (*_evaluated("e"), *_of_kind("e", SUMMARY, _SUMMARY)),
        "_summary AS e",
    ),
    View(
        "metrics",
        "a finished training step",
        ("_metrics",),
        (*_columns("m", run=_RUN), *_of_kind("m", METRICS, _METRICS)),
        "_metrics AS m",
    ),
    View(
        "updates",
        "an optimizer step",
        ("_updates",),
        (
            *_columns("u", run=_RUN),
            _tag("u"),
            *_columns("u", step="the step, from 0"),
            *_of_kind("u", UPDATE_METRICS, _UPDATES),
        ),
        "_updates AS u",
    ),
    View(
        "runs",
        "a run",
        ("_runs",),
        tuple(
            _columns(
                "r",
                run=_RUN,
                path="its directory",
                model="the base model",
                dataset="what it trains on",
                estimator="of its advantages",
                beta="null where the estimator has none, or a schedule",
                learning_rate="as set",
                seed="as set",
                group_size="completions per prompt",
                forked_from="the run that it was forked from, if it was",
                forked_at="the first step of its own",
                settings="all settings, as JSON: settings->>'rollout.temperature'",
            )
        ),
        "_runs AS r",
    ),
)
