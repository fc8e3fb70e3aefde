"""The settings of the stages, one model each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rsgrpo_cli.config.base import Finite, Fraction, Positive, StageConfig, Temperature


class ModelConfig(StageConfig):
    """The model that is trained."""

    SPEED_ONLY = frozenset({"device"})

    name: str = "toy"
    """The bundled model "toy", a local directory, or a Hugging Face id (with "@revision" if wanted)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation. Trained weights stay in float32: an update of 1e-6 is lost in bfloat16."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """Rank of a LoRA adapter on every linear layer; 0 trains all weights."""
    lora_alpha: Annotated[Finite, Field(gt=0)] | None = None
    """Scale of the adapter; twice the rank unless given."""
    fp32_head: bool = False
    """Whether the output layer computes in float32 under bfloat16, in the trainer and in the hf engine alike."""
    compile: bool = False
    """Whether the update runs through torch.compile. It rounds otherwise, so a run cannot change it half-way."""


class PrepareConfig(StageConfig):
    """Which problems, and how they are put to the model."""

    SPEED_ONLY = frozenset({"data_dir"})
    OPTIONAL = frozenset({"images"})

    dataset: str = "toy"
    """A dataset known by name (`rsgrpo datasets`), "owner/name[@revision][:config[/split]]" on the Hub, or a file."""
    data_dir: str | None = None
    """A folder with files of the datasets known by name; what they hold decides, not where they are."""
    prompt_column: str | None = None
    answer_column: str | None = None
    limit: Positive | None = None
    """Only the first so many problems."""
    max_prompt_tokens: Positive | None = None
    """Longer prompts are dropped and counted, in training; a benchmark keeps its problems."""
    decontaminate: Literal["off", "report", "drop"] = "report"
    """What becomes of training problems that also stand in one of the benchmarks of `eval.benchmark`."""
    images: Literal["refuse", "drop", "ignore"] = "refuse"
    """What becomes of problems with an image, a sound or a video, which no model here is shown: an error, left out and
    counted, or asked without it."""
    system_prompt: str | None = None
    instruction: str | None = None
    """Follows each problem. Unless given, `tasks.phrasing.INSTRUCTION` where answers are graded as mathematics and the
    problem does not ask for a box itself; empty for none."""
    instruction_role: Literal["user", "system"] = "user"
    """Whether the instruction ends the user's turn or is the system prompt."""
    prompt_style: Literal["chat", "text"] = "chat"
    """By the model's chat template, where it has one, or as plain text."""
    prompt_template: str | None = None
    """Jinja for the user's turn (for the whole prompt in the style "text") with `problem` and `instruction`."""


class RolloutConfig(StageConfig):
    """How completions are sampled for training."""

    OTHERS_CONTENT = frozenset({"zero_variance", "draw_limit"})
    # It only lets top_p be below 1; it decides nothing by itself.
    SPEED_ONLY = frozenset({"allow_biased_sampling"})

    engine: Literal["auto", "hf", "vllm", "dummy"] = "auto"
    group_size: Annotated[int, Field(ge=2)] = 16
    """Completions a prompt: the group that an advantage compares within."""
    prompts_per_step: Positive = 32
    temperature: Temperature = 1.0
    top_p: Fraction = 1.0
    allow_biased_sampling: bool = False
    """Let top_p be below 1: the update then reinforces under another distribution than was sampled from."""
    max_tokens: Positive = 1024
    zero_variance: Literal["keep", "drop", "resample"] = "keep"
    """What becomes of groups whose rewards are all equal, which have no gradient. "keep": they count in the loss's
    averages. "drop": they do not. "resample": neither, and further prompts are drawn in their place (DAPO)."""
    draw_limit: Positive = 4
    """With "resample": the most prompts a step may draw, in units of prompts_per_step."""

    @model_validator(mode="after")
    def _is_what_is_trained(self) -> RolloutConfig:
        if self.top_p < 1 and not self.allow_biased_sampling:
            raise ValueError(
                f"top_p {self.top_p:g} biases training: the tokens it cuts off have no probability in the samples and "
                "some in the update; use 1 (evaluations may use any), or --set rollout.allow_biased_sampling=true"
            )
        return self


class VllmConfig(StageConfig):
    """The vLLM sampler, where that is the engine."""

    SPEED_ONLY = frozenset({"tensor_parallel_size", "gpu_memory_utilization", "max_model_len", "enforce_eager"})

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of its weights and computation: "auto" is model.dtype."""
    tensor_parallel_size: Positive = 1
    """GPUs that share a model."""
    gpu_memory_utilization: Fraction | None = None
    """Share of the GPU's memory that it takes; 0.45 beside a trainer and 0.9 alone unless given."""
    max_model_len: Annotated[int, Field(ge=64)] | None = None
    """Tokens of a prompt and its completion together; unless given 4,096 more than the longest completion, or the
    model's own limit."""
    enforce_eager: bool | None = None
    """Run without compiled graphs, which start slowly and then sample faster; on a CPU only unless given."""


