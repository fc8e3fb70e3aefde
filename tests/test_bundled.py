"""The bundled model and problems, and the script that makes them, belong together."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rsgrpo_cli.rewards.countdown import CountdownReward
from rsgrpo_cli.rewards.types import Sample

ROOT = Path(__file__).parents[1]
TOY = ROOT / "data" / "toy"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", TOY / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (TOY / f"{name}.jsonl").read_text().splitlines()]


def test_every_file_is_the_one_that_the_script_made() -> None:
    receipt = json.loads((TOY / "build.json").read_text())["sha256"]
    for name, digest in receipt.items():
        assert hashlib.sha256((TOY / name).read_bytes()).hexdigest() == digest, name
    files = {path.relative_to(TOY).as_posix() for path in TOY.rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} == {*receipt, "build.json"}
    assert sum((TOY / name).stat().st_size for name in receipt) < 5e6


def test_the_problems_come_from_the_script_bit_for_bit(build: ModuleType, tmp_path: Path) -> None:
    build.write_data(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (TOY / path.name).read_bytes(), path.name


def test_the_tokenizer_comes_from_the_script(build: ModuleType, tmp_path: Path) -> None:
    build.build_tokenizer().save_pretrained(tmp_path)
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / name).read_text() == (TOY / "model" / name).read_text()


@pytest.mark.parametrize("files", ["puzzles", "hard"])
def test_training_validation_and_test_problems_are_disjoint(build: ModuleType, files: str) -> None:
    def keys(name: str) -> set[str]:
        return {
            build.puzzle_key(sorted(map(int, r["answer"].split(" -> ")[0].split())), int(r["answer"].split()[-1]))
            for r in rows(f"{files}_{name}")
        }

    train, validation, test = keys("train"), keys("validation"), keys("test")
    assert (len(train), len(validation), len(test)) == (768, 128, 256)
    assert len(train | validation | test) == 768 + 128 + 256
    assert {build.part_of(key) for key in train} == {"train"}
    assert {build.part_of(key) for key in validation | test} == {"test"}
    sums = [{row["problem"] for row in rows(name)} for name in ("sums_train", "sums_test")]
    assert not sums[0] & sums[1]


@pytest.mark.parametrize("tier", [0, 1])
def test_what_the_model_was_taught_is_right_and_from_no_other_part(build: ModuleType, tier: int) -> None:
    import random

    reward = CountdownReward()
    batch = build.supervised_batch(random.Random(0), build.TIERS[tier])
    for problem, answer in batch[: build.BATCH - build.SUMS_PER_BATCH]:
        target, numbers = problem.removeprefix("Make ").removesuffix(".").split(" from ")
        assert build.part_of(build.puzzle_key(list(map(int, numbers.split())), int(target))) == "supervised"
        assert reward([Sample(answer, f"{numbers} -> {target}")])[0].reward == 1.0


def test_every_puzzle_has_a_solution(build: ModuleType) -> None:
    # A puzzle is made from an expression, so it has one; the reward must agree that such an expression is right.
    import random

    rng = random.Random(3)
    for _ in range(200):
        numbers, target, expression = build.puzzle(rng, build.EVEN, rng.choice([4, 5]))
        digits = " ".join(map(str, numbers))
        verdict = CountdownReward()([Sample(f"\\boxed{{{expression}}}", f"{digits} -> {target}")])[0]
        assert verdict.reward == 1.0, (expression, digits, target)


@pytest.mark.parametrize("folder", ["model", "hard"])
def test_the_model_loads_in_plain_transformers_and_is_small(folder: str) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(TOY / folder), AutoTokenizer.from_pretrained(TOY / folder)
    assert sum(weight.numel() for weight in model.parameters()) < 1e6
    assert model.config.model_type == "llama"
    chat = [{"role": "user", "content": "Make 24 from 3 5 7 2."}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert tokenizer.convert_ids_to_tokens(ids) == [
        *("<|user|>", "Make", "2", "4", "from", "3", "5", "7", "2", ".", "<|assistant|>")
    ]
    output = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0, len(ids) :]
    assert tokenizer.decode(output).startswith("\\boxed{")
    assert tokenizer.decode(output).endswith("}<eos>")


@pytest.mark.rebuild
@pytest.mark.parametrize("tier", [0, 1])
def test_training_again_gives_the_same_model(tmp_path: Path, build: ModuleType, tier: int) -> None:
    """Floating-point sums differ a little between processors, so: near, not equal."""
    build.write_model(tmp_path, build.TIERS[tier])
    folder = TOY / build.TIERS[tier].model
    found, bundled = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    ids = torch.tensor([[4, 6, 12, 14, 7, 13, 15, 17, 12, 25, 5]])
    models = [AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path, folder)]
    logprobs = [torch.log_softmax(model(input_ids=ids).logits[0, -1], dim=-1) for model in models]
    assert found.keys() == bundled.keys()
    torch.testing.assert_close(logprobs[0], logprobs[1], rtol=0, atol=0.05)


@pytest.mark.slow
def test_the_wheel_carries_all_that_training_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    unpacked, empty = tmp_path / "unpacked", tmp_path / "empty"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
        names = archive.namelist()
    assert "rsgrpo_cli/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assets = (ROOT / "rsgrpo_cli" / "report" / "html" / "assets").iterdir()
    assert {path.relative_to(ROOT).as_posix() for path in assets} <= set(names)
    assert wheel.stat().st_size < 5e6
    empty.mkdir()
    # -S and -P would hide the installed packages; what must not be found is the checkout.
    program = f"import sys; sys.path = ['{unpacked}'] + [p for p in sys.path if p != '{ROOT}']; "
    program += "import rsgrpo_cli; assert 'unpacked' in rsgrpo_cli.__file__; "
    program += "sys.argv = ['rsgrpo', 'train', '--steps', '1']; from rsgrpo_cli.app import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=empty,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (empty / "runs/toy-rs_grpo-beta2-001/checkpoints/000001/manifest.json").exists()
