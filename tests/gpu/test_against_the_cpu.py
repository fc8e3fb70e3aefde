"""The sampler and the update on the GPU against the same on the CPU."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rsgrpo_cli.config import ModelConfig, UpdateConfig
from rsgrpo_cli.engines import hf
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Generation, Sampling
from rsgrpo_cli.models import load_model, model_directory
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.policy import Policy
from tests.engines.test_hf import encode
from tests.logprobs import completion_logprobs
from tests.policy.conftest import OpenPolicy, weights
from tests.policy.test_optimize import step

pytestmark = pytest.mark.gpu
CFG = UpdateConfig(learning_rate=1e-3)
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "KL": {"kl_coef": 0.1},
    "entropy bonus": {"entropy_coef": 0.1},
    "small micro-batches": {"micro_batch_tokens": 32},
}
"""Settings of the update; the reference copy for the KL penalty is opened with the policy."""


def moments(policy: Policy) -> list[torch.Tensor]:
    """Those of the optimizer, in the order of the weights."""
    assert policy.optimizer is not None
    states = [policy.optimizer.state[weight] for weight in policy.trained().values()]
    return [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]


@pytest.mark.parametrize("changes", CHANGES)
def test_an_update_is_that_of_the_cpu(device: str, open_toy: OpenPolicy, experience: Experience, changes: str) -> None:
    cfg = CFG.model_copy(update=CHANGES[changes])
    learned = replace(experience, has_penalty=cfg.kl_coef > 0 or cfg.entropy_coef > 0)
    there, here = (open_toy(model__device=name, update__kl_coef=cfg.kl_coef) for name in (device, "cpu"))
    assert {tensor.device.type for tensor in there.trained().values()} == {device}
    said = [np.concatenate(completion_logprobs(policy, learned, cfg)) for policy in (there, here)]
    np.testing.assert_allclose(said[0], said[1], rtol=0, atol=1e-4)
    (own, told), (expected, told_here) = (step(policy, learned, cfg) for policy in (there, here))
    torch.testing.assert_close(own.cpu(), expected, rtol=1e-4, atol=1e-6)
    assert told.loss == pytest.approx(told_here.loss, abs=1e-5)
    assert told.grad_norm == pytest.approx(told_here.grad_norm, rel=1e-4)
    # AdamW divides a gradient by its own size: where it is nearly zero, its last bit decides the direction.
    sure = expected.abs() > 1e-4
    assert float(sure.float().mean()) > 0.5
    torch.testing.assert_close(weights(there).cpu()[sure], weights(here)[sure], rtol=1e-4, atol=1e-5)
    assert {moment.device.type for moment in moments(there)} == {device}


@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
def test_in_float64_an_update_is_that_of_the_cpu_to_nine_digits(
    device: str, open_toy: OpenPolicy, experience: Experience, rank: int
) -> None:
    there, here = (
        open_toy(model__device=name, model__dtype="float64", model__lora_rank=rank) for name in (device, "cpu")
    )
    (own, _), (expected, _) = (step(policy, experience, CFG) for policy in (there, here))
    torch.testing.assert_close(own.cpu(), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(weights(there).cpu(), weights(here), rtol=1e-9, atol=1e-9)


def test_the_adapter_starts_as_on_the_cpu(device: str, open_toy: OpenPolicy) -> None:
    there, here = (weights(open_toy(model__device=name, model__lora_rank=4)) for name in (device, "cpu"))
    assert torch.equal(there.cpu(), here)


@pytest.mark.parametrize("compact", [0.125, 0.01], ids=["as it is", "as each ends"])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_completions_are_those_of_the_cpu_in_float64(
    device: str, monkeypatch: pytest.MonkeyPatch, top_p: float, compact: float
) -> None:
    """Prompts of several lengths in one batch, the shorter ones padded; completions that end early leave it."""
    monkeypatch.setattr(hf, "COMPACT_SHARE", compact)
    seeds = [[*range(start, start + 16)] for start in (0, 100, 200)]
    drawn: list[list[Generation]] = []
    for name in (device, "cpu"):
        engine = HfEngine(
            load_model(model_directory("toy"), ModelConfig.model_validate({"dtype": "float64", "device": name}))
        )
        assert engine.pads
        prompts = encode(engine)
        made = engine.generate(prompts, seeds, Sampling(temperature=1.0, top_p=top_p, max_tokens=20))
        drawn.append([one for own in made for one in own])
    there, here = drawn
    assert len({len(prompt) for prompt in prompts}) > 1
    assert len({len(one.token_ids) for one in here}) > 1
    assert [one.token_ids for one in there] == [one.token_ids for one in here]
    assert [one.finish_reason for one in there] == [one.finish_reason for one in here]
    said = [np.concatenate([one.logprobs for one in own]) for own in drawn]
    np.testing.assert_allclose(said[0], said[1], rtol=1e-6, atol=1e-6)
