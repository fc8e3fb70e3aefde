"""What many GPUs do to a step: the part queue simulated for 1 to 1,024 GPUs, and the same model against real runs.

    python benchmarks/cluster_simulation.py                  the tables of docs/scaling.md; nothing is run
    python benchmarks/cluster_simulation.py --run runs/mine  with the lengths of a run's completions
    python benchmarks/cluster_simulation.py --measure        rollouts with 1, 2 and 3 workers on this machine, and what
                                                             the model says of them; it must be right within 15%

Nothing in the tables was measured on a GPU. The first one has every number that was assumed, and where it is from;
`--assume NAME=VALUE` replaces one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from cluster_measured import measured_rows
from cluster_model import Outcome, Site, simulate
from common import show

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.config import resolve
from rsgrpo_cli.console import size
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.planning import scaled_step, step_time
from rsgrpo_cli.planning.footprint import BFLOAT16, Decoder, Precision
from rsgrpo_cli.planning.machine import Machine, assume
from rsgrpo_cli.planning.ranks import rank_facts, rank_footprint
from rsgrpo_cli.planning.scaled_step import Layout, StepTime, Work, equal_parts, step_of
from rsgrpo_cli.run_dir import RunDir
from rsgrpo_cli.schemas import ROLLOUTS
from rsgrpo_cli.stages.rollout import PART_COMPLETIONS
from rsgrpo_cli.step_dir import part_files

MODELS = {  # as published; with GPUs per sampler
    "1.5B": (Decoder(1543714304, 1543569408, 1154048, 28, 1536, 12, 2, 128, 8960, 151936, True), 1),
    "7B": (Decoder(7615616512, 7070285824, 2523136, 28, 3584, 28, 4, 128, 18944, 152064, False), 1),
    "32B": (Decoder(32763876352, 31984189440, 8388608, 64, 5120, 40, 8, 128, 27648, 152064, False), 2),
    "70B": (Decoder(70553706496, 69501714432, 12943360, 80, 8192, 64, 8, 128, 28672, 128256, False), 4),
}
GPUS, PROMPTS, PARTS = (1, 8, 64, 256, 1024), (512, 2048, 8192), (64, 128, 256, 512, 1024, 2048)
GROUP, PROMPT_TOKENS, MAX_TOKENS, MEDIAN = 16, 256, 4096, 1000
OF_PROMPTS, OF_COMPLETIONS = 0.5, 0.6
"""Standard deviations of the logarithm of a length: between prompts, and within a group."""
MICRO_BATCH = 16384
LORA = Precision(bfloat16=True, lora_rank=32)
FULL = Precision(bfloat16=True)
WITHIN = 0.15
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
        return np.ceil(stretch * np.stack(chosen)).astype(np.int64)

    return draw


# -- a step -----------------------------------------------------------------------------------------------------------


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

    def sampling(
        self, model: str, prompts: int, gpus: int, *, part: int = PART_COMPLETIONS, static: bool = False, fail: bool = False
    ) -> Outcome | None:
        """The parts of a step made; None where one sampler needs more GPUs than there are."""
        each, machine = MODELS[model][1], self.machine
        if gpus < each:
            return None
        site = Site(
            gpus // each,
            restart=machine.start,
            command=machine.part_seconds,
            operations=machine.part_operations,
            operation=1 / machine.file_operations,
            failures=machine.failure_hours * 3600 / each if fail else float("inf"),
            static=static,
        )
        return simulate(self.parts(model, prompts, part), site)

    def step(self, model: str, prompts: int, gpus: int, precision: Precision) -> StepTime | None:
        """A whole step; None where one sampler needs more GPUs than there are."""
        made, (decoder, each) = self.sampling(model, prompts, gpus), MODELS[model]
        if made is None:
            return None
        mean = float(self.lengths(prompts).mean())
        micro_batches = -(-prompts * GROUP // max(1, int(MICRO_BATCH // (PROMPT_TOKENS + mean))))
        facts = rank_facts(_config(gpus), decoder, precision, micro_batches=micro_batches)
        parts = equal_parts(prompts * GROUP, PART_COMPLETIONS)
        work = Work(parts, GROUP, PROMPT_TOKENS, mean, True, facts["network_bytes"] if gpus > 1 else 0)
        layout, longest = Layout(gpus, gpus // each, each), max(self.parts(model, prompts))
        # What the command does with parts is in the simulated time already.
        machine = self.machine
        return step_of(decoder, precision, machine, work, layout, longest_part=longest, sampling=made.end)


def _config(ranks: int):  # noqa: ANN202
    return resolve({"update.ranks": ranks, "update.gradient_checkpointing": True, "update.gradient_sync": "each"})


def fewest_ranks(model: str, machine: Machine) -> str:
    """GPUs over which an update of all weights fits."""
    decoder = MODELS[model][0]
    for ranks in (2**power for power in range(11)):
        needs = rank_footprint(_config(ranks), decoder, FULL, tokens=MICRO_BATCH, head_tokens=1024).total
        if needs < 0.95 * machine.memory * 1e9:
            return f"{ranks}"
    return "none"
