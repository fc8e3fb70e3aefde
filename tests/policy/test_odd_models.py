"""Models with something odd about them: what is drawn is what the update computes, and only what there is is drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from rsgrpo_cli.config import resolve
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.modeling.special_tokens import spare_ids
from rsgrpo_cli.models import load_tokenizer
from rsgrpo_cli.policy.checkpoints import open_policy, save_checkpoint
from rsgrpo_cli.policy.policy import Policy
from tests.agreement import agreement, alone, sampled
from tests.logprobs import completion_logprobs
from tests.tiny_models import write_tiny

TOKENS = 27
"""Of the toy tokenizer."""


def opened(directory: Path, **overrides: Any) -> Policy:
    config = resolve({"model.name": str(directory), "update.learning_rate": 1e-3} | overrides)
    return open_policy(config, directory, None, version=0, train=True)


def edit_json(path: Path, **changes: Any) -> None:
    """Set some entries of a JSON file; None takes one out."""
    data = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({name: value for name, value in data.items() if value is not None}), encoding="utf-8")


def resized(directory: Path, rows: int, *, favoured: int) -> Path:
    """Give a model more rows than tokens, those that no token belongs to much likelier than all others."""
    model = AutoModelForCausalLM.from_pretrained(directory)
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        model.get_output_embeddings().weight[TOKENS:] = favoured * model.get_output_embeddings().weight[5]
    model.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("tied", [False, True])
def test_rows_without_a_token_are_never_drawn(tied: bool, tmp_path: Path) -> None:
    directory = resized(write_tiny("llama", tmp_path / "m", tie_word_embeddings=tied), 64, favoured=3)
    policy = opened(directory)
    assert policy.lm.spare_ids is not None
    assert policy.lm.spare_ids.tolist() == list(range(TOKENS, 64))
    drawn = HfEngine(policy.lm).generate([[4, 6, 11, 12]], [list(range(64))], Sampling(1.0, 1.0, 10))[0]
    assert max(token for made in drawn for token in made.token_ids) < TOKENS
    with torch.no_grad():  # unmasked they would have been
        likely = policy.lm.causal(input_ids=torch.tensor([[4, 6, 11, 12]])).logits[0, -1].softmax(dim=-1)
    assert likely[TOKENS:].sum() > 0.3
    assert not agreement(directory, tmp_path).wrong


def test_probabilities_over_the_tokens_add_up_to_one(tmp_path: Path) -> None:
    """In the update as in sampling: a share of what is drawn is what is trained."""
    policy = opened(resized(write_tiny("llama", tmp_path / "m"), 40, favoured=2))
    experience = sampled(HfEngine(policy.lm))
    first = experience.take([0])
    cfg = resolve({"update.learning_rate": 1e-3}).update
    total = 0.0
    for token in range(TOKENS):
        one = [np.array([token])]
        told = completion_logprobs(policy, _with_completions(first, one), cfg)
        total += float(np.exp(told[0][0]))
    assert total == pytest.approx(1.0, abs=1e-5)


def _with_completions(experience: Any, completions: list[np.ndarray]) -> Any:
    from dataclasses import replace

    return replace(experience, completions=completions, sampling_logprobs=[np.zeros(1, np.float32)])


def test_transformers_does_not_warn_of_long_prompts_beside_us(tmp_path: Path) -> None:
    directory = write_tiny("llama", tmp_path / "m")
    settings = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 2}), encoding="utf-8")
    code = "import sys; from pathlib import Path; from rsgrpo_cli.models import load_tokenizer\n"
    code += "print(len(load_tokenizer(Path(sys.argv[1]))('1+2+3').input_ids))"
    environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "warning"}
    made = subprocess.run([sys.executable, "-c", code, directory], capture_output=True, check=False, env=environment)
    assert (made.stdout.strip(), made.stderr) == (b"5", b"")


def test_a_vocabulary_with_a_hole_and_one_with_none(tmp_path: Path) -> None:
    directory = write_tiny("llama", tmp_path / "m")
    assert spare_ids(load_tokenizer(directory), TOKENS) == []
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    last = max(vocabulary, key=lambda token: vocabulary[token])
    vocabulary[last] = TOKENS + 5
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert spare_ids(load_tokenizer(directory), TOKENS + 8) == [26, 27, 28, 29, 30, 31, 33, 34]


@pytest.mark.parametrize("kind", ["phi", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("gptj", "codegen"))])
def test_an_output_layer_with_a_bias(kind: str, tmp_path: Path) -> None:
    directory = write_tiny(kind, tmp_path / "m")
    model = AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        model.lm_head.bias += torch.linspace(-3, 3, TOKENS)
    model.save_pretrained(directory)
    assert not agreement(directory, tmp_path).wrong


DEFAULTS: dict[str, dict[str, Any]] = {
    "tokens suppressed": {"suppress_tokens": [4, 5, 6], "begin_suppress_tokens": [7]},
    "a penalty": {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "temperature": 0.3, "do_sample": True},
    "a temperature without sampling": {"temperature": 0.3, "top_p": 0.5, "do_sample": False},
    "forced tokens": {"forced_bos_token_id": 3, "forced_eos_token_id": 1, "min_new_tokens": 5, "max_length": 7},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_sampling_defaults_decide_nothing_and_are_kept(name: str, tmp_path: Path) -> None:
    directory = write_tiny("qwen2", tmp_path / "m")
    plain = opened(directory)
    before = sampled(HfEngine(plain.lm))
    edit_json(directory / "generation_config.json", **DEFAULTS[name])
    policy = opened(directory)
    after = sampled(HfEngine(policy.lm))
    assert [row.tolist() for row in before.completions] == [row.tolist() for row in after.completions]
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    save_checkpoint(policy, checkpoint)
    name = "generation_config.json"
    assert (checkpoint / name).read_bytes() == (directory / name).read_bytes()
    assert [path.name for path in checkpoint.glob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("ends", "stop_ids"), [(1, (1,)), ([1, 5, 9], (1, 5, 9)), (None, (1,)), ([], (1,)), ([7], (1, 7))]
)
def test_one_end_several_and_none(ends: Any, stop_ids: tuple[int, ...], tmp_path: Path) -> None:
    directory = write_tiny("llama", tmp_path / "m")
    edit_json(directory / "generation_config.json", eos_token_id=ends)
    edit_json(directory / "config.json", eos_token_id=ends)
    policy = opened(directory)
    assert policy.lm.stop_ids == stop_ids
    experience = sampled(HfEngine(policy.lm))
    for completion in experience.completions:
        assert not set(completion[:-1].tolist()) & set(stop_ids)
    np.testing.assert_allclose(
        np.concatenate(experience.sampling_logprobs), alone(policy.lm.causal, experience), rtol=1e-5, atol=1e-5
    )


def test_no_end_at_all_is_refused(tmp_path: Path) -> None:
    directory = write_tiny("llama", tmp_path / "m")
    for file in ("generation_config.json", "config.json"):
        edit_json(directory / file, eos_token_id=None)
    edit_json(directory / "tokenizer_config.json", eos_token=None)
    (directory / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(UsageError, match="names no end-of-sequence token"):
        opened(directory)


@pytest.mark.parametrize("rank", [0, 2])
def test_weights_kept_in_bfloat16(rank: int, tmp_path: Path) -> None:
    """Computed in float32, update and engine agree to 1e-5 whatever the weights were stored in."""
    directory = write_tiny("llama", tmp_path / "m")
    AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).save_pretrained(directory)
    assert {tensor.dtype for tensor in load_file(directory / "model.safetensors").values()} == {torch.bfloat16}
    policy = opened(directory, **{"model.lora_rank": rank})
    experience = sampled(HfEngine(policy.lm))
    cfg = resolve({"update.learning_rate": 1e-3}).update
    drawn = np.concatenate(experience.sampling_logprobs)
    np.testing.assert_allclose(np.concatenate(completion_logprobs(policy, experience, cfg)), drawn, atol=1e-5)
    np.testing.assert_allclose(alone(policy.lm.causal.eval(), experience), drawn, atol=1e-5)
