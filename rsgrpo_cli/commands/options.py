"""The flags that commands share, and which field of the configuration each of them sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rsgrpo_cli.config import ESTIMATORS
from rsgrpo_cli.errors import UsageError

RunOption = Annotated[
    str | None, typer.Option("--run", envvar="RSGRPO_RUN", metavar="NAME|PATH", help="The run directory.")
]
StepOption = Annotated[int | None, typer.Option("--step", min=0, help="The training step.  [default: the newest]")]
TagOption = Annotated[
    str | None, typer.Option("--tag", metavar="NAME", help="Write beside the run's own artifact, disturbing nothing.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Make it again; what follows from it is then stale.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A TOML file with settings; flags win over it.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.FIELD=VALUE", help="Any other setting, for example update.weight_decay=0.1."
    ),
]

MODEL, DATA, SAMPLING, REWARD, ADVANTAGE, UPDATE, LOOP, EVALUATION = (
    "Model", "Data", "Sampling", "Reward", "Advantage", "Update", "Loop", "Evaluation"
)  # fmt: skip

Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME|DIR", rich_help_panel=MODEL, help='"toy" (bundled), a directory or a Hub id.'
    ),
]
Dtype = Annotated[str | None, typer.Option("--dtype", rich_help_panel=MODEL, help="float32 or bfloat16.")]
Device = Annotated[str | None, typer.Option("--device", rich_help_panel=MODEL, help="auto, cpu or cuda.")]
LoraRank = Annotated[
    int | None, typer.Option("--lora-rank", rich_help_panel=MODEL, help="Train a LoRA adapter; 0 trains all weights.")
]
LoraAlpha = Annotated[float | None, typer.Option("--lora-alpha", rich_help_panel=MODEL, help="Its scale.")]
Seed = Annotated[int | None, typer.Option("--seed", rich_help_panel=DATA, help="Decides every random draw.")]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", metavar="NAME|FILE", rich_help_panel=DATA, help="toy, sums, or a .jsonl or .parquet file."
    ),
]
PromptColumn = Annotated[str | None, typer.Option("--prompt-column", rich_help_panel=DATA, help="With the problem.")]
AnswerColumn = Annotated[str | None, typer.Option("--answer-column", rich_help_panel=DATA, help="With the answer.")]
Limit = Annotated[int | None, typer.Option("--limit", rich_help_panel=DATA, help="Only the first so many problems.")]
SystemPrompt = Annotated[str | None, typer.Option("--system-prompt", rich_help_panel=DATA, help="Goes before each.")]
Engine = Annotated[str | None, typer.Option("--engine", rich_help_panel=SAMPLING, help="auto, hf, vllm or dummy.")]
GroupSize = Annotated[
    int | None, typer.Option("--group-size", rich_help_panel=SAMPLING, help="Completions a prompt, 2 or more.")
]
PromptsPerStep = Annotated[int | None, typer.Option("--prompts-per-step", rich_help_panel=SAMPLING, help="Prompts.")]
Temperature = Annotated[float | None, typer.Option("--temperature", rich_help_panel=SAMPLING, help="Above 0.")]
TopP = Annotated[float | None, typer.Option("--top-p", rich_help_panel=SAMPLING, help="1 keeps every token.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", rich_help_panel=SAMPLING, help="Of a completion.")]
Reward = Annotated[
    str | None,
    typer.Option(
        "--reward", rich_help_panel=REWARD, metavar="NAME|MODULE:FUNCTION", help="auto, math, countdown, or your own."
    ),
]
Workers = Annotated[int | None, typer.Option("--workers", rich_help_panel=REWARD, help="Verifier processes.")]
Timeout = Annotated[float | None, typer.Option("--timeout", rich_help_panel=REWARD, help="Seconds an answer may take.")]
Estimator = Annotated[
    str | None,
    typer.Option(
        "--estimator",
        rich_help_panel=ADVANTAGE,
        help=f"One of {', '.join(ESTIMATORS)}; its own settings by --set advantage.k=4.",
    ),
]
Beta = Annotated[
    float | None, typer.Option("--beta", rich_help_panel=ADVANTAGE, help="Risk sensitivity of rs_grpo; 0 is the mean.")
]
AdvantageScale = Annotated[
    str | None, typer.Option("--advantage-scale", rich_help_panel=ADVANTAGE, help="none, rms or beta.")
]
LearningRate = Annotated[
    float | None, typer.Option("--learning-rate", "--lr", rich_help_panel=UPDATE, help="Of AdamW.")
]
KlCoef = Annotated[float | None, typer.Option("--kl-coef", rich_help_panel=UPDATE, help="Weight of the KL penalty.")]
ClipLow = Annotated[float | None, typer.Option("--clip-low", rich_help_panel=UPDATE, help="Lower clip.")]
ClipHigh = Annotated[float | None, typer.Option("--clip-high", rich_help_panel=UPDATE, help="Upper clip.")]
MaxGradNorm = Annotated[float | None, typer.Option("--max-grad-norm", rich_help_panel=UPDATE, help="Gradient clip.")]
MicroBatchTokens = Annotated[
    int | None, typer.Option("--micro-batch-tokens", rich_help_panel=UPDATE, help="Padded tokens a pass; saves memory.")
]
GradientCheckpointing = Annotated[
    bool | None,
    typer.Option("--gradient-checkpointing/--no-gradient-checkpointing", rich_help_panel=UPDATE, help="Saves memory."),
]
Steps = Annotated[int | None, typer.Option("--steps", rich_help_panel=LOOP, help="How many in all.")]
EvalEvery = Annotated[int | None, typer.Option("--eval-every", rich_help_panel=LOOP, help="Steps between evaluations.")]
CheckpointEvery = Annotated[
    int | None, typer.Option("--checkpoint-every", rich_help_panel=LOOP, help="Steps between checkpoints.")
]
KeepCheckpoints = Annotated[
    int | None, typer.Option("--keep-checkpoints", rich_help_panel=LOOP, help="Newest to keep; the best stays too.")
]
Benchmark = Annotated[
    str | None,
    typer.Option(
        "--benchmark", metavar="NAME|FILE", rich_help_panel=EVALUATION, help="toy, sums, or a .jsonl or .parquet file."
    ),
]
K = Annotated[str | None, typer.Option("--k", metavar="1,32,...", rich_help_panel=EVALUATION, help="Values of k.")]
NumSamples = Annotated[
    int | None, typer.Option("--num-samples", "-n", rich_help_panel=EVALUATION, help="Completions a problem.")
]

FIELDS = {
    "model": "model.name",
    "dtype": "model.dtype",
    "device": "model.device",
    "lora_rank": "model.lora_rank",
    "lora_alpha": "model.lora_alpha",
    "seed": "seed",
    "dataset": "prepare.dataset",
    "prompt_column": "prepare.prompt_column",
    "answer_column": "prepare.answer_column",
    "limit": "prepare.limit",
    "system_prompt": "prepare.system_prompt",
    "engine": "rollout.engine",
    "group_size": "rollout.group_size",
    "prompts_per_step": "rollout.prompts_per_step",
    "temperature": "rollout.temperature",
    "top_p": "rollout.top_p",
    "max_tokens": "rollout.max_tokens",
    "reward": "score.reward",
    "workers": "score.workers",
    "timeout": "score.timeout",
    "estimator": "advantage.estimator",
    "beta": "advantage.beta",
    "advantage_scale": "advantage.scale",
    "learning_rate": "update.learning_rate",
    "kl_coef": "update.kl_coef",
    "clip_low": "update.clip_low",
    "clip_high": "update.clip_high",
    "max_grad_norm": "update.max_grad_norm",
    "micro_batch_tokens": "update.micro_batch_tokens",
    "gradient_checkpointing": "update.gradient_checkpointing",
    "steps": "train.steps",
    "eval_every": "train.eval_every",
    "checkpoint_every": "train.checkpoint_every",
    "keep_checkpoints": "train.keep_checkpoints",
    "benchmark": "eval.benchmark",
    "num_samples": "eval.num_samples",
}
"""Parameter of a command -> field of the configuration."""


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among a command's parameters, as overrides of the configuration; what was not given is left out.

    A flag of its own wins over `--set`.

    Args:
        parameters: The command's `locals()`, taken before anything else is assigned.

    Raises:
        UsageError: If `--k` or `--set` cannot be read.
    """
    overrides: dict[str, Any] = {}
    for text in parameters.get("settings") or ():
        name, equals, text_of = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r} has no value", "write --set SECTION.FIELD=VALUE")
        overrides[name.strip()] = value(text_of.strip())
    overrides |= {FIELDS[name]: value for name, value in parameters.items() if name in FIELDS and value is not None}
    if parameters.get("k") is not None:
        overrides["eval.k"] = ks(parameters["k"])
    return overrides


def ks(text: str) -> tuple[int, ...]:
    """The numbers of a list such as "1,32,1024".

    Raises:
        UsageError: If it is something else.
    """
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--k {text!r} is not a list of whole numbers", "write --k 1,32,1024") from error
    if min(values) < 1:
        raise UsageError(f"--k {text!r}: k is 1 or more")
    return tuple(sorted(set(values)))


def value(text: str) -> Any:
    """A TOML-like value: a number, true or false, a list; anything else is text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
