import hashlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rsgrpo_cli.errors import ArtifactError, DependencyError, UsageError
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.checkpoints import save_checkpoint
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import optimizer_step
from rsgrpo_cli.policy.optimizer_state import OPTIMIZER
from tests.conftest import SMALL, Cli
from tests.policy.conftest import OpenPolicy, logprobs, weights
from tests.policy.test_optimize import CFG

KINDS = pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")


@KINDS
def test_going_on_from_a_checkpoint_is_going_on(
    open_toy: OpenPolicy, experience: Experience, tmp_path: Path, rank: int
) -> None:
    policy = open_toy(model__lora_rank=rank)
    optimizer_step(policy, experience, CFG)
    save_checkpoint(policy, tmp_path)
    restored = open_toy(tmp_path, 1, model__lora_rank=rank)
    assert torch.equal(weights(restored), weights(policy))
    for each in (policy, restored):
        optimizer_step(each, experience, CFG)
    assert torch.equal(weights(restored), weights(policy))  # bit for bit: the optimizer's moments came back too


def test_a_full_checkpoint_loads_in_plain_transformers(
    open_toy: OpenPolicy, experience: Experience, tmp_path: Path
) -> None:
    policy = open_toy()
    optimizer_step(policy, experience, CFG)
    save_checkpoint(policy, tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Make 24 from 3 5 7 2."}], return_tensors="pt")
    torch.testing.assert_close(model(**ids).logits, policy.lm.causal(**ids).logits)


def test_an_adapter_loads_in_peft(open_toy: OpenPolicy, experience: Experience, tmp_path: Path) -> None:
    policy = open_toy(model__lora_rank=4)
    optimizer_step(policy, experience, CFG)
    save_checkpoint(policy, tmp_path)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_directory("toy")), tmp_path)
    ids = torch.tensor([[4, 6, 12, 14]])
    torch.testing.assert_close(model(input_ids=ids).logits, policy.lm.causal(input_ids=ids).logits)
    adapter = load_file(tmp_path / "adapter_model.safetensors")
    assert sum(weight.numel() for weight in adapter.values()) == weights(policy).numel()


@KINDS
def test_a_checkpoint_of_a_run_is_the_policy_that_sampled(cli: Cli, tmp_path: Path, rank: int) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "2", "--lora-rank", str(rank), *SMALL).code == 0
    assert cli("rollout", "--run", "runs/x", "--step", "2").code == 0
    checkpoint = tmp_path / "runs/x/checkpoints/000002"
    # transformers finds an adapter's base by itself.
    models = [AutoModelForCausalLM.from_pretrained(checkpoint)]
    if rank:
        base = AutoModelForCausalLM.from_pretrained(model_directory("toy"))
        models.append(PeftModel.from_pretrained(base, checkpoint))
    row = pq.read_table(tmp_path / "runs/x/steps/000002/rollouts/part-00000.parquet").slice(0, 1).to_pylist()[0]
    prompt, completion = row["prompt_ids"], row["completion_ids"]
    for model in models:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        found = logits.log_softmax(dim=-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]
        torch.testing.assert_close(found, torch.tensor(row["sampling_logprobs"]), rtol=1e-4, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer.apply_chat_template(row_messages(tmp_path, row), add_generation_prompt=True)["input_ids"] == prompt


def row_messages(tmp_path: Path, row: dict[str, Any]) -> list[dict[str, str]]:
    prompts = pq.read_table(tmp_path / "runs/x/prompts.parquet").to_pylist()
    return next(prompt["messages"] for prompt in prompts if prompt["prompt_id"] == row["prompt_id"])


def test_a_fresh_adapter_is_the_base_model(open_toy: OpenPolicy, experience: Experience) -> None:
    base, adapted, again = open_toy(), open_toy(model__lora_rank=4), open_toy(model__lora_rank=4)
    assert torch.equal(logprobs(base, experience), logprobs(adapted, experience))
    assert torch.equal(weights(adapted), weights(again))  # its random half comes from the run's seed
    assert not torch.equal(weights(adapted), weights(open_toy(model__lora_rank=4, seed=1)))


def test_a_damaged_optimizer_state_is_named(open_toy: OpenPolicy, experience: Experience, tmp_path: Path) -> None:
    policy = open_toy()
    optimizer_step(policy, experience, CFG)
    save_checkpoint(policy, tmp_path)
    path = tmp_path / OPTIMIZER
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"optimizer\.safetensors is damaged"):
        open_toy(tmp_path, 1)


