"""Models that cannot be used: each gives one clear line, nothing runs code of theirs, and nothing is left behind."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rsgrpo_cli.models import model_directory
from tests.commands.test_bad_input import refused
from tests.conftest import SMALL, Cli

Change = Callable[[Path], None]


def config(**values: Any) -> Change:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def written(name: str, text: str | None) -> Change:
    def change(model: Path) -> None:
        (model / name).unlink()
        if text is not None:
            (model / name).write_text(text)

    return change


def weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change(model: Path) -> None:
        tensors = load_file(model / "model.safetensors")
        edit(tensors)
        save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})

    return change


def as_bin(model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def fewer_rows(model: Path) -> None:
    name = "model.embed_tokens.weight"
    weights(lambda tensors: tensors.update({name: tensors[name][:20].clone()}))(model)
    config(vocab_size=20)(model)


NORM = "model.layers.1.input_layernorm.weight"
CASES: dict[str, tuple[Change, list[str]]] = {
    "another vocabulary": (config(vocab_size=40), ["do not fit its config.json", "[27, 96]", "[40, 96]"]),
    "weights missing": (weights(lambda tensors: tensors.pop(NORM)), ["lacks weights of LlamaForCausalLM", NORM]),
    "NaN": (weights(lambda tensors: tensors[NORM].fill_(torch.nan)), ["are not finite numbers", NORM]),
    "infinity": (weights(lambda tensors: tensors[NORM][3:4].fill_(torch.inf)), ["are not finite numbers", NORM]),
    "only .bin": (as_bin, ["no .safetensors weights", "save_pretrained"]),
    "cut weights": (written("model.safetensors", "x" * 99), ["cannot load a model from m"]),
    "broken tokenizer": (written("tokenizer.json", "{broken"), ["cannot load a tokenizer from m"]),
    "empty tokenizer": (written("tokenizer.json", '{"version": "1.0"}'), ["cannot load a tokenizer from m"]),
    "no tokenizer": (written("tokenizer.json", None), ["cannot load a tokenizer from m"]),
    "a list of tokenizer settings": (written("tokenizer_config.json", "[]"), ["cannot load a tokenizer from m"]),
    "another model's tokenizer": (fewer_rows, ["the tokenizer gives token 2", "for 20 tokens"]),
    "broken sampling defaults": (written("generation_config.json", "{"), ["generation_config.json is not valid JSON"]),
    "sampling defaults in a list": (written("generation_config.json", "[]"), ["is not an object of settings"]),
    "an end that is text": (
        written("generation_config.json", '{"eos_token_id": "</s>"}'), ["eos_token_id must be a number", "'</s>'"]
    ),
    "a size that is text": (config(hidden_size="big"), ["cannot load", "hidden_size", "expected int"]),
    "sizes that do not fit": (config(num_attention_heads=7), ["cannot load", "not a multiple"]),
    "no language model": (config(model_type="t5"), ["t5 models cannot be used: they have an encoder"]),
    "quantised weights": (config(quantization_config={"quant_method": "fp8"}), ["weights are quantised (fp8)"]),
    "an unknown number type": (config(dtype="float99"), ["float99"]),
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_directory("toy"), tmp_path / "m"))


@pytest.mark.parametrize("case", CASES)
def test_one_clear_line_before_anything_is_sampled(cli: Cli, model: Path, tmp_path: Path, case: str) -> None:
    change, texts = CASES[case]
    change(model)
    for command in (["train", "--steps", "1", *SMALL], ["eval", "--k", "1", "-n", "1"]):
        result = cli(*command, "--model", "m", "--run", "runs/x")
        refused(result, result.code, *texts)
        assert result.code in (1, 2)
        assert "bug in rsgrpo" not in result.err
        assert not list(tmp_path.glob("runs/x/steps/*/rollouts/part-*"))
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)


@pytest.mark.parametrize("stdin", ["y\n", ""])
def test_a_model_with_code_of_its_own_is_refused_unasked(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stdin: str
) -> None:
    spring = f"open({str(tmp_path / 'executed')!r}, 'w')\nclass X: pass\n"
    for name in ("configuration_x.py", "modeling_x.py", "tokenization_x.py"):
        (model / name).write_text(spring)
    plain = {name: (model / name).read_text() for name in ("config.json", "tokenizer_config.json")}
    own = {"AutoConfig": "configuration_x.X", "AutoModelForCausalLM": "modeling_x.X"}
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    config(model_type="x", auto_map=own)(model)
    for command in ("plan", "train", "eval"):
        refused(cli(command, "--model", "m"), 1, "it brings code of its own", "rsgrpo runs no code from a model")
    (model / "config.json").write_text(plain["config.json"])
    tokenizer = {"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["tokenization_x.X", "tokenization_x.X"]}}
    (model / "tokenizer_config.json").write_text(json.dumps(json.loads(plain["tokenizer_config.json"]) | tokenizer))
    for command in ("train", "eval"):
        refused(cli(command, "--model", "m"), 1, "it brings code of its own", "rsgrpo runs no code from a model")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("setting", "code", "texts"),
    [
        ("model.name=[]", 2, ["model.name: must be text, not []"]),
        ("model.name=3", 2, ["model.name: must be text, not 3"]),
        ("rollout.temperature=1e-300", 2, ["rollout.temperature: must be at least 1e-06"]),
        ("eval.temperature=1e-300", 2, ["eval.temperature: must be at least 1e-06"]),
        ("update.learning_rate=1e38", 1, ["the update diverged", "rsgrpo fork"]),
        ("update.weight_decay=1e300", 1, ["the update diverged", "rsgrpo fork"]),
        ("update.clip_high=1e300", 1, ["the update diverged", "rsgrpo fork"]),
    ],
)
def test_numbers_that_no_float_holds(cli: Cli, setting: str, code: int, texts: list[str]) -> None:
    refused(cli("train", "--run", "runs/x", "--steps", "1", *SMALL, "--set", setting), code, *texts)


def test_an_adapter_of_infinite_scale(cli: Cli) -> None:
    refused(cli("train", "--lora-rank", "2", "--lora-alpha", "inf"), 2, "model.lora_alpha: must be a finite number")


def test_a_policy_that_an_unsaved_update_has_ruined(cli: Cli) -> None:
    every = ["--lora-rank", "2", "--set", "train.checkpoint_every=9", "--set", "update.learning_rate=1e30"]
    result = cli("train", "--run", "runs/x", "--steps", "9", *SMALL, *every)
    refused(result, 1, "probabilities are not finite numbers", "rsgrpo fork NEW --run runs/x --step 0 --lr")
