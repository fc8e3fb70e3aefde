"""The settings of the stages, one model each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from rsgrpo_cli.config.base import AtLeastOne, Finite, Flag, Fraction, NonNegative, Positive, StageConfig, Temperature

MOST_SAMPLES = 65_536
"""What the names of an evaluation's parts have room for, and more than anybody can wait for."""


Tracker = Literal["csv", "mlflow", "tensorboard", "trackio", "wandb"]

DEFAULT = "default"
"""Stands in a table of numbers of samples for all benchmarks that are not named there."""


class ModelConfig(StageConfig):
    """The model that is trained."""

    SPEED_ONLY = frozenset({"device"})
    FIXED = MappingProxyType({"fp32_head": False})
    # It decides prompts, and so stands with the rollouts; an update only sees their tokens.
    NOT_IN_ARTIFACT = frozenset({"template_date"})

    name: Annotated[str, Flag(("--model",), "NAME|DIR")] = "toy"
    """The model: bundled ("toy", "toy-hard"), a local directory, or a Hugging Face id, with "@revision" to pin one."""
    dtype: Annotated[Literal["float32", "bfloat16", "float64"], Flag()] = "float32"
    """Type of the computation. Trained weights stay in float32, because bfloat16 loses updates of 1e-6; in float64 they
    are float64 too, for comparing machines and numbers of processes where rounding must not decide a token."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Flag()] = "auto"
    """Where the model runs; auto takes the GPU if there is one."""
    lora_rank: Annotated[int, Field(ge=0), Flag()] = 0
    """Rank of a LoRA adapter on every linear layer; 0 trains all weights."""
    lora_alpha: Annotated[Annotated[Finite, Field(gt=0)] | None, Flag()] = None
    """Scale of the adapter; twice the rank by default."""
    compile: bool = False
    """Run the update through torch.compile. It rounds differently, so a run cannot change it later."""
    template_date: date | None = None
    """The day that a chat template is told if it asks for the date; by default the day the run first needed one."""


class PrepareConfig(StageConfig):
    """Which problems, and how they are put to the model."""

    SPEED_ONLY = frozenset({"data_dir"})
    OPTIONAL = frozenset({"images"})

    dataset: Annotated[str, Flag(metavar="NAME|HUB_ID|FILE")] = "toy"
    """The training problems: a name that `rsgrpo datasets` lists, owner/name[@revision][:config[/split]] on the Hub, or
    a .jsonl or .parquet file."""
    data_dir: Annotated[str | None, Flag(metavar="DIR", env="RSGRPO_DATA_DIR")] = None
    """Read the data sets known by name from NAME.jsonl in this folder, not from the Hub."""
    prompt_column: Annotated[str | None, Flag()] = None
    """Column with the problem or chat; the usual names are tried by default."""
    answer_column: Annotated[str | None, Flag()] = None
    """Column with the reference answer; the usual names are tried by default."""
    limit: Annotated[Positive | None, Flag()] = None
    """Use only the first N problems. Of a file, little more is read than they take."""
    max_prompt_tokens: Annotated[Positive | None, Flag()] = None
    """Drop training prompts with more tokens than this, and say how many. Benchmarks keep all problems."""
    decontaminate: Literal["off", "report", "drop"] = "report"
    """What to do with training problems that also appear in a benchmark of eval.benchmark."""
    images: Literal["refuse", "drop", "ignore"] = "refuse"
    """Problems with an image, a sound or a video, which no model here is shown: refuse the data set, drop them and say
    how many, or ignore the image and ask without it."""
    system_prompt: Annotated[str | None, Flag()] = None
    """System prompt before each problem."""
    instruction: str | None = None
    """Text after each problem; empty for none. By default, math problems that do not ask for a box get "Please reason
    step by step, and put your final answer within \\boxed{}."."""
    instruction_role: Literal["user", "system"] = "user"
    """Where the instruction goes: at the end of the user's turn, or into the system prompt."""
    prompt_style: Literal["chat", "text"] = "chat"
    """Use the model's chat template, or send the prompt as plain text."""
    prompt_template: Annotated[str | None, Flag(metavar="FILE")] = None
    """Jinja template for the user's turn (with the style "text": for the whole prompt) with {{ problem }} and
    {{ instruction }}. The flag takes a file, the setting the text itself."""


