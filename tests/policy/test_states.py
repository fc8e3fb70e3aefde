from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from rsgrpo_cli.models import LanguageModel
from rsgrpo_cli.policy import states
from rsgrpo_cli.policy.batches import Batch, assemble
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.policy.training_mode import update_mode
from tests.policy.conftest import OpenPolicy, gradient


def grouped(experience: Experience) -> Experience:
    """The completions, of only three prompts: of 8, 9 and 10 tokens."""
    return replace(experience, prompts=[experience.prompts[row % 3] for row in range(10)])


def batch_of(experience: Experience) -> Batch:
    return assemble(experience.prompts, experience.completions, range(10), torch.device("cpu"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each batch was read."""
    ways: list[str] = []

    def note(way: str) -> None:
        read = getattr(states, way)

        def noted(lm: LanguageModel, batch: Batch) -> torch.Tensor:
            ways.append(way)
            states_ND: torch.Tensor = read(lm, batch)
            return states_ND

        monkeypatch.setattr(states, way, noted)

    note("read_joined")
    note("read_shared")
    return ways


def values_and_gradient(policy: Policy, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    update_mode(policy.lm.causal)
    policy.lm.causal.zero_grad()
    values_N, _ = token_logprobs(policy.lm, batch, temperature=0.9)
    (values_N * torch.linspace(-1, 1, len(values_N))).sum().backward()
    return values_N.detach(), gradient(policy)


@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
def test_reading_a_prompt_once_changes_neither_values_nor_gradients(
    open_toy: OpenPolicy, experience: Experience, reads: list[str], monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    policy, batch = open_toy(model__lora_rank=rank), batch_of(grouped(experience))
    reads.clear()  # opening a policy reads the probe
    shared = values_and_gradient(policy, batch)
    monkeypatch.setattr(states, "SHARED_SHARE", 0.0)
    joined = values_and_gradient(policy, batch)
    assert reads == ["read_shared", "read_joined"]
    torch.testing.assert_close(shared[0], joined[0], rtol=1e-5, atol=1e-5)
    assert (shared[1] - joined[1]).abs().max() < 1e-5 * joined[1].abs().max()


@pytest.mark.slow
def test_the_gradient_is_the_same_bit_for_bit_on_several_threads(open_toy: OpenPolicy) -> None:
    rng, threads = np.random.default_rng(0), torch.get_num_threads()
    prompts, completions = ([rng.integers(6, 27, size=12) for _ in range(256)] for _ in range(2))
    rows = [prompts[row % 8] for row in range(256)]
    policy, batch = open_toy(), assemble(rows, completions, range(256), torch.device("cpu"))
    try:
        torch.set_num_threads(2)
        first, *others = [values_and_gradient(policy, batch)[1] for _ in range(4)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)


def test_completions_of_one_token_need_their_prompts_only(open_toy: OpenPolicy, experience: Experience) -> None:
    policy, long = open_toy(), grouped(experience)
    short = replace(long, completions=[completion[:1] for completion in long.completions])
    of_long, of_short = (values_and_gradient(policy, batch_of(made))[0] for made in (long, short))
    starts = np.cumsum([0, *map(len, long.completions[:-1])])
    torch.testing.assert_close(of_short, of_long[starts], rtol=1e-5, atol=1e-5)


def test_prompts_are_told_apart_and_numbered_as_they_come() -> None:
    prompts = [np.array(ids) for ids in ([1, 2], [1], [1, 2], [1, 0], [1])]
    batch = assemble(prompts, [np.array([5])] * 5, [0, 1, 2, 3, 4], torch.device("cpu"))
    assert batch.starts_B.tolist() == [2, 1, 2, 2, 1]
    assert batch.prompt_B.tolist() == [0, 1, 0, 2, 1]
    assert batch.first_P.tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("overrides", "prompts", "way"),
    [
        ({}, 3, "read_shared"),
        ({}, 10, "read_joined"),  # nothing to share
        ({"update__gradient_checkpointing": True}, 3, "read_joined"),
    ],
)
def test_a_prompt_is_read_once_where_it_pays_and_can_be(
    open_toy: OpenPolicy, experience: Experience, reads: list[str], overrides: dict[str, object], prompts: int, way: str
) -> None:
    policy = open_toy(**overrides)
    reads.clear()
    values_and_gradient(policy, batch_of(grouped(experience) if prompts == 3 else experience))
    assert reads == [way]


def test_a_model_with_a_sliding_window_reads_every_prompt_with_its_completion(
    open_toy: OpenPolicy, experience: Experience, reads: list[str]
) -> None:
    policy = open_toy()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MistralConfig(vocab_size=27, num_key_value_heads=1, head_dim=8, sliding_window=4, **sizes)
    policy.lm.causal = MistralForCausalLM(config)
    reads.clear()
    values_and_gradient(policy, batch_of(grouped(experience)))
    assert reads == ["read_joined"]
