"""The policy that is trained is the policy that is sampled, whatever the architecture; what cannot be so is refused."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from rsgrpo_cli.config import ModelConfig, resolve
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import EngineError, UsageError
from rsgrpo_cli.modeling import architectures
from rsgrpo_cli.models import load_model
from rsgrpo_cli.policy import logprobs
from rsgrpo_cli.policy.batches import assemble
from rsgrpo_cli.policy.checkpoints import open_policy, save_checkpoint
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.optimize import optimizer_step
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.policy.soundness import check_trainable
from rsgrpo_cli.policy.states import _worth_sharing
from tests.architectures import KINDS, write_model
from tests.logprobs import completion_logprobs
from tests.policy.conftest import weights

# gpt_bigcode compiles a function the old way.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

LET_IN = [
    "llama-bias", "gpt2", "gpt_neo", "gpt_neox", "gpt_bigcode", "codegen", "phi", "phimoe", "mpt", "falcon-alibi",
    "falcon-rotary", "bloom", "opt", "mistral-window", "mixtral", "gemma2", "gemma3", "qwen3", "qwen2_moe", "cohere",
    "granite", "stablelm", "olmo2", "xglm", "dbrx",
]  # fmt: skip
RECOMPUTED = ["gpt2", "falcon-alibi", "opt", "mixtral", "mpt"]
NEVER_SHARED = {"gpt_neo", "mpt", "mistral-window", "gemma2", "gemma3"}
PROMPTS = [[4, 6, 11, 12, 7, 13, 5], [4, 6, 11, 12, 7, 13, 14, 15, 16, 17, 18, 19, 12, 13, 5, 6, 7, 8, 9], [4, 6, 5]]
SEEDS = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def opened(directory: Path, **overrides: object) -> Policy:
    names = {name.replace("__", "."): value for name, value in overrides.items()}
    config = resolve({"model.name": str(directory), "update.learning_rate": 1e-3} | names)
    return open_policy(config, directory, None, version=0, train=True)


def sampled(policy: Policy) -> Experience:
    """Twelve completions of three prompts of unequal length, half of them to be learned from."""
    drawn = HfEngine(policy.lm).generate(PROMPTS, SEEDS, Sampling(1.0, 1.0, 12))
    flat = [made for own in drawn for made in own]
    prompts = [np.array(prompt) for prompt, own in zip(PROMPTS, SEEDS, strict=True) for _ in own]
    return Experience(
        prompts,
        [np.array(made.token_ids) for made in flat],
        [np.array(made.logprobs, dtype=np.float32) for made in flat],
        np.tile([1.0, -1.0], 6),
        np.arange(12) // 4,
        np.ones(12, dtype=bool),
        1.0,
        12,
        False,
    )


def alone(policy: Policy, experience: Experience) -> torch.Tensor:
    """The definition: each completion by itself, without a cache, padding or shortcuts, as transformers' users do."""
    told = []
    with torch.no_grad():
        for prompt, completion in zip(experience.prompts, experience.completions, strict=True):
            ids = torch.from_numpy(np.concatenate([prompt, completion]))
            logprobs = policy.lm.causal.eval()(input_ids=ids[None]).logits[0].log_softmax(dim=-1)
            told.append(logprobs[len(prompt) - 1 : -1].gather(-1, torch.from_numpy(completion)[:, None])[:, 0])
    return torch.cat(told)


CASES = [*((kind, False) for kind in LET_IN), *((kind, True) for kind in RECOMPUTED)]


@pytest.mark.parametrize(("kind", "recompute"), CASES)
def test_what_is_trained_is_what_was_sampled(kind: str, recompute: bool, tmp_path: Path) -> None:
    policy = opened(write_model(kind, tmp_path / kind), update__gradient_checkpointing=recompute)
    experience = sampled(policy)
    expected = alone(policy, experience)
    close(np.concatenate(experience.sampling_logprobs), expected)
    together = token_logprobs(
        policy.lm, assemble(experience.prompts, experience.completions, range(12), policy.lm.device), temperature=1.0
    )[0]
    close(together.detach(), expected)
    cfg = resolve({"update.learning_rate": 1e-3}).update
    old = completion_logprobs(policy, experience, cfg)
    close(np.concatenate(old), expected)
    policy.set_learning_rate(1e-3)
    sums = optimizer_step(policy, experience, cfg)
    assert sums.logprob_diff_max < 1e-4  # nothing is dropped in the update either
    batch = assemble(experience.prompts, experience.completions, range(12), policy.lm.device)
    assert _worth_sharing(policy.lm, batch) == (kind not in NEVER_SHARED and not recompute)


