"""Which completions the `hf` engine writes together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batch:
    """Completions that are written together.

    Args:
        prompts: Their prompts, each once.
        rows: For each completion, which of `prompts` it continues.
        owners: For each completion, the number of its prompt in the caller's list.
        seeds: Of each completion.
    """

    prompts: list[Sequence[int]]
    rows: list[int]
    owners: list[int]
    seeds: list[int]


def batches_of(
    prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], max_tokens: int, room: int, *, pads: bool
) -> Iterator[Batch]:
    """Completions as many at a time as fit if none ends early: in the order given, or length by length.

    Args:
        prompts: Token ids of each.
        seeds: Of the completions of each.
        max_tokens: Of a completion.
        room: Tokens of a batch.
        pads: Whether prompts of different lengths may be in a batch.
    """
    jobs = [(owner, seed) for owner, own in enumerate(seeds) for seed in own]
    lengths = sorted({len(prompts[owner]) for owner, _ in jobs})
    if pads:
        yield from cut(prompts, jobs, room // (max(lengths, default=0) + max_tokens))
        return
    for length in lengths:
        alike = [job for job in jobs if len(prompts[job[0]]) == length]
        yield from cut(prompts, alike, room // (length + max_tokens))


def cut(prompts: Sequence[Sequence[int]], jobs: Sequence[tuple[int, int]], size: int) -> Iterator[Batch]:
    """Batches of so many completions (number of the prompt, seed), and of one at least."""
    size = max(1, size)
    for start in range(0, len(jobs), size):
        chunk = jobs[start : start + size]
        owners = [owner for owner, _ in chunk]
        distinct = sorted(set(owners))
        row = {owner: number for number, owner in enumerate(distinct)}
        yield Batch(
            [prompts[owner] for owner in distinct],
            [row[owner] for owner in owners],
            owners,
            [seed for _, seed in chunk],
        )
