"""The trainer inside TRL: real rollouts, real steps."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("trl")

from accelerate import Accelerator
from transformers import HfArgumentParser
from trl import GRPOConfig, GRPOTrainer

from rsgrpo_cli.core.advantages import rloo, rs_grpo
from rsgrpo_cli.core.passk_advantages import pkpo
from rsgrpo_cli.core.risk import advantage_rms
from rsgrpo_cli.integrations.trl import RSGRPOConfig, RSGRPOTrainer, group_advantages
from tests.integrations.trl.conftest import BATCH, GROUP, MakeTrainer, countdown

pytestmark = pytest.mark.trl


class Watched(RSGRPOTrainer):
    """Remembers what went into the loss."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.given: list[torch.Tensor] = []
        self.used: list[torch.Tensor] = []
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        self.given.append(output["advantages"].clone())
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self.used.append(inputs["advantages"].clone())
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss


class Recorder:
    """A reward function that remembers what it said."""

    __name__ = "recorder"

    def __init__(self, drop: int = 0) -> None:
        self.said: list[list[float | None]] = []
        self.drop = drop

    def __call__(self, **kwargs: Any) -> list[float | None]:
        rewards = countdown(**kwargs)
        if self.drop:
            rewards = [None if index % self.drop == 0 else reward for index, reward in enumerate(rewards)]
        self.said.append(rewards)
        return rewards


def trained(trainer: Any) -> Any:
    """Seeds are set when a trainer is made, so it must be trained before the next one is made."""
    trainer.train()
    return trainer


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


def test_the_advantages_it_uses_are_ours(make_trainer: MakeTrainer) -> None:
    reward = Recorder()
    trainer = make_trainer(Watched, RSGRPOConfig, reward, rs_beta=4.0)
    before = weights(trainer)
    trainer.train()
    assert len(trainer.given) == len(trainer.used) == len(reward.said) == 3
    for said, given, used in zip(reward.said, trainer.given, trainer.used, strict=True):
        expected = rs_grpo(np.array(said).reshape(-1, GROUP), beta=4.0).reshape(-1)
        assert torch.equal(given, torch.from_numpy(expected).float())
        # TRL shuffles the completions of a rollout before it splits them into batches.
        assert torch.equal(used.sort().values, given.sort().values)
        assert float(given.abs().max()) > 0
    assert not torch.equal(weights(trainer), before)