@bitsandbytes
@KINDS
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_going_on_with_moments_in_8_bits(
    open_toy: OpenPolicy, experience: Experience, tmp_path: Path, rank: int
) -> None:
    settings = {"model__lora_rank": rank, "update__optimizer": "adamw_8bit"}
    policy = open_toy(**settings)
    before = weights(policy)
    optimizer_step(policy, experience, CFG)
    assert not torch.equal(weights(policy), before)
    save_checkpoint(policy, tmp_path)
    restored = open_toy(tmp_path, 1, **settings)
    for each in (policy, restored):
        optimizer_step(each, experience, CFG)
    assert torch.equal(weights(restored), weights(policy))
    assert restored.optimizer is not None
    slots = {slot for state in restored.optimizer.state.values() for slot in state}
    # Weights of fewer than 4,096 numbers keep their moments in 32 bits: all of the adapter's here.
    assert ({"absmax1", "qmap1"} <= slots) == (rank == 0)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is there")
def test_8_bit_moments_name_the_package_they_need(open_toy: OpenPolicy) -> None:
    with pytest.raises(DependencyError, match="pip install bitsandbytes"):
        open_toy(update__optimizer="adamw_8bit")


def test_the_state_of_another_optimizer_is_refused(
    open_toy: OpenPolicy, experience: Experience, tmp_path: Path
) -> None:
    policy = open_toy()
    optimizer_step(policy, experience, CFG)
    save_checkpoint(policy, tmp_path)
    tensors = load_file(tmp_path / OPTIMIZER)
    save_file({name.replace("exp_avg", "state"): value for name, value in tensors.items()}, tmp_path / OPTIMIZER)
    with pytest.raises(UsageError, match="state of a different optimizer"):
        open_toy(tmp_path, 1)


FEW = [*SMALL, "--set", "rollout.group_size=2", "--set", "rollout.prompts_per_step=4"]


@KINDS
def test_a_resumed_run_saves_what_an_undisturbed_one_does(cli: Cli, tmp_path: Path, rank: int) -> None:
    """Its first checkpoint is pruned at the third new one, and the tokenizer must not be looked for there."""
    train = ["train", *FEW, "--lora-rank", str(rank), "--run"]
    assert cli(*train, "runs/whole", "--steps", "4").code == 0
    for steps in ("1", "4"):
        result = cli(*train, "runs/resumed", "--steps", steps)
        assert result.code == 0, result.err
    folders = [tmp_path / "runs" / name / "checkpoints" for name in ("whole", "resumed")]
    whole, resumed = ({path.relative_to(f): path.read_bytes() for path in f.rglob("*.*")} for f in folders)
    assert {path.parts[0] for path in whole} == {"000003", "000004"}
    assert whole == resumed


