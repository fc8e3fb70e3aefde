"""The toy run, 60 steps of 32 prompts x 16 completions: how long it takes as a command, and what its artifacts cost.

The cost is measured against a bare loop: the same engine, verifier, estimator and optimizer step on the same prompts
and seeds, with nothing written, logged or checked. The two take turns, step by step in one process, so that a machine
that speeds up or slows down does so for both. Both do the same arithmetic: the weights they end with are compared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from common import show

from rsgrpo_cli.config import RsGrpoConfig, RunConfig, resolve
from rsgrpo_cli.console import Output
from rsgrpo_cli.core.advantages import rs_grpo
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.pipeline.preparation import prepare
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stopping import StopSignal
from rsgrpo_cli.pipeline.training import Training
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import optimizer_step
from rsgrpo_cli.rewards.countdown import CountdownReward
from rsgrpo_cli.rewards.types import Sample
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.seeding import stable_seed
from rsgrpo_cli.stages.rollout import draw_order
from rsgrpo_cli.tasks.sources import load_source

STEPS, LIMIT, OVERHEAD_LIMIT = 60, 180.0, 0.10


def command(folder: Path) -> float:
    """Seconds of the run as a process of its own, start-up included."""
    rsgrpo = Path(sys.executable).with_name("rsgrpo")
    started = time.perf_counter()
    train: list[str | Path] = [rsgrpo, "train", "--run", folder / "command", "--steps", str(STEPS)]
    subprocess.run(train, check=True, capture_output=True)
    return time.perf_counter() - started


class Bare:
    """A training loop with nothing around it."""

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.advantage, RsGrpoConfig)
        self.config, self.beta = config, config.advantage.beta
        self.policy = open_policy(config, model_directory("toy"), None, version=0, train=True)
        self.engine, self.reward = HfEngine(self.policy.lm), CountdownReward()
        self.problems = load_source("toy", "train").problems

    def step(self, step: int) -> None:
        """One step."""
        rollout, problems = self.config.rollout, self.problems
        order = draw_order(len(problems), seed=0, step=step, prompts_per_step=rollout.prompts_per_step)
        rows = sorted(order[: rollout.prompts_per_step])
        prompts = [self.engine.encode([{"role": "user", "content": str(problems[row].text)}]) for row in rows]
        names = [f"toy-train-{row:06d}" for row in rows]
        seeds = [[stable_seed(0, step, name, sample) for sample in range(rollout.group_size)] for name in names]
        sampling = Sampling(rollout.temperature, 1.0, rollout.max_tokens)
        groups = self.engine.generate(prompts, seeds, sampling)
        made = [
            (prompt, problems[row].answer, one)
            for prompt, row, own in zip(prompts, rows, groups, strict=True)
            for one in own
        ]
        verdicts = self.reward([Sample(self.engine.decode(one.token_ids), answer) for _, answer, one in made])
        rewards = np.array([verdict.reward for verdict in verdicts]).reshape(len(rows), -1)
        experience = Experience(
            [np.array(prompt) for prompt, _, _ in made],
            [np.array(one.token_ids) for _, _, one in made],
            [np.array(one.logprobs, np.float32) for _, _, one in made],
            rs_grpo(rewards, beta=self.beta).reshape(-1),
            np.repeat(np.arange(len(rows)), rollout.group_size),
            np.ones(len(made), dtype=bool),
            rollout.temperature,
            rollout.max_tokens,
            False,
        )
        optimizer_step(self.policy, experience, self.config.update)


def in_turns(config: RunConfig, folder: Path) -> tuple[list[float], list[float], bool]:
    """Seconds of each step through the pipeline and bare, and whether both end with the same weights."""
    run = RunDir.create(folder / "pipeline", config)
    seconds: tuple[list[float], list[float]] = ([], [])
    with run.lock(print), Session(run, config, Output(quiet=True), StopSignal(), trust=False) as session:
        prepare(session, config.prepare)
        bare = Bare(config)
        pair: tuple[Callable[[int], object], ...] = (Training(session).step, bare.step)
        for step in range(STEPS):
            for one, spent in zip(pair, seconds, strict=True):
                started = time.perf_counter()
                one(step)
                spent.append(time.perf_counter() - started)
        trained = session.policy(STEPS).trained()
    same = all(torch.equal(trained[name], weight) for name, weight in bare.policy.trained().items())
    return *seconds, same


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    config = resolve({"train.steps": STEPS})
    with tempfile.TemporaryDirectory() as name:
        whole = command(Path(name))
        piped, bare, same = in_turns(config, Path(name))
        rewards = pq.read_table(Path(name) / "command" / "metrics.parquet")["reward_mean"].to_pylist()
    overhead = sum(piped) / sum(bare) - 1  # of all steps: every tenth has a checkpoint
    rows = [
        [f"train, {STEPS} steps, as a process", f"{whole:.1f} s", f"{LIMIT:g} s", f"{whole / LIMIT:.0%}"],
        [f"{STEPS} steps through the pipeline", f"{sum(piped):.1f} s", "", ""],
        [f"{STEPS} steps of the bare loop", f"{sum(bare):.1f} s", "", ""],
        ["artifacts and bookkeeping", f"{overhead:.1%}", f"{OVERHEAD_LIMIT:.0%}", f"{overhead / OVERHEAD_LIMIT:.0%}"],
    ]
    show("The toy run", ["", "measured", "limit", "used"], rows)
    print(f"same weights bit for bit: {same}; reward {rewards[0]:.3f} -> {np.mean(rewards[-10:]):.3f} (last ten steps)")


if __name__ == "__main__":
    main()