class RolloutConfig(StageConfig):
    """How completions are sampled for training."""

    NOT_IN_ARTIFACT = frozenset({"zero_variance", "draw_limit"})
    # The update computes the probabilities of the whole distribution.
    FIXED = MappingProxyType({"top_p": 1.0})

    engine: Annotated[Literal["auto", "hf", "vllm", "dummy"], Flag()] = "auto"
    """What samples; auto takes vllm where it is installed and there is a GPU, else hf (transformers)."""
    group_size: Annotated[int, Field(ge=2, le=MOST_SAMPLES), Flag()] = 16
    """Completions per prompt. Advantages compare the completions of one prompt."""
    prompts_per_step: Annotated[Positive, Flag()] = 32
    """Prompts per training step."""
    temperature: Annotated[Temperature, Flag()] = 1.0
    """Sampling temperature; the update applies the same one. 1e-6, the lowest, always takes the likeliest token."""
    max_tokens: Annotated[Positive, Flag()] = 1024
    """Longest completion, in tokens."""
    zero_variance: Annotated[Literal["keep", "drop", "resample"], Flag(metavar="MODE")] = "keep"
    """Groups whose rewards are all equal have no gradient. keep: count them in the loss's averages; drop: leave them
    out; resample: draw other prompts in their place (DAPO)."""
    draw_limit: Positive = 4
    """With zero_variance "resample": the most prompts to draw in one step, as a multiple of prompts_per_step."""


class VllmConfig(StageConfig):
    """The vLLM sampler, where that is the engine."""

    SPEED_ONLY = frozenset({"tensor_parallel_size", "gpu_memory_utilization", "max_model_len"})

    tensor_parallel_size: Positive = 1
    """GPUs that share one model."""
    gpu_memory_utilization: Fraction | None = None
    """Share of the GPU's memory for vLLM; by default 0.45 beside a trainer and 0.9 alone."""
    max_model_len: Annotated[int, Field(ge=64)] | None = None
    """Most tokens of a prompt and its completion together; by default 4,096 more than the longest completion, or the
    model's own limit if that is lower."""


class ScoreConfig(StageConfig):
    """How completions are rewarded."""

    SPEED_ONLY = frozenset({"workers"})
    OPTIONAL = frozenset({"overlong_buffer", "format_weight"})

    reward: Annotated[str, Flag(metavar="NAME|MODULE:FUNCTION")] = "auto"
    """The reward: auto (by the problem's task), math, countdown, or a function of your own as module:function."""
    workers: Annotated[Positive, Flag()] = 2
    """Verifier processes."""
    timeout: Annotated[Finite, Field(gt=0), Flag()] = 10.0
    """Seconds to verify one answer, or for one call of your function; then its process is killed."""
    overlong_buffer: Annotated[int, Field(ge=0)] = 0
    """DAPO's length penalty: over the last N tokens before max_tokens the reward falls linearly, by 1 for a truncated
    completion; 0 turns it off. It is added to the reward in training, so beta acts on exp(beta * sum)."""
    format_weight: Annotated[Finite, Field(ge=0)] = 0.0
    """Reward for a closed last box with any answer, on top of 1 for the right one."""


