"""Several ranks make of a policy what one process makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.ranks.conftest import TORCHRUN, apart, differences_of, run
from tests.ranks.updates import CASES, MODELS, do
from tests.tiny_models import write_tiny

pytestmark = pytest.mark.ranks
SCRIPT = Path(__file__).with_name("updates.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case with one process and with two ranks; "full" then goes on with one, two and three."""
    out = tmp_path_factory.mktemp("made")
    for kind in MODELS:
        write_tiny(kind, out / "models" / kind)
    do(out, "all:1", "1/full:1-1", "1-1/full:1-1-1")
    _launch(2, out, "all:2", "1/full:1-2")
    do(out, "2/full:2-1")
    _launch(3, out, "2-1/full:2-1-3")
    return out


def _launch(ranks: int, out: Path, *jobs: str) -> None:
    done = run(*TORCHRUN, "--nproc-per-node", str(ranks), SCRIPT, out, *jobs, cwd=out)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_are_one_process(made: Path, case: str) -> None:
    differences = differences_of(made / "1" / case, made / "2" / case)  # a weight moves by up to 3e-5
    assert differences.max() <= 1e-6
    assert (differences > 1e-7).float().mean() <= 1e-4
    one, two = (json.loads((made / number / f"{case}.json").read_text()) for number in "12")
    for name in one.keys() - {"micro_batches"}:
        assert two[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("case", ["float64", "float64_lora"])
def test_the_difference_is_rounding_and_nothing_else(made: Path, case: str) -> None:
    """In float64, at ten times the learning rate: a wrong gradient would be as far off as in float32."""
    assert apart(made / "1" / case, made / "2" / case) <= 1e-12


@pytest.mark.parametrize("case", ["full", "lora"])
def test_the_files_are_the_same_but_for_the_optimizers(made: Path, case: str) -> None:
    one, two = made / "1" / case, made / "2" / case
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    for path in one.glob("*.json"):
        assert path.read_bytes() == (two / path.name).read_bytes()
    assert [path.name for path in sorted((two / "trainer").iterdir())] == ["optimizer", "probe.json"]


def test_each_rank_saves_half_of_the_optimizers_state(made: Path) -> None:
    sizes = []
    for path in sorted((made / "2" / "full" / "trainer" / "optimizer").iterdir()):
        with safe_open(path, framework="pt") as file:
            moments = [key for key in file.keys() if key.endswith(".exp_avg")]  # noqa: SIM118
            sizes.append(sum(file.get_tensor(key).numel() for key in moments))
    assert len(sizes) == 2
    assert max(sizes) < 1.1 * min(sizes)


@pytest.mark.parametrize(("one", "other"), [("1-1", "2-1"), ("1-1-1", "2-1-3"), ("1-1", "1-2")])
def test_another_number_of_ranks_goes_on(made: Path, one: str, other: str) -> None:
    assert apart(made / one / "full", made / other / "full") <= 1e-6


@pytest.mark.parametrize("case", ["full", "lora"])
def test_transformers_and_peft_load_what_ranks_saved(made: Path, case: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rsgrpo_cli.models import model_directory

    folder = made / "2" / case
    if case == "lora":
        base = AutoModelForCausalLM.from_pretrained(model_directory("toy"), dtype=torch.float32)
        model = PeftModel.from_pretrained(base, folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    probe = json.loads((folder / "trainer" / "probe.json").read_text())
    ids = torch.tensor([probe["token_ids"]])
    assert list(AutoTokenizer.from_pretrained(folder)("1 + 1").input_ids)
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    assert torch.allclose(logprobs, torch.tensor(probe["logprobs"]), atol=1e-4)
