"""What an update holds in memory, counted by torch's allocator; at real shapes: benchmarks/update_memory.py."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rsgrpo_cli.config import ModelConfig, UpdateConfig
from rsgrpo_cli.models import LanguageModel
from rsgrpo_cli.policy import logprobs
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import optimizer_step
from rsgrpo_cli.policy.policy import Policy, add_adapter, new_optimizer

WORDS, WIDTH, ROWS, LENGTH = 4096, 32, 8, 40
CFG = UpdateConfig(learning_rate=1e-3, micro_batch_tokens=10_000)


def policy(rank: int) -> Policy:
    """Hardly any model under a large vocabulary."""
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "tie_word_embeddings": True}
    causal = LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, hidden_size=WIDTH, **shape))
    made = Policy(LanguageModel(causal, None, (0,), {}, "float32"), 0)
    if rank:
        add_adapter(made.lm, ModelConfig(lora_rank=rank, lora_alpha=2.0 * rank), seed=0)
    made.optimizer = new_optimizer(made, CFG)
    return made


def blocks(changed: Policy) -> np.ndarray:
    """Bytes of every allocation in an update, in order; what is given back is below zero."""
    rng = np.random.default_rng(0)
    prompts, completions = ([rng.integers(0, WORDS, length) for _ in range(ROWS)] for length in (8, LENGTH))
    said = [np.full(LENGTH, -8.0, np.float32)] * ROWS
    advantages, groups, counted = np.linspace(-1, 1, ROWS), np.arange(ROWS), np.ones(ROWS, bool)
    experience = Experience(prompts, completions, said, advantages, groups, counted, 1.0, LENGTH, False)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer_step(changed, experience, CFG)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return np.array([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])


@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
def test_the_largest_block_is_a_chunk_of_logits_or_a_weight(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    chunk, weight, logits = 20 * WORDS * 4, WORDS * WIDTH * 4, ROWS * LENGTH * WORDS * 4  # 0.3 MB, 0.5 MB, 5.2 MB
    whole = blocks(policy(rank))
    assert whole.max() == logits  # all 320 tokens fit one chunk as it is
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 20 * WORDS)
    chunked = blocks(policy(rank))
    assert chunked.max() == (chunk if rank else weight)
    # What it holds at most: five buffers of the size of a chunk, against as many of the size of all logits.
    saved = np.cumsum(whole).max() - np.cumsum(chunked).max()
    assert saved > 3 * (logits - chunk)
