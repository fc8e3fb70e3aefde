"""Seconds of a step's phases, against sums by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.planning.footprint import Decoder, Precision
from rsgrpo_cli.planning.machine import Machine, assume
from rsgrpo_cli.planning.scaled_step import (
    A_PART,
    CHECKPOINT,
    SAMPLING,
    SCORING,
    UPDATE,
    WEIGHTS,
    Layout,
    Work,
    step_of,
)
from rsgrpo_cli.planning.step_time import (
    even_lengths,
    exchange_seconds,
    first_iterations,
    part_seconds,
    read_seconds,
    rounds,
    sequences_at_once,
    update_seconds,
    write_seconds,
)

# 1e9 weights; 2 layers with 1 key head of 4: 2 x 2 x 4 numbers of 2 bytes are 32 bytes of cache per token.
DECODER = Decoder(10**9, 0, 0, 2, 4, 1, 1, 4, 8, 100, True)
EVEN = Machine().known(
    "by hand",
    bandwidth=1000,
    flops=1000,
    memory=10,
    decode_share=1.0,
    update_share=1.0,
    iteration=1e-3,
    disk=8,
    disk_node=2,
)


def part(lengths: list[int], machine: Machine = EVEN, **other: int) -> float:
    return part_seconds(DECODER, machine, lengths, **{"prompt_tokens": 0, "group_size": 1, "gpus": 1} | other)


def test_a_part_by_hand() -> None:
    # An iteration reads 2 GB at 1,000 GB/s, and takes a millisecond beside; the cache is next to nothing.
    assert part([5]) == pytest.approx(5 * 3e-3, rel=1e-5)
    # As long as its longest completion, while the others are free.
    assert part([5, 2, 1]) == pytest.approx(5 * 3e-3, rel=1e-5)
    # Two GPUs of a sampler at 0.85 of their speed each.
    assert part([5], gpus=2) == pytest.approx(5 * (2e-3 / 1.7 + 1e-3), rel=1e-5)
    # A prompt of 1,000 tokens: 2 x 1e9 x 1,000 operations at 1e15 per second, once per group.
    assert part([1, 1], prompt_tokens=1000, group_size=2) == pytest.approx(3e-3 + 2e-3, rel=1e-4)
    assert part([1, 1], prompt_tokens=1000) == pytest.approx(3e-3 + 4e-3, rel=1e-4)


def test_many_sequences_are_bound_by_arithmetic() -> None:
    # 2 x 1e9 operations for each of 2,000 tokens at 1e15 per second: 4 ms, more than the 2 of reading.
    many = EVEN.known("by hand", sequences=5000)
    assert part([1] * 2000, many) == pytest.approx(4e-3 + 1e-3, rel=1e-4)


def test_who_waits_for_a_place_begins_when_one_ends() -> None:
    # Two places: 3 and 1 begin; the third at 1, until 5; the fourth at 3.
    assert first_iterations(np.array([3, 1, 4, 2]), 2).tolist() == [0, 0, 1, 3]
    assert part([3, 1, 4, 2], EVEN.known("by hand", sequences=2)) == pytest.approx(5 * 3e-3, rel=1e-5)


def test_the_cache_has_room_for_so_many() -> None:
    # 0.9 x 10 GB less 2 GB of weights are 7e9 bytes; a sequence of 1e6 tokens takes 32e6 of them.
    assert sequences_at_once(DECODER, EVEN, gpus=1, tokens=1e6) == 218
    assert sequences_at_once(DECODER, EVEN.known("by hand", memory=1), gpus=1, tokens=1) == 0
    assert part([1], EVEN.known("by hand", memory=1)) == float("inf")


def test_lengths_of_which_the_mean_is_known() -> None:
    assert sorted(even_lengths(4, 400, 200).tolist()) == [50, 150, 250, 350]
    assert sorted(even_lengths(4, 400, 300).tolist()) == [225, 275, 325, 375]  # from 200 to 400
    assert sorted(even_lengths(4, 400, 40).tolist()) == [10, 30, 50, 70]  # from 0 to 80
    assert even_lengths(3, 20, 20).tolist() == [20, 20, 20]


def test_the_rest_by_hand() -> None:
    assert (rounds(5, 2), rounds(1, 8)) == (3, 1)
    # One machine: 4 GB at 2; ten: 40 GB at 8 of all together.
    assert (read_seconds(4e9, EVEN, nodes=1), read_seconds(4e9, EVEN, nodes=10)) == (2, 5)
    assert (write_seconds(4e9, EVEN, nodes=1), write_seconds(4e9, EVEN, nodes=10)) == (2, 0.5)
    # 6 x 1e9 x 1e6 operations over 2 x 1e15
    assert update_seconds(DECODER, EVEN, lora=False, checkpointing=False, tokens=1e6, ranks=2) == pytest.approx(3)
    assert update_seconds(DECODER, EVEN, lora=True, checkpointing=True, tokens=1e6, ranks=2) == pytest.approx(3)
    assert update_seconds(DECODER, EVEN, lora=False, checkpointing=True, tokens=1e6, ranks=2) == pytest.approx(4)
    machine = replace(EVEN, nvlink=100, network=10, node=8)
    assert [exchange_seconds(1e12, machine, ranks=ranks) for ranks in (1, 8, 9)] == [0, 10, 100]


def test_a_step_adds_up() -> None:
    machine = EVEN.known("by hand", verdicts=10, cores=2, part_seconds=0.5, part_operations=7, parquet=8, node=8)
    work = Work([512, 88], 8, 100, 900, checkpointing=False, checkpoints=0.5)
    made = step_of(DECODER, Precision(), machine, work, Layout(16, 16), longest_part=50, sampling=70)
    assert made.phases[SAMPLING] == 70
    assert made.phases[WEIGHTS] == 2  # 4 GB at 2 for a machine; both together have 8
    assert made.phases[SCORING] == 600 / 20
    assert made.phases[UPDATE] == pytest.approx(6 * 1e9 * 600 * 1000 / (16 * 1e15))
    assert made.phases[CHECKPOINT] == 0.5 * (4 / 2 + 8 / 4)  # the weights by one machine, the moments by two
    assert made.total == pytest.approx(sum(made.phases.values()))
    assert made.first_limit == A_PART
    assert made.limit_share == pytest.approx(50 / made.total)
    assert made.moved["rollouts"] == 600 * 900 * 8
    assert made.moved["checkpoint"] == 0.5 * 12e9
    assert made.moved["file operations"] == 14


def test_numbers_of_ones_own() -> None:
    machine = assume(Machine(), ["disk=40", " flops = 312 "])
    assert (machine.disk, machine.flops, machine.memory) == (40, 312, 80)
    rows = {row["name"]: row["source"] for row in machine.table()}
    assert (rows["disk"], rows["memory"]) == ("yours", "published: H100 SXM")
    assert [row["name"] for row in machine.table(["disk", "flops"])] == ["flops", "disk"]


@pytest.mark.parametrize(
    "text", ["disk", "disk=", "disk=x", "disk=0", "disk=-1", "disk=inf", "disk=nan", "warp=9", "decode_share=1.5"]
)
def test_what_cannot_be_assumed_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--assume"):
        assume(Machine(), [text])
