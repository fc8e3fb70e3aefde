"""One training step on many GPUs: seconds by phase, what it moves, and what more GPUs would not shorten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rsgrpo_cli.planning import footprint, step_time
from rsgrpo_cli.planning.footprint import FLOAT32, Decoder, Precision
from rsgrpo_cli.planning.machine import Machine

SAMPLING, WEIGHTS, SCORING, UPDATE, CHECKPOINT = "sampling", "weights to samplers", "scoring", "update", "checkpoint"
COMMAND, A_PART = "the command", "the longest part"


@dataclass(frozen=True, slots=True)
class Work:
    """What a step is to do.

    Args:
        parts: Completions of each part.
        group_size: Completions per prompt.
        prompt_tokens: Of a prompt.
        mean_tokens: Of a completion.
        checkpointing: Whether an update computes activations twice.
        received: Bytes that a rank gets from the others in an update.
        sampler_reads: Whether samplers read a new policy's files; not where they share the trainer's weights.
        checkpoints: Per step: 1, or less where not every step keeps one.
        arithmetic: Seconds of the update, where they are known better than by a formula.
    """

    parts: Sequence[int]
    group_size: int
    prompt_tokens: int
    mean_tokens: float
    checkpointing: bool
    received: float = 0.0
    sampler_reads: bool = True
    checkpoints: float = 1.0
    arithmetic: float | None = None

    @property
    def completions(self) -> int:
        """Of the step."""
        return sum(self.parts)

    @property
    def sampled(self) -> float:
        """Tokens of all completions."""
        return self.completions * self.mean_tokens


@dataclass(frozen=True, slots=True)
class Layout:
    """Who does it.

    Args:
        ranks: GPUs of the update.
        samplers: Engines that make parts.
        gpus_each: GPUs of one of these.
        apart: Whether several ranks keep GPUs of their own, as on a Ray cluster; else the phases follow one another
            on the same ones.
    """

    ranks: int
    samplers: int
    gpus_each: int = 1
    apart: bool = False

    @property
    def kept(self) -> int:
        """GPUs that no sampler can have."""
        return self.ranks if self.apart and self.ranks > 1 else 0

    @property
    def gpus(self) -> int:
        """That are needed."""
        sampling = self.samplers * self.gpus_each
        return self.kept + sampling if self.apart else max(self.ranks, sampling)


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long a step takes.

    Args:
        phases: Name -> seconds, one after the other.
        fixed: What more GPUs do not shorten, also where it goes on beside something longer; name -> seconds.
        moved: What is written, read and sent; name -> bytes, or a count of file operations.
    """

    phases: Mapping[str, float]
    fixed: Mapping[str, float]
    moved: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return sum(self.phases.values())

    @property
    def first_limit(self) -> str:
        """The largest of `fixed`: what saturates first."""
        return max(self.fixed, key=lambda name: self.fixed[name])

    @property
    def limit_share(self) -> float:
        """Of the step, what saturates first."""
        return self.fixed[self.first_limit] / self.total


def step_of(
    decoder: Decoder,
    precision: Precision,
    machine: Machine,
    work: Work,
    layout: Layout,
    *,
    longest_part: float,
    sampling: float,
) -> StepTime:
    """Add up a step.

    Args:
        decoder: The model.
        precision: Of the update.
        machine: As assumed.
        work: What is to be done.
        layout: Who does it.
        longest_part: Seconds of that.
        sampling: Seconds until all parts are there.
    """
    trained = footprint.trained_parameters(decoder, precision) * FLOAT32
    nodes = step_time.machines(layout.samplers * layout.gpus_each, machine)
    rank_nodes = step_time.machines(layout.ranks, machine)
    tokens = work.completions * (work.prompt_tokens + work.mean_tokens)
    lora = precision.lora_rank > 0
    arithmetic = work.arithmetic
    if arithmetic is None:
        arithmetic = step_time.update_seconds(
            decoder, machine, tokens=tokens, ranks=layout.ranks, lora=lora, checkpointing=work.checkpointing
        )
    exchange = step_time.exchange_seconds(work.received, machine, ranks=layout.ranks)
    reading = step_time.read_seconds(trained, machine, nodes=nodes) if work.sampler_reads else 0.0
    # One process writes the weights, every rank its slice of the optimizer's two moments.
    weights = step_time.write_seconds(trained, machine, nodes=1)
    moments = step_time.write_seconds(2 * trained, machine, nodes=rank_nodes)
    command = len(work.parts) * machine.part_seconds
    phases = {
        SAMPLING: sampling,
        WEIGHTS: reading,
        SCORING: step_time.score_seconds(work.completions, machine),
        UPDATE: max(arithmetic, exchange),
        CHECKPOINT: work.checkpoints * (weights + moments),
    }
    fixed = {A_PART: min(longest_part, sampling), COMMAND: command}
    fixed |= {name: phases[name] for name in (WEIGHTS, SCORING, CHECKPOINT)}
    return StepTime(phases, fixed, _moved(machine, work, trained, nodes))


def _moved(machine: Machine, work: Work, trained: float, nodes: int) -> dict[str, float]:
    return {
        "rollouts": work.sampled * machine.parquet,
        "checkpoint": work.checkpoints * 3 * trained,
        "weights read": nodes * trained if work.sampler_reads else 0,
        "received by a rank": work.received,
        "file operations": len(work.parts) * machine.part_operations,
    }
