"""`rsgrpo plan`: the arithmetic and the bytes, before anything loads."""

import json
import shutil
from pathlib import Path

import pytest

from rsgrpo_cli.models import model_directory
from tests.commands.test_bad_input import refused
from tests.conftest import Cli

# Qwen2.5-Math-1.5B's.
QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    """A directory with a config.json and nothing else."""
    folder = tmp_path / "qwen"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN))
    return folder


def test_a_model_without_weights(cli: Cli, qwen: Path, tmp_path: Path) -> None:
    plan = cli("plan", "--model", qwen, "--dtype", "bfloat16", "--memory", "80", "--json").json
    weights = 1_543_714_304  # as published
    assert plan["shape"]["parameters"] == plan["shape"]["trained"] == weights
    backward = plan["phases"]["update: backward"]["bytes"]
    assert (backward["weights"], backward["gradients"]) == (4 * weights, 4 * weights)
    assert backward["optimizer state"] == 8 * weights
    assert plan["checkpoint_bytes"] == 12 * weights
    assert plan["logits"]["micro_batch_bytes"] == 16384 * 151936 * 4
    assert plan["workload"]["completions"] == 512
    assert plan["free_bytes"] == 80 * 10**9
    assert not plan["fits"]  # 512 completions of 1,024 tokens, nothing recomputed
    assert plan["peak_bytes"] == plan["phases"]["update: backward"]["total"]
    assert plan["config"]["model"]["name"] == str(qwen)
    assert [path.name for path in tmp_path.iterdir()] == ["qwen"]


def test_a_gpu_is_planned_for_as_it_is_used(cli: Cli, qwen: Path) -> None:
    flags = ["--lora-rank", "32", "--dtype", "bfloat16", "--engine", "hf", "--gradient-checkpointing"]
    asked = ["plan", "--model", qwen, "--json", *flags]
    here, large, small = (cli(*asked, *memory).json for memory in ([], ["--memory", "80"], ["--memory", "5"]))
    assert here["logits"]["chunk_tokens"] == 2**25 // 151936
    assert large["logits"]["chunk_tokens"] == cli(*asked, "--gpus", "1").json["logits"]["chunk_tokens"]
    assert large["logits"]["chunk_tokens"] == 2**27 // 151936
    assert here["sampled_at_once"] == 65536 // 1280
    assert large["sampled_at_once"] == 512  # all of a part
    assert "sampling: 512 completions at once" in cli(*asked[:3], *flags, "--memory", "80").out
    # The cache of 65,536 tokens beside the weights is too much for it, and half of it is not.
    assert small["sampled_at_once"] == 65536 // 1280 // 2
    assert small["phases"]["rollout"]["total"] <= 8e9
    assert cli(*asked, "--engine", "vllm").json["sampled_at_once"] is None


def test_a_step_of_the_optimizer_takes_no_copy_of_the_weights(cli: Cli, qwen: Path) -> None:
    phases = cli("plan", "--model", qwen, "--memory", "80", "--json").json["phases"]
    assert phases["update: optimizer"]["total"] == 16 * 1_543_714_304


def test_the_remedy_is_one(cli: Cli, qwen: Path) -> None:
    asked = ["plan", "--model", qwen, "--dtype", "bfloat16", "--memory", "40", "--json"]
    plan = cli(*asked).json
    assert plan["remedy"].startswith("--gradient-checkpointing")
    assert cli(*asked, *plan["remedy"].split()).json["fits"]
    hopeless = cli("plan", "--model", qwen, "--memory", "1").out
    assert "does not fit" in hopeless
    assert "a smaller model" in hopeless


def test_what_is_printed(cli: Cli) -> None:
    result = cli("plan", "--beta", "8", "--eval-every", "60")
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert ["advantage.beta", "8", "2"] in lines  # what was asked for, and the default
    assert ["completions", "per", "step", "512", "32", "x", "16"] in lines
    assert ["epochs", "over", "the", "problems", "5.00", "120", "x", "32", "/", "768", "problems"] in lines
    assert ["completions", "per", "evaluation", "65,536", "256", "x", "256"] in lines
    assert any(line[:2] == ["fits:"] or line[:1] == ["fits:"] for line in lines)


