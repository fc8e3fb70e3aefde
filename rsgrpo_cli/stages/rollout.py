"""`rollout`: completions of prompts under a policy, a table per part file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import pyarrow as pa

from rsgrpo_cli.engines.types import Engine, Generation, Sampling
from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.part_names import sample_range
from rsgrpo_cli.rewards.thinking import last_content, opens_thought
from rsgrpo_cli.schemas import ROLLOUTS, TEXT_ROLE
from rsgrpo_cli.seeding import permutation, stable_seed
from rsgrpo_cli.wording import counted, verb

PART_COMPLETIONS = 512
"""About how many completions a training part holds; a group is never split."""
EVAL_PROMPTS, EVAL_SAMPLES = 16, 64
"""An evaluation part holds these many prompts and, aligned to multiples, these many samples of each."""

_IN_THOUGHT = "prompts_in_thought"


@dataclass(frozen=True, slots=True)
class Part:
    """What one part file holds: some prompts, and for each the same range of samples.

    Args:
        name: Its file name without the suffix.
        rows: Rows of the prompts table.
        first_sample: Inclusive.
        last_sample: Exclusive.
    """

    name: str
    rows: Sequence[int]
    first_sample: int
    last_sample: int


def draw_order(count: int, *, seed: int, step: int, prompts_per_step: int) -> list[int]:
    """Rows of all prompts in the order in which a step would draw them: its own, then on through the epoch and around.

    What a step draws beyond its own prompts are thus those of the steps to come, which draw them again: a step's
    prompts do not depend on what earlier steps found.

    Args:
        count: Rows of the prompts table.
        seed: The run's.
        step: From 0.
        prompts_per_step: How many are its own.

    Raises:
        UsageError: If there are fewer prompts than a step takes.
    """
    if count < prompts_per_step:
        raise UsageError(
            f"a step takes {counted(prompts_per_step, 'prompt')} and there {verb(count, 'is')} {count}",
            f"use --prompts-per-step {count} or fewer",
        )
    epoch, within = divmod(step, count // prompts_per_step)
    order = permutation(seed, epoch, count)
    return [*order[within * prompts_per_step :].tolist(), *order[: within * prompts_per_step].tolist()]


def training_parts(rows: Sequence[int], group_size: int) -> list[Part]:
    """How a step's rollouts are cut into parts: whole groups, about PART_COMPLETIONS completions each."""
    prompts = max(1, PART_COMPLETIONS // group_size)
    return [
        Part(f"part-{number:05d}", rows[start : start + prompts], 0, group_size)
        for number, start in enumerate(range(0, len(rows), prompts))
    ]


def further_parts(
    order: Sequence[int], *, first: int, prompts_per_step: int, limit: int, group_size: int
) -> list[Part]:
    """The parts that a step may have beside its first ones, where groups without a gradient are replaced.

    They are small, a quarter of a step, so that little is sampled that is not needed. Which of them are made depends on
    the rewards; what is in each does not.

    Args:
        order: From `draw_order`.
        first: How many parts the step has already: the numbers in the names go on from there.
        prompts_per_step: How many of `order` are in those.
        limit: The most prompts a step may draw, in units of `prompts_per_step`.
        group_size: Completions per prompt.
    """
    prompts = min(max(1, PART_COMPLETIONS // group_size), ceil(prompts_per_step / 4))
    further = order[prompts_per_step : limit * prompts_per_step]
    return [
        Part(f"part-{first + number:05d}", sorted(further[start : start + prompts]), 0, group_size)
        for number, start in enumerate(range(0, len(further), prompts))
    ]


def prompts_to_draw(drawn: int, varied: int, prompts_per_step: int) -> int:
    """How many further prompts should fill a step, if as large a share of them has varied rewards as so far.

    Args:
        drawn: Prompts sampled so far.
        varied: Those of them whose rewards are not all equal.
        prompts_per_step: How many of these a step needs.

    Returns:
        At most a step's worth; 0 if there are enough.
    """
    missing = max(0, prompts_per_step - varied)
    return min(prompts_per_step, ceil(missing * drawn / varied)) if varied else missing


def evaluation_parts(count: int, covered: Mapping[int, int], num_samples: int) -> list[Part]:
    """How the samples that an evaluation still lacks are cut into parts; topping up adds parts and changes none.

    Args:
        count: Rows of the prompts table.
        covered: Block of prompts -> how many samples of each it has.
        num_samples: How many each prompt shall have.
    """
    parts = []
    for block, start in enumerate(range(0, count, EVAL_PROMPTS)):
        low = covered.get(block, 0)
        while low < num_samples:
            high = min(num_samples, (low // EVAL_SAMPLES + 1) * EVAL_SAMPLES)
            rows = range(start, min(start + EVAL_PROMPTS, count))
            parts.append(Part(f"part-{low:05d}-{high:05d}-{block:05d}", rows, low, high))
            low = high
    return sorted(parts, key=lambda part: part.name)


def covered_samples(names: Iterable[str]) -> dict[int, int]:
    """The inverse: from the names of the parts that are there, how many samples each block of prompts has."""
    covered: dict[int, int] = {}
    for name in sorted(names):
        held, block = sample_range(name), int(name.rpartition("-")[2])
        if held and held[0] == covered.get(block, 0):  # after a gap, nothing counts
            covered[block] = held[1]
    return covered


def rollout(
    prompts: pa.Table,
    parts: Sequence[Part],
    engine: Engine,
    sampling: Sampling,
    *,
    seed_parts: tuple[int | str, ...],
    group_prefix: str,
    policy_version: int,
) -> Iterator[tuple[Part, pa.Table]]:
    """Sample completions, a part at a time.

    A part depends only on the policy, the settings and its own prompts, so any part may be made first or again.

    Args:
        prompts: Table of `schemas.PROMPTS`.
        parts: Which to make, in this order.
        engine: The sampler, loaded with the policy.
        sampling: How to draw.
        seed_parts: What names the draw besides prompt and sample: (run seed, step) in training.
        group_prefix: Goes before the prompt_id in group_id.
        policy_version: Recorded in every row.

    Yields:
        The part and its table of `schemas.ROLLOUTS`; `notes` has what is recorded beside the rows.

    Raises:
        DataError: If the model's chat template refuses a prompt, or a prompt is empty.
    """
    for part in parts:
        chosen = prompts.take(list(part.rows)).select(["prompt_id", "messages"]).to_pylist()
        prompt_ids = [engine.encode(row["messages"]) for row in chosen]
        for row, ids in zip(chosen, prompt_ids, strict=True):
            if not ids:
                raise DataError(f"prompt {row['prompt_id']} is empty once tokenized")
        samples = range(part.first_sample, part.last_sample)
        seeds = [[stable_seed(*seed_parts, row["prompt_id"], sample) for sample in samples] for row in chosen]
        generations = engine.generate(prompt_ids, seeds, sampling)
        rows = [
            _row(engine, row["prompt_id"], group_prefix, sample, seed, ids, generation, policy_version)
            for row, ids, own_seeds, own in zip(chosen, prompt_ids, seeds, generations, strict=True)
            for sample, seed, generation in zip(samples, own_seeds, own, strict=True)
        ]
        yield part, _noted(pa.Table.from_pylist(rows, schema=ROLLOUTS.schema), engine, chosen, prompt_ids)


def notes(table: pa.Table) -> dict[str, str]:
    """What is known of a table of `rollout` beside its rows, for its lineage; nothing in most cases."""
    known = (table.schema.metadata or {}).get(_IN_THOUGHT.encode())
    return {_IN_THOUGHT: known.decode()} if known else {}


def prompts_in_thought(noted: Mapping[str, str]) -> frozenset[str]:
    """The ids of the prompts that end inside a thought, so that their completions begin in it.

    Args:
        noted: From `notes`, perhaps among other things.
    """
    return frozenset(json.loads(noted.get(_IN_THOUGHT, "[]")))


def _noted(
    table: pa.Table, engine: Engine, prompts: Sequence[Mapping[str, Any]], prompt_ids: Sequence[list[int]]
) -> pa.Table:
    """Only here are the tokens and the tokenizer at hand: `score` loads neither."""
    pairs = zip(prompts, prompt_ids, strict=True)
    found = [
        row["prompt_id"] for row, ids in pairs if opens_thought(engine.decode(ids), _last_content(row["messages"]))
    ]
    return table.replace_schema_metadata({_IN_THOUGHT: json.dumps(found)}) if found else table


def _last_content(messages: Sequence[Mapping[str, str]]) -> str | None:
    """The last message that is not the model's own; None where the prompt is plain text."""
    return None if messages[0]["role"] == TEXT_ROLE else last_content(messages)


def _row(
    engine: Engine,
    prompt_id: str,
    group_prefix: str,
    sample: int,
    seed: int,
    prompt_ids: list[int],
    generation: Generation,
    policy_version: int,
) -> dict[str, object]:
    return {
        "group_id": f"{group_prefix}{prompt_id}",
        "sample_index": sample,
        "prompt_id": prompt_id,
        "policy_version": policy_version,
        "seed": seed,
        "prompt_ids": prompt_ids,
        "completion": _storable(engine.decode(generation.token_ids)),
        "completion_ids": generation.token_ids,
        "sampling_logprobs": generation.logprobs,
        "finish_reason": generation.finish_reason,
        "weight_versions": generation.weight_versions,
    }


def _storable(text: str) -> str:
    """The text with lone surrogates, which no UTF-8 and so no Arrow string can hold, as replacement characters."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
