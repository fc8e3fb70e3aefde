"""The flags that commands share, and which field of the configuration each of them sets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rsgrpo_cli.config import ESTIMATORS
from rsgrpo_cli.errors import MissingError, UsageError

RunOption = Annotated[
    str | None, typer.Option("--run", envvar="RSGRPO_RUN", metavar="NAME|PATH", help="The run directory.")
]
StepOption = Annotated[int | None, typer.Option("--step", min=0, help="The training step.  \\[default: the newest]")]


def _file_name(text: str | None) -> str | None:
    """A tag becomes part of a file's name.

    Raises:
        UsageError: If it cannot.
    """
    if text is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
        raise UsageError(f"--tag {text!r} cannot stand in a file's name", "use letters, digits, dots, _ and -")
    return text


TagOption = Annotated[
    str | None,
    typer.Option(
        "--tag", metavar="NAME", callback=_file_name, help="Write beside the run's own artifact, disturbing nothing."
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Make it again; what follows from it is then stale.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the plan, as rsgrpo plan does; make nothing.")]
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
        "--dataset",
        metavar="NAME|HUB_ID|FILE",
        rich_help_panel=DATA,
        help="A name (see rsgrpo datasets), owner/name:config/split, or a .jsonl or .parquet file.",
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option(
        "--data-dir",
        envvar="RSGRPO_DATA_DIR",
        metavar="DIR",
        rich_help_panel=DATA,
        help="Read datasets known by name from NAME.jsonl here, not from the Hub.",
    ),
]
PromptColumn = Annotated[str | None, typer.Option("--prompt-column", rich_help_panel=DATA, help="With the problem.")]
AnswerColumn = Annotated[str | None, typer.Option("--answer-column", rich_help_panel=DATA, help="With the answer.")]
Limit = Annotated[int | None, typer.Option("--limit", rich_help_panel=DATA, help="Only the first so many problems.")]
MaxPromptTokens = Annotated[
    int | None, typer.Option("--max-prompt-tokens", rich_help_panel=DATA, help="Longer prompts are dropped.")
]
PromptTemplate = Annotated[
    Path | None,
    typer.Option(
        "--prompt-template", metavar="FILE", rich_help_panel=DATA, help="Jinja for the user's turn, with {{ problem }}."
    ),
]
SystemPrompt = Annotated[str | None, typer.Option("--system-prompt", rich_help_panel=DATA, help="Goes before each.")]
Engine = Annotated[str | None, typer.Option("--engine", rich_help_panel=SAMPLING, help="auto, hf, vllm or dummy.")]
GroupSize = Annotated[
    int | None, typer.Option("--group-size", rich_help_panel=SAMPLING, help="Completions a prompt, 2 or more.")
]
PromptsPerStep = Annotated[int | None, typer.Option("--prompts-per-step", rich_help_panel=SAMPLING, help="Prompts.")]
Temperature = Annotated[float | None, typer.Option("--temperature", rich_help_panel=SAMPLING, help="Above 0.")]
TopP = Annotated[float | None, typer.Option("--top-p", rich_help_panel=SAMPLING, help="1 keeps every token.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", rich_help_panel=SAMPLING, help="Of a completion.")]
ZeroVariance = Annotated[
    str | None,
    typer.Option(
        "--zero-variance",
        metavar="MODE",
        rich_help_panel=SAMPLING,
        help="Groups whose rewards are all equal: keep, drop, or resample.",
    ),
]
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
Minibatches = Annotated[
    int | None, typer.Option("--minibatches", rich_help_panel=UPDATE, help="Optimizer steps an epoch.")
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", rich_help_panel=UPDATE, help="Times a step's completions are gone through.")
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
        "--benchmark",
        metavar="NAME,...",
        rich_help_panel=EVALUATION,
        help="Held-out problems, named as --dataset; several with commas.",
    ),
]
EvaluatedOn = Annotated[
    str | None,
    typer.Option("--benchmark", metavar="NAME", rich_help_panel=EVALUATION, help="Which, where there are several."),
]
K = Annotated[str | None, typer.Option("--k", metavar="1,32,...", rich_help_panel=EVALUATION, help="Values of k.")]
NumSamples = Annotated[
    str | None,
    typer.Option(
        "--num-samples",
        "-n",
        metavar="N,NAME=N,...",
        rich_help_panel=EVALUATION,
        help="Completions a problem; of one benchmark: 1024,math500=64.",
    ),
]

FIELDS = {
    "model": "model.name",
    "dtype": "model.dtype",
    "device": "model.device",
    "lora_rank": "model.lora_rank",
    "lora_alpha": "model.lora_alpha",
    "seed": "seed",
    "dataset": "prepare.dataset",
    "data_dir": "prepare.data_dir",
    "max_prompt_tokens": "prepare.max_prompt_tokens",
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
    "zero_variance": "rollout.zero_variance",
    "reward": "score.reward",
    "workers": "score.workers",
    "timeout": "score.timeout",
    "estimator": "advantage.estimator",
    "beta": "advantage.beta",
    "advantage_scale": "advantage.scale",
    "learning_rate": "update.learning_rate",
    "minibatches": "update.minibatches",
    "epochs": "update.epochs",
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
}
"""Parameter of a command -> field of the configuration."""


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among a command's parameters, as overrides of the configuration; what was not given is left out.

    A flag of its own wins over `--set`.

    Args:
        parameters: The command's `locals()`, taken before anything else is assigned.

    Raises:
        UsageError: If `--k`, `--num-samples` or `--set` cannot be read.
        MissingError: If there is no such template file.
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
    if parameters.get("num_samples") is not None:
        overrides |= num_samples(parameters["num_samples"])
    if parameters.get("prompt_template") is not None:
        overrides["prepare.prompt_template"] = _text_of(parameters["prompt_template"])
    return overrides


def num_samples(text: str) -> dict[str, Any]:
    """The settings that "1024", "1024,math500=64" or "math500=64" mean.

    Raises:
        UsageError: If it is something else.
    """
    general: list[int] = []
    special: dict[str, int] = {}
    try:
        for part in text.split(","):
            name, equals, number = part.rpartition("=")
            if equals:
                special[name.strip()] = int(number)
            else:
                general.append(int(number))
    except ValueError as error:
        raise UsageError(
            f"--num-samples {text!r} is not a number of completions", "write 32, or 1024,math500=64"
        ) from error
    if len(general) > 1:
        raise UsageError(f"--num-samples {text!r} has two general numbers", "write 1024,math500=64")
    # A general number is meant for all that are not named here, also where the run or its recipe says otherwise.
    general_too = {"eval.num_samples": general[0]} if general else {}
    return general_too | {"eval.num_samples_of": special}


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingError(f"no template file at {path}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8") from error


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
