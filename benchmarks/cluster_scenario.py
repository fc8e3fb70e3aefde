"""Steps of language models on 1 to 1,024 GPUs: what cluster_simulation.py tells of, with the formulas of `plan`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from cluster_model import Outcome, Site, simulate

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.config import RunConfig, resolve
from rsgrpo_cli.planning import step_time
from rsgrpo_cli.planning.footprint import Decoder, Precision
from rsgrpo_cli.planning.machine import Machine
from rsgrpo_cli.planning.ranks import rank_facts, rank_footprint
from rsgrpo_cli.planning.scaled_step import Layout, StepTime, Work, step_of
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import part_files
from rsgrpo_cli.schemas import ROLLOUTS
from rsgrpo_cli.stages.rollout import PART_COMPLETIONS

MODELS = {  # as published; with GPUs per sampler
    "1.5B": (Decoder(1543714304, 1543569408, 1154048, 28, 1536, 12, 2, 128, 8960, 151936, True), 1),
    "7B": (Decoder(7615616512, 7070285824, 2523136, 28, 3584, 28, 4, 128, 18944, 152064, False), 1),
    "32B": (Decoder(32763876352, 31984189440, 8388608, 64, 5120, 40, 8, 128, 27648, 152064, False), 2),
    "70B": (Decoder(70553706496, 69501714432, 12943360, 80, 8192, 64, 8, 128, 28672, 128256, False), 4),
}
GROUP, PROMPT_TOKENS, MAX_TOKENS, MEDIAN = 16, 256, 4096, 1000
OF_PROMPTS, OF_COMPLETIONS = 0.5, 0.6
"""Standard deviations of the logarithm of a length: between prompts, and within a group."""
MICRO_BATCH = 16384
LORA = Precision(bfloat16=True, lora_rank=32)
FULL = Precision(bfloat16=True)
Draw = Callable[[int], np.ndarray]
"""A number of prompts -> lengths of their completions, shape (prompts, GROUP)."""


# -- lengths ----------------------------------------------------------------------------------------------------------


def assumed_lengths(prompts: int) -> np.ndarray:
    """Lognormal, hard prompts longer than easy ones, cut at MAX_TOKENS."""
    rng = np.random.default_rng(prompts)
    spread = OF_PROMPTS * rng.normal(size=(prompts, 1)) + OF_COMPLETIONS * rng.normal(size=(prompts, GROUP))
    return np.clip(MEDIAN * np.exp(spread), 1, MAX_TOKENS).astype(np.int64)


def run_lengths(run: Path) -> Draw:
    """Prompts drawn from those of a run's steps, each with its completions' lengths, stretched to the assumed mean."""
    groups: list[np.ndarray] = []
    for step in sorted((run / "steps").glob("[0-9]*")):
        for part in part_files(RunDir(run).rollouts(int(step.name))):
            table = read_table(part, ROLLOUTS, ["group_id", "completion_ids"])
            lengths = pc.list_value_length(table["completion_ids"]).to_numpy()
            _, starts = np.unique(np.asarray(table["group_id"].to_pylist()), return_index=True)
            groups += np.split(lengths, sorted(starts)[1:])
    if not groups:
        sys.exit(f"no rollouts in {run}")
    stretch = assumed_lengths(2048).mean() / np.concatenate(groups).mean()

    def draw(prompts: int) -> np.ndarray:
        rng = np.random.default_rng(prompts)
        chosen = [rng.choice(groups[number], GROUP) for number in rng.integers(len(groups), size=prompts)]
        lengths: np.ndarray = np.ceil(stretch * np.stack(chosen)).astype(np.int64)
        return lengths

    return draw


# -- a step -----------------------------------------------------------------------------------------------------------


def equal_parts(completions: int, part: int) -> list[int]:
    """Completions of each part, the last one with what is left."""
    return [min(part, completions - at * part) for at in range(ceil(completions / part))]


class Simulation:
    """Steps of models of several sizes on several numbers of GPUs.

    Args:
        machine: As assumed.
        draw: Lengths of completions.
    """

    def __init__(self, machine: Machine, draw: Draw) -> None:
        self.machine = machine
        self.lengths = cache(draw)
        self.parts = cache(self._parts)

    def _parts(self, model: str, prompts: int, part: int = PART_COMPLETIONS) -> list[float]:
        """Seconds of each part of a step."""
        decoder, gpus = MODELS[model]
        lengths = self.lengths(prompts).reshape(-1)
        ends = np.cumsum(equal_parts(len(lengths), part))[:-1]
        how = {"prompt_tokens": PROMPT_TOKENS, "group_size": GROUP, "gpus": gpus}
        return [step_time.part_seconds(decoder, self.machine, own, **how) for own in np.split(lengths, ends)]

    def site(self, model: str, gpus: int) -> Site:
        """The samplers that some GPUs make, without failures."""
        machine = self.machine
        return Site(
            gpus // MODELS[model][1],
            restart=machine.start,
            command=machine.part_seconds,
            operations=machine.part_operations,
            operation=1 / machine.file_operations,
        )

    def sampling(self, model: str, prompts: int, gpus: int, part: int = PART_COMPLETIONS, **other: Any) -> Outcome:
        """The parts of a step made.

        Args:
            model: Of MODELS.
            prompts: Of the step.
            gpus: That there are; enough for a sampler.
            part: Completions of a part.
            other: What is other in the site.
        """
        return simulate(self.parts(model, prompts, part), replace(self.site(model, gpus), **other))

    def drained(self, model: str, prompts: int, part: int) -> float:
        """Share of a sampler's time that is lost because it finishes a part before it begins the next."""
        decoder, gpus = MODELS[model]
        how = {"prompt_tokens": PROMPT_TOKENS, "group_size": GROUP, "gpus": gpus}
        at_a_stretch = step_time.part_seconds(decoder, self.machine, self.lengths(prompts).reshape(-1), **how)
        return 1 - at_a_stretch / sum(self.parts(model, prompts, part))

    def fits(self, model: str, gpus: int, precision: Precision) -> bool:
        """Whether there is a sampler, and the update fits its ranks."""
        least = fewest_ranks(model, self.machine.memory * 1e9) if precision == FULL else 1
        return gpus >= max(MODELS[model][1], least)

    def step(self, model: str, prompts: int, gpus: int, precision: Precision) -> StepTime:
        """A whole step, on GPUs that it `fits`."""
        made, (decoder, each) = self.sampling(model, prompts, gpus), MODELS[model]
        mean = float(self.lengths(prompts).mean())
        micro_batches = -(-prompts * GROUP // max(1, int(MICRO_BATCH // (PROMPT_TOKENS + mean))))
        facts = rank_facts(_config(gpus), decoder, precision, micro_batches=micro_batches)
        parts = equal_parts(prompts * GROUP, PART_COMPLETIONS)
        work = Work(parts, GROUP, PROMPT_TOKENS, mean, True, facts["network_bytes"] if gpus > 1 else 0)
        layout = Layout(gpus, gpus // each, each)
        longest = max(self.parts(model, prompts))
        return step_of(decoder, precision, self.machine, work, layout, longest_part=longest, sampling=made.end)


def _config(ranks: int) -> RunConfig:
    return resolve({"update.ranks": ranks, "update.gradient_checkpointing": True, "update.gradient_sync": "each"})


@cache
def fewest_ranks(model: str, machine_bytes: float) -> int:
    """GPUs of a size over which an update of all weights fits; powers of 2. 2,048 stands for more."""
    decoder = MODELS[model][0]
    ranks = 1
    while ranks < 2048:
        needs = rank_footprint(_config(ranks), decoder, FULL, tokens=MICRO_BATCH, head_tokens=1024).total
        if needs < 0.95 * machine_bytes:
            return ranks
        ranks *= 2
    return ranks