def close(found: object, expected: torch.Tensor) -> None:
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "opt", "falcon-alibi"])
def test_updates_do_not_depend_on_chance_and_leave_the_dropout_in_the_config(kind: str, tmp_path: Path) -> None:
    directory = write_model(kind, tmp_path / kind)
    made = []
    for number in range(2):
        torch.manual_seed(number)
        policy = opened(directory)
        policy.set_learning_rate(1e-3)
        optimizer_step(policy, sampled(policy), resolve({"update.learning_rate": 1e-3}).update)
        made.append(policy)
    assert torch.equal(weights(made[0]), weights(made[1]))
    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(made[0], tmp_path / "checkpoint")
    folders = tmp_path / "checkpoint", directory
    kept, declared = (json.loads((folder / "config.json").read_text()) for folder in folders)
    assert kept == declared
    assert any(value == 0.1 for name, value in declared.items() if "drop" in name)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *product(("gpt2", "mpt", "cohere", "gemma2", "mixtral"), ("float32", "bfloat16")),
        *product(("gpt2", "mpt", "cohere", "gemma2"), ("float64",)),  # torch has no float64 kernel for experts
    ],
)
@pytest.mark.filterwarnings("ignore:.*_pattern keys:RuntimeWarning")  # PEFT leaves fused experts out, and says so
def test_under_an_adapter_too(kind: str, dtype: str, tmp_path: Path) -> None:
    policy = opened(write_model(kind, tmp_path / kind), model__lora_rank=2, model__dtype=dtype)
    experience = sampled(policy)
    policy.set_learning_rate(1e-3)
    sums = optimizer_step(policy, experience, resolve({"update.learning_rate": 1e-3}).update)
    assert sums.logprob_diff / sums.tokens < (0.1 if dtype == "bfloat16" else 1e-4)
    assert policy.lm.shares_prompts == (kind not in ("mpt", "gemma2"))


@pytest.mark.parametrize("kind", ["rwkv", "recurrent_gemma", "openai-gpt"])
def test_what_the_hf_engine_would_sample_wrongly_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its name is not known to be of that kind."""
    monkeypatch.setattr(architectures, "UNUSABLE", {})
    lm = load_model(write_model(kind, tmp_path / kind), ModelConfig())
    with pytest.raises(EngineError, match=r"cannot|different probabilities") as refused:
        HfEngine(lm)
    assert "\n" not in refused.value.message
    assert "--engine vllm" in refused.value.hint


def test_a_model_that_the_update_would_read_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "_CAPS", ())  # as if this way to cap logits were not known
    with pytest.raises(EngineError, match="changes its logits"):
        opened(write_model("gemma2", tmp_path / "m"))
    with pytest.raises(UsageError, match="does not support gradient checkpointing"):
        opened(write_model("ctrl", tmp_path / "n"), update__gradient_checkpointing=True)


def test_a_model_that_padding_disturbs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = opened(write_model("llama", tmp_path / "m"))
    body = policy.lm.causal.base_model
    forward = body.forward

    def centred(*arguments: object, **named: object) -> object:
        output = forward(*arguments, **named)
        output.last_hidden_state = output.last_hidden_state - output.last_hidden_state.mean(dim=1, keepdim=True)
        return output

    monkeypatch.setattr(body, "forward", centred)
    with pytest.raises(EngineError, match="padding disturbs it"):
        check_trainable(policy.lm)


def test_a_window_wider_than_what_is_tried_is_found_in_the_config(tmp_path: Path) -> None:
    """GPT-Neo's own is 256 tokens: a short trial finds nothing wrong with it."""
    KINDS["gpt_neo-256"] = ("gpt_neo", KINDS["gpt_neo"][1] | {"window_size": 256})
    policy = opened(write_model("gpt_neo-256", tmp_path / "m"))
    experience = sampled(policy)
    batch = assemble(experience.prompts, experience.completions, range(12), policy.lm.device)
    assert not _worth_sharing(policy.lm, batch)
