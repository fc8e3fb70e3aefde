"""A whole train step (rollout, score, advantage, update) against that of TRL's GRPOTrainer, on the CPU.

Both train the bundled model in float32 on the same prompts, 32 a step x 16 completions of up to 20 tokens, with the
same reward function and the same loss: mean-centred advantages, clipped at 0.2 and 0.28, averaged over tokens, one
AdamW step a rollout. Ours is the pipeline's step with all its artifacts and a checkpoint every ten steps. TRL's has
what makes it faster here: no gradient checkpointing, no reference model, no checkpoints, no tracker. Each has
micro-batches of a size that suits it: of 32 to 512 completions, 64 were the fastest for TRL.

They take turns, step by step in one process: ours runs where TRL calls back at the end of its step. So a machine that
speeds up or slows down does so for both. Needs TRL: pip install 'rsgrpo[trl]'.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import median, show
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from rsgrpo_cli.config import RunConfig, resolve
from rsgrpo_cli.console import Output
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.pipeline.preparation import prepare
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stopping import StopSignal
from rsgrpo_cli.pipeline.training import Training
from rsgrpo_cli.rewards.countdown import CountdownReward
from rsgrpo_cli.rewards.types import Sample
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.stages.rollout import draw_order
from rsgrpo_cli.tasks.sources import load_source

WARM_UP, TARGET = 2, 2.0


class Turns(TrainerCallback):  # type: ignore[misc]
    """Runs our step after each of TRL's, and times both."""

    def __init__(self, ours: Callable[[int], object]) -> None:
        self.ours = ours
        self.seconds: list[tuple[float, float]] = []

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_step_end(self, _: object, state: Any, *__: object, **___: object) -> None:
        """TRL's step lies between the last of ours and now: its data loading and logging are part of it."""
        theirs = time.perf_counter() - self.started
        started = time.perf_counter()
        self.ours(state.global_step - 1)
        self.started = time.perf_counter()
        self.seconds.append((self.started - started, theirs))


def countdown(completions: list[Any], ground_truth: list[str], **_: object) -> list[float | None]:
    """Our verifier as a TRL reward function."""
    samples = [Sample(chat[0]["content"], answer) for chat, answer in zip(completions, ground_truth, strict=True)]
    return [verdict.reward for verdict in CountdownReward()(samples)]


def prompts(config: RunConfig) -> Dataset:
    """Those of all our steps, in the order in which we take them."""
    problems, size = load_source("toy", "train").problems, config.rollout.prompts_per_step
    rows = [
        row
        for step in range(config.train.steps)
        for row in sorted(draw_order(len(problems), seed=config.seed, step=step, prompts_per_step=size)[:size])
    ]
    chats = [[{"role": "user", "content": problems[row].text}] for row in rows]
    return Dataset.from_dict({"prompt": chats, "ground_truth": [problems[row].answer for row in rows]})


def trl_trainer(config: RunConfig, folder: Path, options: argparse.Namespace, callback: TrainerCallback) -> GRPOTrainer:
    """TRL's side, with our settings."""
    rollout, update = config.rollout, config.update
    completions, micro_batch = rollout.prompts_per_step * rollout.group_size, options.trl_micro_batch
    args = GRPOConfig(
        str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=options.trl_gradient_checkpointing,
        max_steps=config.train.steps,
        per_device_train_batch_size=min(micro_batch, completions),
        gradient_accumulation_steps=max(1, completions // micro_batch),
        num_generations=rollout.group_size,
        max_completion_length=rollout.max_tokens,
        temperature=rollout.temperature,
        learning_rate=update.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=update.max_grad_norm,
        epsilon=update.clip_low,
        epsilon_high=update.clip_high,
        loss_type="dapo",
        scale_rewards="none",
        shuffle_dataset=False,
        logging_steps=config.train.steps,
        save_strategy="no",
        disable_tqdm=True,
    )
    model = str(model_directory("toy"))
    return GRPOTrainer(model, countdown, args, train_dataset=prompts(config), callbacks=[callback])


def in_turns(config: RunConfig, folder: Path, options: argparse.Namespace) -> tuple[list[tuple[float, float]], str]:
    """Seconds of each step, ours and theirs, and what both say about their rollouts, which should be alike."""
    run = RunDir.create(folder / "ours", config)
    rows: list[dict[str, Any]] = []
    with run.lock(print), Session(run, config, Output(quiet=True), StopSignal(), trust=False) as session:
        prepare(session, config.prepare)
        training = Training(session)
        turns = Turns(lambda step: rows.append(training.step(step)))
        trainer = trl_trainer(config, folder / "theirs", options, turns)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    ours = [float(np.mean([row[name] for row in rows])) for name in ("completion_length_mean", "reward_mean")]
    theirs = [trainer.state.log_history[0][name] for name in ("completions/mean_length", "reward")]
    alike = "; ".join(
        f"{name} {length:.1f} tokens, reward {reward:.2f}"
        for name, (length, reward) in (("ours", ours), ("TRL's", theirs))
    )
    return turns.seconds[WARM_UP:], f"mean completion and reward: {alike}"


def parse_options() -> argparse.Namespace:
    """Settings, for trying it out; the defaults are those that are reported."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=22, help=f"the first {WARM_UP} are not counted")
    parser.add_argument("--prompts", type=int, default=32, help="a step")
    parser.add_argument("--group-size", type=int, default=16)
    parser.add_argument("--micro-batch-tokens", type=int, default=4096, help="of one forward pass in our update")
    parser.add_argument("--trl-micro-batch", type=int, default=64, help="completions of one forward pass in TRL")
    parser.add_argument("--trl-gradient-checkpointing", action="store_true", help="as TRL has it by default")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_options()
    logging.disable_progress_bar()
    config = resolve(
        {
            "train.steps": args.steps,
            "rollout.prompts_per_step": args.prompts,
            "rollout.group_size": args.group_size,
            "advantage.estimator": "dr_grpo",
            "update.micro_batch_tokens": args.micro_batch_tokens,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        pairs, alike = in_turns(config, Path(folder), args)
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    ratios = [their / our for our, their in pairs]
    rows = [
        ["rsgrpo, with its artifacts", *(f"{value:.3f} s" for value in (median(ours), min(ours), max(ours))), ""],
        [f"TRL {version('trl')}", *(f"{value:.3f} s" for value in (median(theirs), min(theirs), max(theirs))), ""],
        ["faster by", *(f"{value:.2f} x" for value in (median(ratios), min(ratios), max(ratios))), f"{TARGET:g} x"],
    ]
    title = f"A train step, {args.prompts} prompts x {args.group_size} completions, {torch.get_num_threads()} threads"
    show(title, ["", "median", "min", "max", "target"], rows)
    print(f"{len(pairs)} steps, together {sum(theirs) / sum(ours):.2f} x; {alike}")


if __name__ == "__main__":
    main()