def test_a_checkpoint_has_one_set_of_weights(cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(model_directory("toy"), tmp_path / "m")
    torch.save(load_file(tmp_path / "m/model.safetensors"), tmp_path / "m/pytorch_model.bin")
    (tmp_path / "m/LICENSE").write_text("free")
    (tmp_path / "m/additional_chat_templates").mkdir()
    (tmp_path / "m/additional_chat_templates/tools.jinja").write_text("{{ messages }}")
    assert cli("train", "--model", "m", "--run", "runs/x", "--steps", "1", *FEW).code == 0
    checkpoint = {path.name for path in (tmp_path / "runs/x/checkpoints/000001").iterdir()}
    assert checkpoint == {path.name for path in (tmp_path / "m").iterdir()} - {"pytorch_model.bin"} | {
        "manifest.json", "trainer",
    }  # fmt: skip
    assert cli("export", "runs/x", "--out", "out").code == 0
    assert (tmp_path / "out/additional_chat_templates/tools.jinja").is_file()
    assert checkpoint - {path.name for path in (tmp_path / "out").iterdir()} == {"manifest.json", "trainer"}


@pytest.mark.parametrize(
    "defaults",
    ['{"eos_token_id": 1, "do_sample": false, "temperature": 0.6, "top_p": 0.95}', '{"eos_token_id": 1}', None],
    ids=["one that transformers will not write", "a plain one", "none"],
)
def test_the_sampling_defaults_of_a_checkpoint_are_the_models_own(
    cli: Cli, tmp_path: Path, defaults: str | None
) -> None:
    shutil.copytree(model_directory("toy"), tmp_path / "m")
    (tmp_path / "m/generation_config.json").unlink()
    if defaults is not None:
        (tmp_path / "m/generation_config.json").write_text(defaults)
    result = cli("train", "--model", "m", "--run", "runs/x", "--steps", "1", *FEW)
    assert result.code == 0, result.err
    assert cli("train", "--run", "runs/x", "--steps", "2").code == 0  # and it loads again
    for merge in ([], ["--merge"]):
        exported = cli("export", "runs/x", "--out", f"out{len(merge)}", *merge)
        assert exported.code == 0, exported.err
    for folder in ("runs/x/checkpoints/000001", "runs/x/checkpoints/000002", "out0", "out1"):
        path = tmp_path / folder / "generation_config.json"
        assert (path.read_text() if path.is_file() else None) == defaults
        described = json.loads((tmp_path / folder / "config.json").read_text())
        assert described["model_type"] == "llama"


def opened_by(cli: Cli, run: Path, *, train: bool = True) -> list[str]:
    """What each command that opens the newest of two checkpoints says; empty where it does."""
    commands = [["eval", "--k", "1", "-n", "1", "--run", run], ["export", run, "--out", "out"]]
    results = [cli(*command) for command in [["train", "--steps", "3", "--run", run], *commands][not train :]]
    assert all(result.code == (1 if "error: " in result.err else 0) for result in results)
    for made in (run.parent.parent / "out", run / "evals"):
        shutil.rmtree(made, ignore_errors=True)
    return [result.err if result.code else "" for result in results]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_content_that_is_not_what_was_saved_is_noticed(cli: Cli, trained: Path, name: str) -> None:
    path = trained / "checkpoints" / "000002" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    path.write_bytes(bytes(content))
    for said in opened_by(cli, trained):
        assert f"checkpoint 2 of run trained is damaged: {name} has changed since it was saved" in said
        assert "remove" in said


def test_files_of_another_step_or_of_another_run_are_noticed(cli: Cli, trained: Path, tmp_path: Path) -> None:
    first, second = trained / "checkpoints" / "000001", trained / "checkpoints" / "000002"
    shutil.copytree(second, tmp_path / "whole")
    for name in ("model.safetensors", "trainer/optimizer.safetensors"):
        shutil.copyfile(first / name, second / name)
        said = opened_by(cli, trained)
        assert "is damaged" in said[0]
        assert all(bool(text) == (name == "model.safetensors") for text in said[1:])  # they use no optimizer
        shutil.copyfile(tmp_path / "whole" / name, second / name)
    shutil.rmtree(second)
    shutil.copytree(first, second)  # a whole checkpoint, manifest and all
    assert all("it is not the policy that step 1 of this run made" in text for text in opened_by(cli, trained))


def test_what_was_not_saved_with_a_checkpoint_is_not_loaded_with_it(cli: Cli, trained: Path) -> None:
    folder = trained / "checkpoints" / "000002"
    (folder / "notes.txt").write_text("mine")
    (folder / ".DS_Store").write_text("")
    assert opened_by(cli, trained, train=False) == ["", ""]
    (folder / "adapter_config.json").write_text("{}")
    assert all("adapter_config.json was not saved with it" in text for text in opened_by(cli, trained))


@pytest.mark.parametrize("kind", [None, "sha256"])
def test_a_checkpoint_with_older_hashes_or_none_is_opened(cli: Cli, trained: Path, kind: str | None) -> None:
    folder = trained / "checkpoints" / "000002"
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["check"]
    assert manifest.pop("xxh3_128").keys() == manifest["files"].keys()
    if kind:
        manifest[kind] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert opened_by(cli, trained, train=False) == ["", ""]
    if kind:
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[-9] ^= 1
        (folder / "model.safetensors").write_bytes(content)
        assert all(
            "model.safetensors has changed since it was saved" in text for text in opened_by(cli, trained, train=False)
        )


def test_a_checkpoint_is_read_through_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rsgrpo_cli.run import manifests

    folder = trained / "checkpoints" / "000002"
    assert manifests.damage(folder, trainer=True) is None

    def again(*_: object) -> None:
        raise AssertionError("hashed again")

    with monkeypatch.context() as patched:
        patched.setattr("xxhash.xxh3_128", again)
        assert manifests.damage(folder, trainer=True) is None
    assert shutil.copyfile(trained / "config.json", folder / "config.json").is_file()
    assert "config.json has" in str(manifests.damage(folder, trainer=True))
