"""`rsgrpo export`: what is written loads in plain transformers and PEFT, and says what it is."""

import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rsgrpo_cli.models import licence, load_model, model_directory
from rsgrpo_cli.run.run_dir import RunDir
from tests.commands.test_bad_input import refused
from tests.conftest import SMALL, Cli

IDS = torch.tensor([[4, 6, 12, 14, 9]])
LORA = ["--lora-rank", "4", "--steps", "1", *SMALL, "--set", "update.learning_rate=0.05"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The bundled model in bfloat16, with a card and a licence."""
    folder = tmp_path / "base"
    shutil.copytree(model_directory("toy"), folder)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n")
    (folder / "LICENSE").write_text("do as you like")
    return folder


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits.float()
    return found


def test_a_merged_adapter_is_the_policy(cli: Cli, base: Path, tmp_path: Path) -> None:
    assert cli("train", "--run", "runs/lora", "--model", "base", *LORA).code == 0
    result = cli("export", "runs/lora", "--merge", "--out", "merged", "--json")
    assert result.json["kind"] == "model"
    assert {weight.dtype for weight in load_file(tmp_path / "merged" / "model.safetensors").values()} == {
        torch.bfloat16
    }
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert merged.dtype == torch.bfloat16

    # What was trained: the adapter over its base, in float32.
    config = RunDir(tmp_path / "runs/lora").config().model.model_copy(update={"lora_rank": 0})
    adapted = PeftModel.from_pretrained(load_model(base, config).causal, tmp_path / "runs/lora/checkpoints/000001")
    found = logits(merged.float())
    torch.testing.assert_close(found, logits(adapted), rtol=0.02, atol=0.05)
    with adapted.disable_adapter():  # and not the base model, which is further away than rounding
        assert (found - logits(adapted)).abs().max() > 0.2
    # Rounded once, from the sum in float32.
    name = "model.layers.0.self_attn.q_proj.weight"
    exact = adapted.merge_and_unload().state_dict()[name]
    assert torch.equal(merged.bfloat16().state_dict()[name], exact.bfloat16())
    prompt = [{"role": "user", "content": "Make 24 from 3 5 7 2."}]
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "merged", base)]
    assert tokenizers[0].apply_chat_template(prompt) == tokenizers[1].apply_chat_template(prompt)
    assert (tmp_path / "merged" / "LICENSE").read_text() == "do as you like"
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_an_adapter_goes_out_as_it_is(cli: Cli, base: Path, tmp_path: Path) -> None:
    assert cli("train", "--run", "runs/lora", "--model", "base", *LORA, "--epochs", "2").code == 0
    assert cli("export", "runs/lora").code == 0
    made, checkpoint = tmp_path / "runs/lora/exports/000001", tmp_path / "runs/lora/checkpoints/000001"
    assert (made / "adapter_model.safetensors").read_bytes() == (checkpoint / "adapter_model.safetensors").read_bytes()
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), made)
    card = (made / "README.md").read_text()
    front = ModelCard(card).data.to_dict()  # as the Hub reads it
    tags = ["rs-grpo", "reinforcement-learning", "lora"]
    task = {"library_name": "peft", "pipeline_tag": "text-generation"}
    assert front == {"license": "apache-2.0", "tags": tags} | task  # a base that is not on the Hub is not named
    assert "| update.epochs | 2 |" in card
    assert not (made / "trainer").exists()
    assert not (made / "manifest.json").exists()
    assert cli("train", "--run", "runs/lora", "--steps", "2").code == 0  # the run goes on as if nothing had been


def test_a_full_policy_and_its_card(cli: Cli, trained: Path, tmp_path: Path) -> None:
    assert cli("eval", "--run", trained, "--policy", "0", "--k", "1,2", "-n", "2").code == 0
    assert cli("eval", "--run", trained, "--policy", "1", "--k", "1,2", "-n", "2").code == 0
    assert cli("export", trained, "--policy", "1", "--out", "out").code == 0
    weights = [load_file(folder / "model.safetensors") for folder in (tmp_path / "out", trained / "checkpoints/000001")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| beta | 2.0 |" in card
    assert "| learning rate | 0.001 |" in card
    assert "| update." not in card  # nothing else was set
    assert "|  | pass@1 | pass@2 |" in card
    assert "| base model | 0." in card
    assert "| policy 1 | 0." in card
    assert "base_model:" not in card  # the bundled model is not on the Hub
    assert "Its licence is that of the base model." in card


def test_what_fails_leaves_nothing(cli: Cli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    refused(cli("export", trained, "--out", "out"), 2, "out exists and is not an empty directory", "--out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    refused(cli("export", trained, "--policy", "0"), 2, "policy 0 of run trained is the base model toy", "--policy")
    refused(cli("export", trained, "--policy", "7"), 1, "run trained has no policy 7", "it has any policy up to 2")
    refused(cli("export", "nowhere"), 1, "no run at runs/nowhere")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rsgrpo_cli.pipeline.export.shutil.copyfile", full)
    refused(cli("export", trained, "--out", "new"), 1, "no space left to write new", "free some space")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


def test_an_empty_directory_is_filled(cli: Cli, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in (".out.0123abcd.partial", ".out.partial"):  # left by an export that was killed; and somebody's own
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("half")
    assert cli("export", trained, "--out", "out", "--merge").code == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert not (tmp_path / ".out.0123abcd.partial").exists()
    assert (tmp_path / ".out.partial" / "model.safetensors").read_text() == "half"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\ntags:\n- a\nlicense: llama3.1\n---\nlicense: mit\n", "llama3.1"),
        ("# license: mit\n", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_the_licence_of_a_base(tmp_path: Path, text: str, expected: str | None) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text(text)
    assert licence(str(tmp_path)) == expected
    assert licence("none/such") is None