def test_replaced_groups_and_several_optimizer_steps_are_work(cli: Cli) -> None:
    asked = ["--zero-variance", "resample", "--minibatches", "2", "--epochs", "3", "--max-tokens", "100"]
    result = cli("plan", *asked)
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert ["with", "replaced", "groups,", "at", "most", "2,048", "4", "times", "that"] in lines  # rollout.draw_limit
    assert ["sampled", "tokens", "per", "step,", "at", "most", "204,800", "2,048", "x", "100"] in lines
    passes = next(line for line in lines if line[:1] == ["micro-batches"])
    assert passes[5] == "144"  # 6 optimizer steps on 256 completions each, 4,096 // 356 = 11 at a time


def test_a_dry_run_is_a_plan(cli: Cli, tmp_path: Path) -> None:
    def without_memory(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("fits")]

    asked = ["--lora-rank", "4", "--group-size", "8"]
    dry, plan = cli("train", "--run", "runs/x", "--dry-run", *asked), cli("plan", "--run", "runs/x", *asked)
    assert without_memory(dry.out) == without_memory(plan.out)
    assert "an adapter of" in plan.out
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_there_is_planned_as_it_is(cli: Cli, trained: Path) -> None:
    before = sorted(path for path in trained.rglob("*"))
    plan = cli("plan", "--run", trained, "--steps", "7", "--json").json
    assert plan["config"]["rollout"]["group_size"] == 4
    assert plan["workload"]["all_optimizer_steps"] == 7
    refused(cli("plan", "--run", trained, "--beta", "8"), 2, "was created with beta 2.0, not 8.0")
    assert sorted(path for path in trained.rglob("*")) == before


def test_other_settings_show(cli: Cli, qwen: Path) -> None:
    def phases(*flags: str) -> dict[str, dict[str, int]]:
        made = cli("plan", "--model", qwen, "--json", *flags).json["phases"]
        return {name: phase["bytes"] for name, phase in made.items()}

    plain, penalised = phases(), phases("--kl-coef", "0.1")
    assert plain["rollout"]["reference copy"] == 0
    assert penalised["rollout"]["reference copy"] == plain["rollout"]["weights"]
    adapted = phases("--kl-coef", "0.1", "--lora-rank", "32")
    assert adapted["rollout"]["reference copy"] == 0
    assert adapted["update: optimizer"]["optimizer state"] == 2 * adapted["update: optimizer"]["adapter"]
    # 65,536 tokens in the cache of the hf engine at most; 28 layers, 2 heads of 128, keys and values, float32.
    assert plain["rollout"]["KV cache"] == pytest.approx(65536 * 28 * 2 * 2 * 128 * 4 * 29 / 28, rel=0.03)
    assert phases("--engine", "dummy")["rollout"]["KV cache"] == 0
    # 16 completions of 1,280 tokens
    assert phases("--engine", "vllm")["rollout"]["KV cache"] == 16 * 1280 * 28 * 2 * 2 * 128 * 4
    small = phases("--set", "update.optimizer=adamw_8bit")
    assert 4 * small["update: optimizer"]["optimizer state"] == plain["update: optimizer"]["optimizer state"]


def test_bad_input(cli: Cli, tmp_path: Path) -> None:
    refused(cli("plan", "--model", "none/such"), 1, "model none/such is not in the local cache")
    refused(cli("plan", "--model", "nowhere"), 1, "no model at 'nowhere'")
    refused(cli("plan", "--dataset", "foo.jsonl"), 1, "no dataset file at foo.jsonl")
    refused(cli("plan", "--memory", "-3"), 2, "--memory: must be at least 0.001, not '-3'")
    (tmp_path / "broken").mkdir()
    shutil.copyfile(model_directory("toy") / "tokenizer.json", tmp_path / "broken" / "config.json")
    refused(cli("plan", "--model", "broken"), 1, "is not the config of a known language model")
    (tmp_path / "broken" / "config.json").write_text("{")
    refused(cli("plan", "--model", "broken"), 1, "broken/config.json")


def test_float64_is_not_counted(cli: Cli, qwen: Path) -> None:
    asked = cli("plan", "--model", qwen, "--dtype", "float64", "--memory", "80")
    assert asked.code == 2
    assert asked.err.splitlines()[-2:] == [
        "error: memory is not counted in float64",
        "  --dtype float32, and reckon with twice the bytes",
    ]
