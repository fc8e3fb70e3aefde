"""The tables of cluster_simulation.py, which docs/scaling.md has as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from cluster_scenario import (
    FULL,
    GROUP,
    LORA,
    MAX_TOKENS,
    MEDIAN,
    MICRO_BATCH,
    MODELS,
    OF_COMPLETIONS,
    OF_PROMPTS,
    PROMPT_TOKENS,
    Draw,
    Simulation,
    equal_parts,
    fewest_ranks,
)

from rsgrpo_cli.console import size
from rsgrpo_cli.planning import step_time
from rsgrpo_cli.planning.footprint import BFLOAT16, FLOAT32, Precision, trained_parameters
from rsgrpo_cli.planning.machine import Machine
from rsgrpo_cli.planning.scaled_step import CHECKPOINT, UPDATE, StepTime
from rsgrpo_cli.stages.rollout import PART_COMPLETIONS

GPUS, PROMPTS, PARTS = (1, 8, 64, 256, 1024), (512, 2048, 8192), (64, 128, 256, 512, 1024, 2048)
MODEL, MOST = "7B", 8192
"""What the tables of one model, and of one number of prompts, are of."""
LOST = 0.05
Rows = Iterator[list[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Args:
        name: In docs/scaling.md.
        title: What is said above it.
        headers: Of its columns.
        rows: Its cells.
    """

    name: str
    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(machine: Machine, draw: Draw, lengths: str) -> list[Table]:
    """All of them.

    Args:
        machine: As assumed.
        draw: Lengths of completions.
        lengths: Where these come from.
    """
    made = Simulation(machine, draw)

    def one(name: str, title: str, headers: str, rows: Rows) -> Table:
        return Table(name, title, headers.split(" | "), list(rows))

    steps = "model | GPUs, twice | sampling | weights | scoring | update | checkpoint | step | saturates first"
    steps += " | a step ahead"
    return [
        one("assumptions", "Assumptions", "name | value | what | source", assumptions(machine, lengths)),
        one(
            "models",
            "Models",
            "model | GPUs per sampler | sequences at once | ranks, all weights | weights' file | "
            "read by 128 machines | sent instead | LoRA's file | read by 128",
            models(machine),
        ),
        one(
            "queue",
            f"The queue, {MODEL}, a sampler per GPU",
            "prompts | GPUs | parts | sampling | used | dealt out | one at half speed | the same, dealt out",
            queue_rows(made),
        ),
        one(
            "parts",
            f"Sizes of parts, {MODEL}, 2,048 prompts on 64 GPUs",
            "completions | parts | a part | sampling | used | lost by draining | file operations",
            part_rows(made, 2048, 64),
        ),
        one("full", f"A step of {MOST:,} prompts, all weights", steps, step_rows(made, FULL)),
        one("lora", f"A step of {MOST:,} prompts, LoRA of rank {LORA.lora_rank}", steps, step_rows(made, LORA)),
        one(
            "files",
            f"Files of a step, and cores that grade it in a tenth of its sampling, {MODEL} on 64 GPUs",
            "prompts | completions | tokens | Parquet | file operations | they take | cores",
            file_rows(made),
        ),
        one(
            "failures",
            f"Failures, {MODEL}, {MOST:,} prompts on 64 GPUs",
            "completions | longest part | time lost | 5% lost if a GPU fails every | simulated then",
            failure_rows(made),
        ),
    ]


def assumptions(machine: Machine, lengths: str) -> Rows:
    """Every number that is reckoned with, and where it is from."""
    for row in machine.table():
        yield [row["name"], f"{row['value']:,g} {row['unit']}".strip(), row["what"], row["source"]]
    yield ["median", f"{MEDIAN:,} tokens", "of a completion; lognormal", lengths]
    yield [
        "spread",
        f"{OF_PROMPTS:g}, {OF_COMPLETIONS:g}",
        "of the logarithm, between prompts and within a group",
        lengths,
    ]
    yield ["longest", f"{MAX_TOKENS:,} tokens", "where a completion is cut off", lengths]
    yield ["prompt", f"{PROMPT_TOKENS} tokens", f"of a prompt, with {GROUP} completions", "assumed"]
    yield ["part", f"{PART_COMPLETIONS} completions", "of a part file", "this code"]
    yield ["micro-batch", f"{MICRO_BATCH:,} tokens", "bfloat16, checkpointing, gradient_sync=each", "a choice"]


