"""Our prompts in verl's dataset, our verifier behind verl's reward manager."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rsgrpo_cli.models import model_directory
from rsgrpo_cli.tasks.sources import load_source
from tests.conftest import Cli
from tests.integrations.verl.conftest import Compose

# verl and Ray warn of their own affairs.
pytestmark = [pytest.mark.verl, pytest.mark.filterwarnings("ignore")]

REWARD = "reward.custom_reward_function.path=pkg://rsgrpo_cli.integrations.verl_reward"


@pytest.fixture
def tokenizer() -> Any:
    from verl.utils import hf_tokenizer

    return hf_tokenizer(str(model_directory("toy")))


@pytest.fixture
def dataset(cli: Cli, compose: Compose, tokenizer: Any, tmp_path: Path) -> Any:
    """What verl's trainer makes of `rsgrpo prepare`."""
    from verl.trainer.ppo.utils import create_rl_dataset

    assert cli("prepare", "--run", "runs/x").code == 0
    prompts = str(tmp_path / "runs/x/prompts.parquet")
    config = compose(f"data.train_files={prompts}", "data.filter_overlong_prompts=True", "data.max_prompt_length=64")
    with config_unlocked(config):
        config.data.cache_dir = str(tmp_path / "cache")
    return create_rl_dataset(config.data.train_files, config.data, tokenizer, None)


def config_unlocked(config: Any) -> Any:
    from omegaconf import open_dict

    return open_dict(config)


def test_prompts_load_in_verls_dataset(dataset: Any, tokenizer: Any) -> None:
    from torch.utils.data import DataLoader
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    problems = load_source("toy", "train").problems
    assert type(dataset) is RLHFDataset
    assert len(dataset) == len(problems)
    first = dataset[0]
    assert first["raw_prompt"] == [{"role": "user", "content": problems[0].text}]
    assert first["reward_model"] == {"ground_truth": problems[0].answer, "style": "rule"}
    assert (first["index"], first["data_source"]) == (0, "toy")
    text = tokenizer.apply_chat_template(first["raw_prompt"], add_generation_prompt=True, tokenize=False)
    assert problems[0].text in text
    (rows, *_) = DataLoader(dataset, batch_size=4, collate_fn=collate_fn)
    assert [row["prompt_id"] for row in rows["extra_info"]] == [f"toy-train-{index:06d}" for index in range(4)]


def test_verls_reward_manager_scores_several_at_once_with_our_verifier(
    compose: Compose, tokenizer: Any, dataset: Any
) -> None:
    from verl.trainer.ppo.reward import load_reward_manager

    config = compose(REWARD, "+reward.custom_reward_function.reward_kwargs.workers=1")
    manager = load_reward_manager(config, tokenizer)
    puzzle = {**dataset[0], "reward_model": {"ground_truth": "3 5 7 4 -> 24", "style": "rule"}}
    sum_ = {**dataset[0], "reward_model": {"ground_truth": "12", "style": "rule"}}
    cases = [
        (puzzle, r"\boxed{(3+5)*(7-4)}", 1.0, "ok"),
        (puzzle, r"\boxed{3+5+7+4}", 0.0, "wrong"),
        (sum_, r"\boxed{3*4}", 1.0, "ok"),
        (sum_, "12", 0.0, "no_box"),
    ]

    async def all_of_them() -> list[dict[str, Any]]:
        # As verl's reward worker has them: all under way together, each in a thread of the loop's executor.
        found: list[dict[str, Any]] = await asyncio.gather(
            *(manager.run_single(completion(row, text, tokenizer)) for row, text, *_ in cases)
        )
        return found

    found = manager.loop.run_until_complete(all_of_them())
    judged = [(one["reward_score"], one["reward_extra_info"]["status"]) for one in found]
    assert judged == [(reward, status) for *_, reward, status in cases]


def completion(row: dict[str, Any], text: str, tokenizer: Any) -> Any:
    """One completion as the agent loop hands it to the reward manager."""
    from verl import DataProto

    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == text
    names = ("data_source", "reward_model", "extra_info")
    return DataProto.from_dict(
        tensors={"responses": ids, "attention_mask": torch.ones(1, ids.shape[1] + 3, dtype=torch.int64)},
        non_tensors={name: np.array([row[name]], dtype=object) for name in names},
    )
