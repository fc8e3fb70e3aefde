"""TRL trainers of the bundled model on the bundled puzzles, small enough for a step in a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.models import model_directory
from rsgrpo_cli.rewards.countdown import CountdownReward
from rsgrpo_cli.rewards.types import Sample
from rsgrpo_cli.tasks.sources import load_source

GROUP, BATCH = 4, 32
MakeTrainer = Callable[..., Any]


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave these files alone where their marker is deselected: importing TRL takes seconds."""
    return True if "not trl" in config.option.markexpr else None


def countdown(completions: list[Any], ground_truth: list[str], **_: Any) -> list[float | None]:
    """Our verifier as a TRL reward function."""
    samples = [Sample(chat[0]["content"], answer) for chat, answer in zip(completions, ground_truth, strict=True)]
    return [verdict.reward for verdict in CountdownReward()(samples)]


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    """Makes a trainer of a class with a configuration of a class."""
    from datasets import Dataset

    problems = load_source("toy", "train").problems[:64]
    prompts = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": one.text}], "ground_truth": one.answer} for one in problems]
    )

    def make(trainer: type, config: type, reward: Any = countdown, **settings: Any) -> Any:
        args = {
            "output_dir": str(tmp_path / "trl"),
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "per_device_train_batch_size": BATCH,
            "per_device_eval_batch_size": BATCH,
            "num_generations": GROUP,
            "max_completion_length": 20,
            "max_steps": 3,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "disable_tqdm": True,
        }
        model = str(model_directory("toy"))
        return trainer(model, reward, config(**args | settings), train_dataset=prompts, eval_dataset=prompts)

    return make
