"""The estimate of an update's memory against what is measured: every tensor that is alive is counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen3Config

from rsgrpo_cli.config import RunConfig, resolve
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.models import LanguageModel, load_model, model_directory
from rsgrpo_cli.planning.decoder import Device, decoder_of, device_at_hand
from rsgrpo_cli.planning.footprint import (
    Precision,
    adapter_parameters,
    optimizer_footprint,
    rollout_footprint,
    trained_parameters,
    update_footprint,
)
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.logprobs import CHUNK_LOGITS
from rsgrpo_cli.policy.optimize import optimizer_step
from rsgrpo_cli.policy.policy import Policy, add_adapter, new_optimizer
from tests.live_bytes import LiveBytes

TOY = model_directory("toy")


def smol(thirds: int = 3, layers: int = 30) -> LlamaConfig:
    """The shape of SmolLM2-135M, or one narrower and with fewer layers, and its 49,152 words."""
    return LlamaConfig(
        hidden_size=192 * thirds,
        num_hidden_layers=layers,
        num_attention_heads=3 * thirds,
        num_key_value_heads=thirds,
        intermediate_size=512 * thirds,
        vocab_size=49_152,
        tie_word_embeddings=True,
    )


def test_the_bundled_model_by_its_config_alone(tmp_path: Path) -> None:
    shutil.copyfile(TOY / "config.json", tmp_path / "config.json")
    decoder = decoder_of(tmp_path)
    # Tied: 27 x 96 words; a layer has 4 x 96 x 96, 3 x 96 x 256 and two norms of 96; the last norm.
    assert decoder.parameters == 27 * 96 + 3 * (4 * 96**2 + 3 * 96 * 256 + 2 * 96) + 96
    assert decoder.linear == 27 * 96 + 3 * (4 * 96**2 + 3 * 96 * 256)
    assert (decoder.layers, decoder.query, decoder.key, decoder.intermediate) == (3, 96, 96, 256)
    assert decoder.parameters == sum(
        weight.numel() for weight in load_model(TOY, resolve({}).model).causal.parameters()
    )


def test_a_model_of_135_million(tmp_path: Path) -> None:
    smol().save_pretrained(tmp_path)
    decoder = decoder_of(tmp_path)
    assert decoder.parameters == 134_515_008  # as published for SmolLM2-135M
    # A layer's inputs and outputs: q and o 1152, k and v 768, gate, up and down 2112 each.
    assert adapter_parameters(decoder, 8) == 8 * 30 * (2 * 1152 + 2 * 768 + 3 * 2112)


def test_a_config_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(MissingError, match="not the config of a known language model"):
        decoder_of(tmp_path)


def test_there_is_memory_here() -> None:
    here = device_at_hand("cpu")
    assert (here.name, here.gpu) == ("CPU", None)
    assert here.free > 2**20


def test_a_gpu_is_planned_for_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60, 80))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert device_at_hand("auto") == Device("a card", 60, gpu=80)


def policy_of(config: PretrainedConfig, run: RunConfig) -> Policy:
    lora = run.model.lora_rank > 0
    dtype = torch.bfloat16 if lora and run.model.dtype == "bfloat16" else torch.float32
    lm = LanguageModel(AutoModelForCausalLM.from_config(config, dtype=dtype), None, (0,), {}, run.model.dtype)
    if lora:
        add_adapter(lm, run.model, 0)
    policy = Policy(lm, 0)
    if run.update.gradient_checkpointing:
        lm.causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy.optimizer = new_optimizer(policy, run.update)
    return policy


def experience_of(rows: int, length: int, vocabulary: int) -> Experience:
    rng = np.random.default_rng(0)
    tokens = [rng.integers(1, vocabulary, length) for _ in range(rows)]
    said = [np.full(length, -1.0, np.float32)] * rows
    advantages, groups, counted = rng.normal(size=rows), np.arange(rows), np.ones(rows, bool)
    return Experience(tokens, tokens, said, advantages, groups, counted, 1.0, length, False)


def measured(policy: Policy, run: RunConfig, rows: int, length: int, vocabulary: int) -> int:
    """Peak of live tensor bytes in the second of two optimizer steps, whose moments are there from the start."""
    optimizer_step(policy, experience_of(1, 2, vocabulary), run.update)
    assert policy.optimizer is not None
    state = [value for slots in policy.optimizer.state.values() for value in slots.values()]
    with LiveBytes([*policy.lm.causal.parameters(), *policy.lm.causal.buffers(), *state]) as live:
        optimizer_step(policy, experience_of(rows, length, vocabulary), run.update)
    peak: int = live.peak
    return peak


SETTINGS: dict[str, dict[str, object]] = {
    "full": {},
    "checkpointing": {"update.gradient_checkpointing": True},
    "lora": {"model.lora_rank": 8},
    "lora-checkpointing": {"model.lora_rank": 8, "update.gradient_checkpointing": True},
    "entropy": {"update.entropy_coef": 0.01},
    "bfloat16": {"model.dtype": "bfloat16"},
    "bfloat16-lora": {"model.dtype": "bfloat16", "model.lora_rank": 8},
}
QWEN3 = Qwen3Config(  # normalises queries and keys, which the formula leaves out
    hidden_size=256,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=64,
    intermediate_size=768,
    vocab_size=2000,
    tie_word_embeddings=True,
)
MODELS = {
    "toy": (AutoConfig.from_pretrained(TOY), 32),
    "qwen3": (QWEN3, 64),
    "words": (smol(1, 2), 4),  # the embeddings' gradients decide
    "logits": (smol(1, 2), 32),
    "SmolLM2-135M": (smol(), 64),
}
QUICK = {
    ("words", "full"),
    ("logits", "checkpointing"),
    ("logits", "entropy"),
    ("qwen3", "full"),
    ("qwen3", "bfloat16"),
    *(("toy", name) for name in SETTINGS),
}


@pytest.mark.parametrize(
    ("config", "length", "settings"),
    [
        pytest.param(*model, settings, id=f"{name}-{how}", marks=[] if (name, how) in QUICK else pytest.mark.slow)
        for name, model in MODELS.items()
        for how, settings in SETTINGS.items()
    ],
)
def test_an_update_takes_what_was_estimated(
    config: PretrainedConfig, length: int, settings: dict[str, object], tmp_path: Path
) -> None:
    rows, micro = 8, 4 * 2 * length  # two micro-batches of four rows, prompt and completion of equal length
    run = resolve({"update.micro_batch_tokens": micro, **settings})
    config.save_pretrained(tmp_path)
    decoder = decoder_of(tmp_path)
    estimate = update_footprint(
        decoder,
        Precision(run.model.dtype == "bfloat16", run.model.lora_rank),
        tokens=micro,
        head_tokens=min(CHUNK_LOGITS // decoder.vocabulary, micro // 2),
        checkpointing=run.update.gradient_checkpointing,
        reference=False,
    )
    found = measured(policy_of(config, run), run, rows, length, decoder.vocabulary)
    assert estimate.total == pytest.approx(found, rel=0.15), estimate.items


def test_a_step_of_the_optimizer_takes_what_was_estimated(tmp_path: Path) -> None:
    config, run = smol(1, 2), resolve({})
    config.save_pretrained(tmp_path)
    policy = policy_of(config, run)
    assert policy.optimizer is not None
    for weight in policy.trained().values():
        weight.grad = torch.ones_like(weight)
    policy.optimizer.step()  # makes the moments
    held = [value for slots in policy.optimizer.state.values() for value in slots.values()]
    held += [part for weight in policy.trained().values() for part in (weight, weight.grad) if part is not None]
    with LiveBytes([*held, *policy.lm.causal.buffers()]) as live:
        policy.optimizer.step()
    estimate = optimizer_footprint(decoder_of(tmp_path), Precision(), reference=False, fused=False)
    assert estimate.total == pytest.approx(live.peak, rel=0.02), estimate.items


def test_sampling_takes_what_was_estimated() -> None:
    lm = load_model(TOY, resolve({}).model)
    lm.stop_ids = (-1,)  # every completion has full length
    decoder, completions, prompt, written = decoder_of(TOY), 64, 16, 48
    with LiveBytes([*lm.causal.parameters(), *lm.causal.buffers()]) as live:
        seeds = [list(range(16 * number, 16 * number + 16)) for number in range(4)]
        HfEngine(lm).generate([[5] * prompt] * 4, seeds, Sampling(1.0, 1.0, written))
    estimate = rollout_footprint(
        decoder, Precision(), completions=completions, length=prompt + written, reference=False
    )
    # Nothing is trained here.
    expected = estimate.total - estimate.items["optimizer state"]
    assert trained_parameters(decoder, Precision()) * 8 == estimate.items["optimizer state"]
    assert expected == pytest.approx(live.peak, rel=0.15), estimate.items