def test_what_it_logs_are_the_advantages_it_used(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(Watched, RSGRPOConfig, rs_beta=4.0)
    trainer.train()
    assert list(trainer._logs["advantages"]) == trainer.given[-1].tolist()
    assert len(trainer._logs["prompt"]) == BATCH
    logged = [entry["advantage_rms"] for entry in trainer.state.log_history if "advantage_rms" in entry]
    assert logged == pytest.approx([advantage_rms(given.numpy()) for given in trainer.given])


def test_at_beta_0_it_is_stock_grpo_without_scaling(make_trainer: MakeTrainer) -> None:
    ours = trained(make_trainer(RSGRPOTrainer, RSGRPOConfig, rs_beta=0.0))
    stock = trained(make_trainer(GRPOTrainer, GRPOConfig, scale_rewards="none"))
    risky = trained(make_trainer(RSGRPOTrainer, RSGRPOConfig, rs_beta=4.0))
    # Bit for bit: with rewards of 0 and 1 in groups of 4, r - mean is exact in float32 as well.
    assert torch.equal(weights(ours), weights(stock))
    assert not torch.allclose(weights(risky), weights(stock))


def test_grpo_is_stock_grpo(make_trainer: MakeTrainer) -> None:
    # TRL adds 1e-4 to the standard deviation; it computes in float32, we in float64.
    settings = {"estimator": "grpo", "estimator_kwargs": {"eps": 1e-4}}
    ours = trained(make_trainer(RSGRPOTrainer, RSGRPOConfig, max_steps=1, **settings))
    stock = trained(make_trainer(GRPOTrainer, GRPOConfig, max_steps=1))
    theirs = np.array(stock._logs["advantages"])
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(ours._logs["advantages"], theirs, rtol=1e-5, atol=1e-6)


def test_completions_without_a_reward_are_left_out(make_trainer: MakeTrainer) -> None:
    reward = Recorder(drop=4)  # the first of each group of four
    trainer = make_trainer(Watched, RSGRPOConfig, reward, max_steps=1, rs_beta=2.0)
    trainer.train()
    rewards = np.array(reward.said[0], dtype=float).reshape(-1, GROUP)
    given = trainer.given[0].reshape(-1, GROUP)
    assert np.isnan(rewards[:, 0]).all()
    assert (given[:, 0] == 0).all()
    assert torch.equal(given[:, 1:], torch.from_numpy(rs_grpo(rewards[:, 1:], beta=2.0)).float())
    assert float(given.abs().max()) > 0


def test_several_reward_functions_are_added_with_their_weights(make_trainer: MakeTrainer) -> None:
    first, second = Recorder(), Recorder(drop=2)
    trainer = make_trainer(Watched, RSGRPOConfig, [first, second], max_steps=1, rs_beta=2.0, reward_weights=[1.0, 0.5])
    trainer.train()
    # What one function leaves out has the other's reward: 1.5 or 0 at odd places, 1 or 0 at even ones.
    right = np.array(first.said[0])
    rewards = right + 0.5 * right * (np.arange(BATCH) % 2)
    expected = rs_grpo(rewards.reshape(-1, GROUP), beta=2.0).reshape(-1)
    assert torch.equal(trainer.given[0], torch.from_numpy(expected).float())


def test_evaluation_has_groups_of_its_own_size(make_trainer: MakeTrainer) -> None:
    reward = Recorder()
    trainer = make_trainer(Watched, RSGRPOConfig, reward, rs_beta=2.0, num_generations_eval=8)
    metrics = trainer.evaluate()
    for said, given in zip(reward.said, trainer.given, strict=True):
        expected = rs_grpo(np.array(said).reshape(-1, 8), beta=2.0).reshape(-1)
        assert torch.equal(given, torch.from_numpy(expected).float())
    assert metrics["eval_advantage_rms"] > 0


def test_a_group_may_span_processes(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    # As the second of two processes with six completions each sees it: the second of three groups is split.
    trainer = make_trainer(RSGRPOTrainer, RSGRPOConfig, rs_beta=2.0)
    trainer.model.train()
    rewards = np.array([1.0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 1])
    gathered = torch.from_numpy(rewards).float()[:, None]
    monkeypatch.setattr(GRPOTrainer, "_calculate_rewards", lambda *_: gathered)
    monkeypatch.setattr(Accelerator, "process_index", 1)
    output = trainer._generate_and_score_completions([trainer.train_dataset[row] for row in range(6)])
    expected = rs_grpo(rewards.reshape(3, GROUP), beta=2.0).reshape(-1)
    assert torch.equal(output["advantages"], torch.from_numpy(expected[6:]).float())
    np.testing.assert_allclose(trainer._logs["advantages"], expected, rtol=1e-6)


def test_groups_with_missing_rewards() -> None:
    nan = np.nan
    rewards = np.array([1, 0, 0, nan, nan, nan, 1, nan, nan, nan, nan, nan])
    # Leave-one-out: 1 against the mean of 0 and 0, 0 against that of 1 and 0, twice. One reward alone has nothing to be
    # compared with, and the last group has none.
    expected = [1, -0.5, -0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(group_advantages(rewards, 4, rloo), expected)


def test_settings_from_the_command_line() -> None:
    parsed = HfArgumentParser(RSGRPOConfig).parse_args_into_dataclasses(
        [*["--output_dir", "out", "--bf16", "False", "--estimator", "pkpo", "--estimator_kwargs"], '{"k": 4}']
    )
    rewards = np.array([1.0, 0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(parsed[0].advantages(rewards, 8), pkpo(rewards, k=4))


def test_advantages_can_be_rescaled() -> None:
    rewards = np.array([1.0, 0, 0, 0])
    given = {
        scale: RSGRPOConfig("out", bf16=False, use_cpu=True, rs_beta=4.0, advantage_scale=scale).advantages(rewards, 4)
        for scale in ("none", "rms", "beta")
    }
    np.testing.assert_array_equal(given["none"], rs_grpo(rewards, beta=4.0))
    np.testing.assert_allclose(given["beta"], 4 * given["none"])
    assert advantage_rms(given["rms"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "grop"}, "unknown estimator 'grop'"),
        ({"estimator": "grpo", "rs_beta": 2.0}, "beta is not a setting of grpo"),
        ({"rs_beta": 2.0, "estimator_kwargs": {"beta": 2.0}}, "beta is given twice"),
        ({"rs_beta": float("nan")}, "beta"),
        ({"estimator": "chen_passk", "estimator_kwargs": {"k": 9}}, "9"),
        ({"estimator": "chen_passk", "estimator_kwargs": "k=4"}, "must be a mapping"),
        ({"estimator": "rloo", "advantage_scale": "beta"}, "other estimators can use 'rms'"),
        ({"scale_rewards": "group"}, "the estimator decides the scale"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "one reward a completion"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RSGRPOConfig("out", bf16=False, use_cpu=True, **settings)


def test_stock_settings_are_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(TypeError, match="takes an RSGRPOConfig"):
        make_trainer(RSGRPOTrainer, GRPOConfig)


def test_a_trl_that_goes_another_way_is_noticed(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", lambda *_: {"advantages": torch.zeros(BATCH)})
    with pytest.raises(RuntimeError, match=r"docs/trl\.md"):
        make_trainer(RSGRPOTrainer, RSGRPOConfig).train()


def test_the_example_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "trl.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example, "docs/trl.md", "exec"), names)
    assert names["trainer"].state.global_step == 3


def test_the_page_names_the_tested_version() -> None:
    page = (Path(__file__).parents[3] / "docs" / "trl.md").read_text()
    assert f"TRL {version('trl')}," in page
