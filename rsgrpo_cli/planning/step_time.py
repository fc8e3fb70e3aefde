"""How long the phases of a step take on many GPUs, and what they move: formulas, none of them measured on a GPU.

Sampling is a roofline: each iteration writes a token of every sequence at work; it reads the weights and the sequences'
keys and values once, and computes 2 operations per weight and token. The longer a part, the fewer sequences are left:
so a part takes as long as its longest completion, and its end costs as much per iteration as its middle.

Units: seconds, bytes, tokens. Rates are those of a `Machine`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import ceil

import numpy as np

from rsgrpo_cli.planning import footprint
from rsgrpo_cli.planning.footprint import BFLOAT16, Decoder
from rsgrpo_cli.planning.machine import Machine

GIGA, TERA = 1e9, 1e12
CACHE_SHARE = 0.9
"""Of a GPU's memory that a sampler uses: vLLM's default."""


# -- sampling ---------------------------------------------------------------------------------------------------------


def sequences_at_once(decoder: Decoder, machine: Machine, *, gpus: int, tokens: float) -> int:
    """Completions that a sampler writes at once: what its cache has room for beside the weights, up to a limit.

    Args:
        decoder: The model, in bfloat16.
        machine: As assumed.
        gpus: Of the sampler.
        tokens: Of a prompt and its completion, on average.

    Returns:
        0 where not even the weights fit.
    """
    room = CACHE_SHARE * gpus * machine.memory * GIGA - decoder.parameters * BFLOAT16
    each = footprint.kv_cache_bytes(decoder, 1, BFLOAT16) * tokens
    return max(0, min(int(machine.sequences), int(room / each)))


def part_seconds(
    decoder: Decoder,
    machine: Machine,
    lengths: Sequence[int] | np.ndarray,
    *,
    prompt_tokens: int,
    group_size: int,
    gpus: int,
) -> float:
    """How long a sampler needs for a part.

    Args:
        decoder: The model, in bfloat16.
        machine: As assumed.
        lengths: Tokens of each completion, in their order.
        prompt_tokens: Of each prompt; a prompt is read once per group.
        group_size: Completions per prompt.
        gpus: Of the sampler.

    Returns:
        Infinity where not even one sequence fits.
    """
    tokens = np.asarray(lengths, dtype=np.int64)
    slots = sequences_at_once(decoder, machine, gpus=gpus, tokens=prompt_tokens + float(tokens.mean()))
    if slots < 1:
        return float("inf")
    starts = first_iterations(tokens, slots)
    last = int((starts + tokens).max())

    def running(weights: np.ndarray | None = None) -> np.ndarray:
        begun = np.bincount(starts, weights, last + 1)
        return np.cumsum(begun - np.bincount(starts + tokens, weights, last + 1))[:last]

    active, begun = running(), running(starts)
    context = active * (prompt_tokens + np.arange(last)) - begun
    speed = 1.0 if gpus == 1 else gpus * machine.parallel_share
    cache = footprint.kv_cache_bytes(decoder, 1, BFLOAT16) * context
    reading = (decoder.parameters * BFLOAT16 + cache) / (machine.decode_share * machine.bandwidth * GIGA * speed)
    computing = 2 * decoder.parameters * active / (machine.update_share * machine.flops * TERA * speed)
    prefill = 2 * decoder.parameters * prompt_tokens * ceil(len(tokens) / group_size)
    prefilling = prefill / (machine.update_share * machine.flops * TERA * speed)
    return float(np.maximum(reading, computing).sum() + last * machine.iteration + prefilling)


def first_iterations(lengths: np.ndarray, slots: int) -> np.ndarray:
    """In which iteration each completion begins, if one begins as soon as another has ended.

    Args:
        lengths: Tokens of each, in the order in which they begin.
        slots: How many are at work at once.
    """
    starts = np.zeros(len(lengths), dtype=np.int64)
    ends = [int(length) for length in lengths[:slots]]
    heapq.heapify(ends)
    for number in range(slots, len(lengths)):
        starts[number] = ends[0]
        heapq.heapreplace(ends, int(starts[number] + lengths[number]))
    return starts


def even_lengths(count: int, longest: int, mean: float) -> np.ndarray:
    """Lengths where only their mean is known: as many short as long ones, as far to both sides as there is room.

    Args:
        count: How many.
        longest: Where a completion is cut off.
        mean: Of all, above 0 and at most the longest.
    """
    aside = min(mean, longest - mean)
    places = (np.random.default_rng(0).permutation(count) + 0.5) / count
    lengths: np.ndarray = np.maximum(1, np.rint(mean + aside * (2 * places - 1))).astype(np.int64)
    return lengths


def rounds(parts: int, samplers: int) -> int:
    """How many parts the busiest sampler makes, at least."""
    return ceil(parts / samplers)


# -- the rest of a step -----------------------------------------------------------------------------------------------


def machines(gpus: int, machine: Machine) -> int:
    """How many machines some GPUs are in."""
    return ceil(gpus / machine.node)


def read_seconds(size: float, machine: Machine, *, nodes: int) -> float:
    """Until every machine has read the same files once, all at the same time: the weights of a new policy."""
    return max(size / machine.disk_node, nodes * size / machine.disk) / GIGA


def write_seconds(size: float, machine: Machine, *, nodes: int) -> float:
    """Until some machines have written their shares of the bytes."""
    return size / min(nodes * machine.disk_node, machine.disk) / GIGA


def score_seconds(completions: int, machine: Machine) -> float:
    """Grading, on the machine of the command."""
    return completions / (machine.cores * machine.verdicts)


def update_seconds(
    decoder: Decoder, machine: Machine, *, tokens: float, ranks: int, lora: bool, checkpointing: bool
) -> float:
    """The arithmetic of an update: 2 operations per weight and token forward, 4 backward.

    Args:
        decoder: The model.
        machine: As assumed.
        tokens: Of all prompts and completions; a prompt is read for each completion.
        ranks: GPUs that share them.
        lora: No gradients of the frozen weights are computed: 2 operations less.
        checkpointing: The forward pass is computed twice.
    """
    operations = (4 if lora else 6) + (2 if checkpointing else 0)
    return operations * decoder.parameters * tokens / (ranks * machine.update_share * machine.flops * TERA)


def exchange_seconds(received: float, machine: Machine, *, ranks: int) -> float:
    """Until a rank has received what the others send it in a step (`ranks.rank_facts`)."""
    if ranks == 1:
        return 0.0
    return received / GIGA / (machine.nvlink if ranks <= machine.node else machine.network)