def models(machine: Machine) -> Rows:
    """What each size needs, and what its weights take to the samplers."""
    for name, (decoder, each) in MODELS.items():
        at_once = step_time.sequences_at_once(decoder, machine, gpus=each, tokens=PROMPT_TOKENS + MEDIAN)
        whole, adapter = (FLOAT32 * trained_parameters(decoder, one) for one in (FULL, LORA))
        read = [seconds(step_time.read_seconds(one, machine, nodes=128)) for one in (whole, adapter)]
        sent = seconds(BFLOAT16 * decoder.parameters / each / machine.network / 1e9)
        cells = [f"{each}", f"{at_once}", f"{fewest_ranks(name, machine.memory * 1e9)}", size(whole), read[0], sent]
        yield [name, *cells, size(adapter), read[1]]


def queue_rows(made: Simulation) -> Rows:
    """The queue from one sampler to 1,024."""
    for prompts in PROMPTS:
        for gpus in GPUS:
            pulled = made.sampling(MODEL, prompts, gpus)
            others: list[dict[str, Any]] = [{"static": True}, {"slow": 2.0}, {"slow": 2.0, "static": True}]
            ends = [seconds(made.sampling(MODEL, prompts, gpus, **other).end) for other in others]
            parts = len(made.parts(MODEL, prompts, PART_COMPLETIONS))
            yield [f"{prompts:,}", f"{gpus:,}", f"{parts}", seconds(pulled.end), f"{pulled.utilisation:.0%}", *ends]


def part_rows(made: Simulation, prompts: int, gpus: int) -> Rows:
    """How large a part should be."""
    for part in PARTS:
        found, parts = made.sampling(MODEL, prompts, gpus, part), made.parts(MODEL, prompts, part)
        operations = f"{len(parts) * made.machine.part_operations:,.0f}"
        shares = [f"{share:.0%}" for share in (found.utilisation, made.drained(MODEL, prompts, part))]
        yield [f"{part:,}", f"{len(parts):,}", seconds(float(np.mean(parts))), seconds(found.end), *shares, operations]


def step_rows(made: Simulation, precision: Precision) -> Rows:
    """Whole steps, on some GPUs that sample and as many that update; and if the former were a step ahead."""
    for name in MODELS:
        for gpus in GPUS[1:]:
            if not made.fits(name, gpus, precision):
                continue
            found = made.step(name, MOST, gpus, precision)
            phases = [seconds(taken) for taken in found.phases.values()]
            first = f"{found.first_limit}, {found.limit_share:.0%}"
            yield [name, f"{gpus:,}", *phases, seconds(found.total), first, seconds(asynchronous(found))]


def asynchronous(step: StepTime) -> float:
    """Seconds of a step if samplers with as many GPUs of their own were a step ahead: the longer of the two sides."""
    updating = step.phases[UPDATE] + step.phases[CHECKPOINT]
    return max(updating, step.total - updating)


def file_rows(made: Simulation) -> Rows:
    """What a step writes and asks of the file system, and the cores that grade it."""
    machine = made.machine
    for prompts in PROMPTS:
        completions, tokens = prompts * GROUP, made.lengths(prompts).sum()
        operations = len(equal_parts(completions, PART_COMPLETIONS)) * machine.part_operations
        cores = scoring_cores(completions, made.sampling(MODEL, prompts, 64).end / 10, machine)
        written = [f"{tokens / 1e6:.0f} M", size(int(tokens * machine.parquet)), f"{operations:,.0f}"]
        yield [f"{prompts:,}", f"{completions:,}", *written, seconds(operations / machine.file_operations), f"{cores}"]


def scoring_cores(completions: int, seconds: float, machine: Machine) -> int:
    """Cores that grade so many completions in so many seconds."""
    return ceil(completions / (machine.verdicts * seconds))


def failure_rows(made: Simulation) -> Rows:
    """What failures cost, and how often a GPU may fail."""
    for part in PARTS:
        longest = max(made.parts(MODEL, MOST, part))
        lost = lost_share(longest, made.machine, gpus=MODELS[MODEL][1])
        every = made.machine.failure_hours * lost / LOST
        found = made.sampling(MODEL, MOST, 64, part, failures=every * 3600)
        down = found.lost + found.failures * made.machine.start
        told = "a part fails 3 times" if found.stopped else f"{down / (down + found.worked):.1%} lost"
        yield [f"{part:,}", seconds(longest), f"{lost:.1e}", f"{every * 60:,.0f} min", told]


def lost_share(seconds: float, machine: Machine, *, gpus: int) -> float:
    """Share of a sampler's time that failures cost: half a part on average, and a new start.

    Args:
        seconds: Of a part.
        machine: As assumed.
        gpus: Of the sampler.
    """
    return (seconds / 2 + machine.start) * gpus / (machine.failure_hours * 3600)


def seconds(value: float) -> str:
    """As a person would say it."""
    if value >= 100:
        return f"{value:,.0f} s"
    return f"{value:.1f} s" if value >= 0.05 else f"{value:.3f} s"