class UpdateConfig(StageConfig):
    """One policy update from one step's rollouts."""

    SPEED_ONLY = frozenset({"micro_batch_tokens", "gradient_checkpointing", "ranks", "cpu_offload", "gradient_sync"})
    OPTIONAL = frozenset({"entropy_coef", "entropy_target"})
    FIXED = MappingProxyType({"min_lr_ratio": 0.0})

    minibatches: Annotated[Positive, Flag()] = 1
    """Optimizer steps per epoch. Groups are assigned to them at random and never split."""
    epochs: Annotated[Positive, Flag()] = 1
    """How often the update goes through a step's completions."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """adamw_8bit keeps the moments in 8 bits: a quarter of the memory. It needs bitsandbytes."""
    learning_rate: Annotated[Annotated[Finite, Field(gt=0)] | None, Flag(("--learning-rate", "--lr"))] = None
    """Peak learning rate of AdamW; by default 1e-6 for all weights and 1e-5 for LoRA."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps over which the learning rate rises to its peak."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up."""
    schedule_steps: Positive | None = None
    """Optimizer steps until the cosine reaches 0, warm-up included; by default those of the whole run as it was
    created. Resuming with more --steps does not stretch it."""
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: Annotated[Finite, Field(gt=0), Flag()] = 1.0
    """Clip the gradient to this norm."""
    clip_low: Annotated[Finite, Field(ge=0), Flag()] = 0.2
    """Clip the probability ratio below 1 - clip_low."""
    clip_high: Annotated[Finite, Field(ge=0), Flag()] = 0.28
    """Clip the probability ratio above 1 + clip_high."""
    kl_coef: Annotated[Finite, Field(ge=0), Flag()] = 0.0
    """Weight of the KL penalty to the base model; 0 leaves it out."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of the KL penalty. As a loss, k2 follows the gradient of KL(policy || base), k3 that of
    KL(base || policy); k1 only adds noise."""
    entropy_coef: NonNegative = 0.0
    """Weight of an entropy bonus in the loss, per nat and token; 0 leaves it out. With entropy_target, where it
    starts: the first update has no bonus then, as nothing is measured yet."""
    entropy_target: Annotated[Finite, Field(gt=0)] | None = None
    """Entropy in nats per token to keep: after an update that measured no more than this, entropy_coef rises by 0.005
    and the next update has the bonus; after any other it falls by as much, and there is none."""
    loss_aggregation: Literal["token", "sequence", "constant"] = "token"
    """Average the loss over all tokens, over sequences first, or divide it by a constant (max_tokens)."""
    mask_truncated: bool = False
    """Leave completions that were cut at max_tokens out of the loss. They stay in their group's baseline."""
    tis_cap: Annotated[Finite, Field(gt=0)] = 2.0
    """Cap of the importance ratio that corrects for a sampler other than the trainer."""
    micro_batch_tokens: Annotated[Positive, Flag()] = 16384
    """Padded tokens per forward and backward pass; fewer save memory and change no result."""
    gradient_checkpointing: Annotated[bool, Flag()] = False
    """Recompute activations in the backward pass: saves memory, costs time."""
    ranks: Annotated[Positive, Flag()] = 1
    """Processes that share the update, one per GPU; each holds a slice of the weights and of the optimizer's state. A
    checkpoint is saved every step then."""
    cpu_offload: bool = False
    """With several ranks: keep weights and optimizer state in RAM while they are not used."""
    gradient_sync: Literal["last", "each"] = "last"
    """With several ranks: sum the gradient over them after the last micro-batch, or after each. last talks less; each
    keeps a slice of the gradient per rank, where last keeps all of it."""

    @property
    def has_penalty(self) -> bool:
        """Whether the loss has more than advantages in it, so that every group goes through the model."""
        return self.kl_coef > 0 or self.entropy_coef > 0 or self.entropy_target is not None

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps of one update."""
        return self.minibatches * self.epochs

    @model_validator(mode="after")
    def _decays_after_warming_up(self) -> UpdateConfig:
        if self.lr_schedule == "cosine" and self.warmup_steps >= (self.schedule_steps or self.warmup_steps + 1):
            raise ValueError(
                f"warmup_steps {self.warmup_steps} leaves nothing of the {self.schedule_steps} schedule_steps"
            )
        return self


class TrainConfig(StageConfig):
    """The loop."""

    steps: Annotated[Positive, Flag()] = 100
    """Training steps in total."""
    eval_every: Annotated[int, Field(ge=0), Flag()] = 0
    """Evaluate every N steps, and the base model before the first; 0 never does."""
    checkpoint_every: Annotated[Positive, Flag()] = 1
    """Save the policy every N steps. After a crash the steps since are repeated from their rollouts."""
    keep_checkpoints: Annotated[Positive, Flag()] = 2
    """How many of the newest checkpoints to keep; the best evaluated one is kept too."""
    tracker: Annotated[tuple[Tracker, ...], Flag(("--tracker",), "NAME,...")] = ()
    """Where to send metrics and evaluations too: csv, mlflow, tensorboard, trackio, wandb, one or several; by default
    nowhere. none stops it. It changes nothing of the run."""

    def evaluates(self, version: int) -> bool:
        """Whether a policy is to be evaluated, by its number."""
        return self.eval_every > 0 and (version % self.eval_every == 0 or version == self.steps)

    def saves(self, version: int) -> bool:
        """Whether a policy is to be saved: by its number, as the last, or to be evaluated."""
        return version % self.checkpoint_every == 0 or version == self.steps or self.evaluates(version)

    @field_validator("tracker", mode="before")
    @classmethod
    def _are_names(cls, given: Any) -> Any:
        """One name or a list of them, each once; texts may have commas in them."""
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            return given
        names = dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip())
        return () if list(names) == ["none"] else tuple(names)


class EvalConfig(StageConfig):
    """How pass@k is measured."""

    # The lineage of an evaluation names its benchmark elsewhere.
    NOT_IN_ARTIFACT = frozenset({"benchmark"})
    FIXED: ClassVar[Mapping[str, Any]] = MappingProxyType({"num_samples_of": {}})

    benchmark: Annotated[str, Flag(metavar="NAME,...")] = ""
    """Held-out problems: data sets, several with commas; by default those of the training data set."""
    k: Annotated[tuple[AtLeastOne, ...], Flag(metavar="1,32,...")] = (1, 8, 32)
    """Values of k for pass@k."""
    num_samples: Annotated[AtLeastOne | dict[str, AtLeastOne], Flag(("--num-samples", "-n"), "N,NAME=N,...")] = 32
    """Completions per problem. The flag takes 1024,math500=64 for other numbers of single benchmarks, a file a table:
    { default = 1024, math500 = 64 }. --k alone raises them to the largest k; they alone lower k to what they allow."""
    temperature: Annotated[Temperature, Flag()] = 1.0
    """Sampling temperature of evaluations; 1e-6, the lowest, is greedy: it always takes the likeliest token."""
    top_p: Annotated[Fraction, Flag()] = 1.0
    """Nucleus sampling in evaluations; 1 keeps every token."""
    max_tokens: Annotated[Positive | None, Flag()] = None
    """Longest completion in evaluations, in tokens; by default as in training."""

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks one by one; none where the training dataset's own problems are meant."""
        return tuple(name.strip() for name in self.benchmark.split(",")) if self.benchmark.strip() else ()

    @property
    def samples(self) -> int:
        """Completions per problem of benchmarks that are not listed."""
        return self.num_samples[DEFAULT] if isinstance(self.num_samples, dict) else self.num_samples

    @property
    def special(self) -> dict[str, int]:
        """Completions per problem of single benchmarks, by name."""
        table = self.num_samples
        return {name: n for name, n in table.items() if name != DEFAULT} if isinstance(table, dict) else {}

    def with_samples(self, samples: int) -> EvalConfig:
        """The settings with one number of samples, and the values of k that these allow."""
        return self.model_copy(update={"num_samples": samples, "k": tuple(k for k in self.k if k <= samples)})

    @field_validator("num_samples", mode="before")
    @classmethod
    def _are_numbers(cls, given: Any) -> Any:
        for name, samples in given.items() if isinstance(given, Mapping) else [("", given)]:
            of = f" for {name}" if name else ""
            if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
                raise ValueError(f"must be a whole number of 1 or more{of}, not {samples!r}")
        if not isinstance(given, Mapping):
            return given
        table = {DEFAULT: cls.model_fields["num_samples"].default, **given}
        return table if len(table) > 1 else table[DEFAULT]

    @model_validator(mode="after")
    def _k_fits(self) -> EvalConfig:
        if "" in self.benchmarks:
            raise ValueError("benchmark has an empty name among the others")
        if not self.k:
            raise ValueError("there is no k: give one or more, for example --k 1,32")
        for samples in (self.samples, *self.special.values()):
            if samples > MOST_SAMPLES:
                raise ValueError(f"{samples:,} samples per problem are too many: at most {MOST_SAMPLES:,}")
        largest, smallest = max(self.k), min(self.k)
        if largest > self.samples:
            raise ValueError(
                f"pass@{largest} needs at least {largest} samples per problem, not {self.samples}: "
                f"use --num-samples {largest} or a smaller --k"
            )
        for name, samples in self.special.items():
            if name in self.benchmarks and smallest > samples:
                raise ValueError(
                    f"pass@{smallest} needs at least {smallest} samples per problem of {name}, not {samples}: "
                    f"use --num-samples {name}={smallest} or a smaller --k"
                )
        return self