class ScoreConfig(StageConfig):
    """How completions are rewarded."""

    SPEED_ONLY = frozenset({"workers"})
    OPTIONAL = frozenset({"overlong_buffer", "overlong_penalty", "format_weight"})

    reward: str = "auto"
    """"auto" (by the problem's task), "math", "countdown", or "package.module:function"."""
    workers: Positive = 2
    timeout: Annotated[Finite, Field(gt=0)] = 10.0
    """Seconds one answer may take to verify before its worker is killed."""
    overlong_buffer: Annotated[int, Field(ge=0)] = 0
    """DAPO's soft punishment of length: over the last so many tokens before max_tokens the reward falls linearly.
    0 is off. It is added to the reward in training, as `format_weight` is: beta acts on exp(beta * sum)."""
    overlong_penalty: Annotated[Finite, Field(ge=0)] = 1.0
    """How far it falls: a completion that was cut loses all of it."""
    format_weight: Annotated[Finite, Field(ge=0)] = 0.0
    """What a closed last box with an answer earns, right or wrong, on top of 1 for a right answer."""


class UpdateConfig(StageConfig):
    """One policy update from one step's rollouts."""

    SPEED_ONLY = frozenset({"micro_batch_tokens", "gradient_checkpointing"})

    minibatches: Positive = 1
    """Optimizer steps an epoch; the groups are dealt out to them at random, each whole."""
    epochs: Positive = 1
    """How often the completions of a step are gone through."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """adamw_8bit keeps its moments in 8 bits: a quarter of the memory, and it needs bitsandbytes."""
    learning_rate: Annotated[Finite, Field(gt=0)] | None = None
    """AdamW's, at its peak; 1e-6 for all weights and 1e-5 for LoRA unless given."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps in which the learning rate rises to its peak."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    schedule_steps: Positive | None = None
    """Optimizer steps, from the run's first and warm-up included, in which a cosine decays; from there on its lowest.
    Those of the whole run as it is created, unless given: going on with more --steps does not stretch it."""
    min_lr_ratio: Annotated[Finite, Field(ge=0, le=1)] = 0.0
    """Lowest learning rate of a cosine, as a share of its peak."""
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[Finite, Field(gt=0)] = 1.0
    clip_low: Annotated[Finite, Field(ge=0)] = 0.2
    clip_high: Annotated[Finite, Field(ge=0)] = 0.28
    kl_coef: Annotated[Finite, Field(ge=0)] = 0.0
    """Weight of the KL penalty to the base model; 0 leaves it out."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """As a loss k2 pulls along the gradient of KL(policy || base), k3 of KL(base || policy); k1 only adds noise."""
    loss_aggregation: Literal["token", "sequence", "constant"] = "token"
    mask_truncated: bool = False
    """Whether completions cut by length are left out: no gradient, and not counted in the loss's denominators. They
    stay in their group's baseline."""
    tis_cap: Annotated[Finite, Field(gt=0)] = 2.0
    """Cap of the truncated importance ratio where the sampler is not the trainer."""
    micro_batch_tokens: Positive = 16384
    """Padded tokens of one forward and backward pass."""
    gradient_checkpointing: bool = False

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

    steps: Positive = 100
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Evaluate every so many steps; 0 does not."""
    checkpoint_every: Positive = 1
    """Save the policy every so many steps. What a crash loses is repeated from the rollouts, which are all kept."""
    keep_checkpoints: Positive = 2
    """How many of the newest checkpoints stay; the best evaluated one stays too."""


class EvalConfig(StageConfig):
    """How pass@k is measured."""

    benchmark: str = ""
    """One or several, with commas: named as a dataset is; the training dataset's own held-out problems unless given."""
    k: tuple[Positive, ...] = (1, 8, 32)
    num_samples: Positive = 32
    """Completions a problem; raised to the largest k where only k is given."""
    num_samples_of: dict[str, Positive] = Field(default_factory=dict)
    """Benchmark -> completions a problem, where it is another number."""
    temperature: Temperature = 1.0
    top_p: Fraction = 1.0
    max_tokens: Positive | None = None
    """As in training unless given."""

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks one by one; none where the training dataset's own problems are meant."""
        return tuple(name.strip() for name in self.benchmark.split(",") if name.strip())

    def for_benchmark(self, name: str) -> EvalConfig:
        """The settings for one benchmark."""
        return self.model_copy(
            update={"num_samples": self.num_samples_of.get(name, self.num_samples), "num_samples_of": {}}
        )

    @model_validator(mode="after")
    def _k_fits(self) -> EvalConfig:
        largest = max(self.k, default=0)
        special = [(name, samples) for name, samples in self.num_samples_of.items() if name in self.benchmarks]
        for name, samples in (("", self.num_samples), *special):
            if largest > samples:
                on, enough = (f" of {name}", f"{name}={largest}") if name else ("", f"{largest}")
                raise ValueError(
                    f"pass@{largest} needs at least {largest} samples a problem{on}, not {samples}: "
                    f"use --num-samples {enough} or a smaller --k"
                )
        return self
