"""The mean of several policies' weights as a model."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from rsgrpo_cli.bundled import bundled_data
from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.policy.averaging import Mean
from tests.conftest import SMALL, Cli

FEW = ("-n", "1", "--k", "1", "--workers", "1")
FULL = "model.safetensors"


def checkpoint(folder: Path, value: float) -> Path:
    folder.mkdir()
    save_file({"w": torch.tensor([value, 1.0])}, folder / FULL)
    return folder


def test_three_numbers_have_their_mean(tmp_path: Path) -> None:
    mean = Mean()
    for index, value in enumerate((1.0, 2.0, 6.0)):
        mean.add(checkpoint(tmp_path / str(index), value))
    mean.save(tmp_path)
    assert load_file(tmp_path / FULL)["w"].tolist() == [3.0, 1.0]


def test_other_weights_are_refused(tmp_path: Path) -> None:
    mean = Mean()
    mean.add(checkpoint(tmp_path / "a", 1.0))
    (tmp_path / "b").mkdir()
    save_file({"v": torch.zeros(2)}, tmp_path / "b" / FULL)
    with pytest.raises(ArtifactError, match="different weights"):
        mean.add(tmp_path / "b")


def test_a_mean_of_policies_is_exported_and_evaluated(cli: Cli, trained: Path) -> None:
    # Of the first, only what it was made from is kept: it is rebuilt.
    result = cli("export", trained, "--average", "2,1", "--out", "mean", "--json")
    assert (result.code, result.json["policy"], result.json["average"]) == (0, 2, [1, 2])
    for policy in ("1", "2"):
        assert cli("export", trained, "--policy", policy, "--out", f"out{policy}").code == 0
    first, second, mean = (load_file(Path(place) / FULL) for place in ("out1", "out2", "mean"))
    assert any((first[name] != second[name]).any() for name in mean)
    for name in mean:
        assert (mean[name] - (first[name] + second[name]) / 2).abs().max() < 1e-7
    text = Path("mean/README.md").read_text()
    assert "the mean of those of policies 1, 2" in text
    assert "## Results" not in text
    asked = ("--benchmark", "toy", "--max-tokens", "20", *FEW)
    assert cli("eval", "--run", "runs/mean", "--model", "mean", *asked).code == 0


def test_changes_of_adapters_are_averaged(cli: Cli) -> None:
    # The mean of two products is not the product of two means.
    learning = ("--lora-rank", "2", "--learning-rate", "0.05", "--checkpoint-every", "1", "--keep-checkpoints", "2")
    assert cli("train", "--run", "runs/lora", "--steps", "2", *learning, *SMALL).code == 0
    for flag, out in (("--policy=1", "one"), ("--policy=2", "two"), ("--average=1,2", "mean")):
        assert cli("export", "runs/lora", flag, "--merge", "--out", f"{out}-merged").code == 0
    assert cli("export", "runs/lora", "--average", "1,2").code == 0
    one, two, mean = (load_file(Path(f"{name}-merged") / FULL) for name in ("one", "two", "mean"))
    assert max((one[name] - two[name]).abs().max() for name in mean) > 1e-3
    assert max((mean[name] - (one[name] + two[name]) / 2).abs().max() for name in mean) < 1e-6
    adapter = Path("runs/lora/exports/000002mean2")
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == 4
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(bundled_data() / "model"), adapter)
    merged = dict(loaded.merge_and_unload().named_parameters())
    assert max((merged[name].float() - mean[name]).abs().max() for name in mean) < 1e-6


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--average", "1"), "names no two policies"),
        (("--average", "1,1"), "names no two policies, or one twice"),
        (("--average", "x,2"), "is not a list of policies"),
        (("--average", "0,2"), "policy 0 is the base model"),
        (("--average", "1,2", "--policy", "2"), "names the policies itself"),
        (("--average", "1,2", "--interpolate", "0.5"), "names the policies itself"),
        (("--average", "1,9"), "has no policy 9"),
    ],
)
def test_what_cannot_be_averaged_is_refused(cli: Cli, trained: Path, flags: tuple[str, ...], told: str) -> None:
    result = cli("export", trained, *flags, "--out", "mean")
    assert (result.code, told in result.err) in ((1, True), (2, True)), result.err
    assert not Path("mean").exists()
