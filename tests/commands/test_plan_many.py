"""`rsgrpo plan --gpus`: time, disk and network of a step; from assumptions that can be replaced, or from a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.pipeline.throughput import read_throughput
from rsgrpo_cli.run.events import read
from rsgrpo_cli.run.run_dir import RunDir
from tests.commands.test_bad_input import refused
from tests.conftest import SMALL, Cli

# Qwen2.5-7B's.
QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
WEIGHTS = 7_615_616_512


@pytest.fixture
def asked(tmp_path: Path) -> list[Any]:
    """A plan for a model of which there is a config.json alone."""
    folder = tmp_path / "qwen"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN))
    return ["plan", "--model", folder, "--dtype", "bfloat16", "--engine", "vllm", "--memory", "80"]


def test_a_step_by_hand(cli: Cli, asked: list[Any]) -> None:
    own = [
        "disk=10",
        "disk_node=5",
        "verdicts=100",
        "flops=1000",
        "update_share=0.5",
        "parquet=8",
        "part_operations=50",
    ]
    flags = [part for number in own for part in ("--assume", number)]
    prompts = ["--prompts-per-step", "64", "--workers", "4", "--mean-tokens", "300", "--gradient-checkpointing"]
    made = cli(*asked, "--gpus", 8, "--data-parallel", 2, *prompts, *flags, "--json").json["many"]
    assert made["layout"]["parts"] == made["layout"]["busy"] == 2  # 64 x 16 completions in parts of 512
    assert made["layout"]["gpus_without_sampler"] == 6
    took = made["seconds"]
    assert took["scoring"] == 1024 / 400
    # 8 operations per weight and token, the forward pass made twice: 1,024 completions of 256 + 300 tokens.
    assert took["update"] == pytest.approx(8 * WEIGHTS * 1024 * 556 / (8 * 0.5e15))
    assert took["weights to samplers"] == pytest.approx(4 * WEIGHTS / 5e9)  # float32, one machine
    assert took["checkpoint"] == pytest.approx(12 * WEIGHTS / 5e9)
    assert made["total_seconds"] == pytest.approx(sum(took.values()))
    assert made["not_shortened_seconds"]["the longest part"] == pytest.approx(took["sampling"])  # a part each
    assert made["moved"]["rollouts"] == 1024 * 300 * 8
    assert made["moved"]["checkpoint"] == 12 * WEIGHTS
    assert made["moved"]["file operations"] == 100
    assert made["busy"]["file system"] == pytest.approx((16 * WEIGHTS + 1024 * 2400) / 10e9 / made["total_seconds"])
    assert made["completion_tokens"] == {"mean": 300, "longest": 1024, "source": "yours"}
    sources = {row["name"]: row["source"] for row in made["assumptions"]}
    assert (sources["disk"], sources["memory"], sources["cores"]) == ("yours", "--memory", "--workers")


def test_more_samplers_than_parts_are_idle(cli: Cli, asked: list[Any]) -> None:
    made = cli(*asked, "--gpus", 16, "--ray", "auto", "--ranks", 8)
    assert "8 samplers, 8 ranks" in made.out  # each of them with a GPU of its own
    assert "7 of 8 samplers have nothing to do: a step has 1 part" in made.out
    assert "saturates first: the longest part" in made.out
    assert "twice as many GPUs" in made.out
    one, eight = (cli(*asked, "--data-parallel", count, "--json").json["many"]["seconds"] for count in (1, 8))
    assert one["sampling"] == eight["sampling"]


def test_more_parts_are_made_side_by_side(cli: Cli, asked: list[Any]) -> None:
    def sampling(samplers: int) -> float:
        flags = ["--prompts-per-step", 128, "--data-parallel", samplers, "--json"]
        return float(cli(*asked, *flags).json["many"]["seconds"]["sampling"])

    assert sampling(1) == pytest.approx(4 * sampling(4))  # four parts
    assert sampling(3) == pytest.approx(2 * sampling(4))  # two rounds


def test_ranks_and_samplers_share_gpus_but_on_a_cluster(cli: Cli, asked: list[Any]) -> None:
    def layout(*flags: str) -> dict[str, int]:
        made: dict[str, int] = cli(*asked, *flags, "--json").json["many"]["layout"]
        return made

    assert layout("--gpus", "8", "--data-parallel", "8")["gpus"] == 8
    beside = layout("--gpus", "8", "--ray", "auto", "--ranks", "3", "--set", "vllm.tensor_parallel_size=2")
    assert (beside["ranks"], beside["samplers"], beside["gpus_without_sampler"]) == (3, 2, 1)
    assert layout("--gpus", "8", "--ray", "auto")["samplers"] == 8  # the command updates
    assert layout("--ray", "auto", "--ranks", "8", "--data-parallel", "4")["gpus"] == 12


def test_nothing_is_said_of_time_unless_asked(cli: Cli, asked: list[Any]) -> None:
    assert cli(*asked, "--json").json["many"] is None
    assert "Time per step" not in cli(*asked).out


def test_a_dry_run_knows_its_workers(cli: Cli) -> None:
    made = cli("train", "--dry-run", "--data-parallel", 2)
    assert "2 samplers, 1 rank" in made.out
    assert "the hf engine is slower" in made.out


def test_a_sampler_that_is_too_small(cli: Cli, asked: list[Any]) -> None:
    made = cli(*asked[:-1], "10", "--gpus", 8)
    assert "the weights leave a sampler no room on 1 GPU of 10 GB; --set vllm.tensor_parallel_size=2 would" in made.out
    shared = ["--set", "vllm.tensor_parallel_size=2"]
    assert "reason" not in cli(*asked[:-1], "10", "--gpus", 8, *shared, "--json").json["many"]


def test_a_run_has_measured_its_own(cli: Cli, trained: Path) -> None:
    found = read_throughput(RunDir(trained))
    assert found is not None
    made = cli("plan", "--run", trained, "--json").json["many"]
    assert made["measured_steps"] == found["steps"]
    assert made["completion_tokens"]["mean"] == found["mean_tokens"]
    config = RunDir(trained).config()
    completions = config.rollout.prompts_per_step * config.rollout.group_size
    assert made["seconds"]["update"] == pytest.approx(completions / found["update_completions"])
    assert made["seconds"]["sampling"] == pytest.approx(completions * found["mean_tokens"] / found["sampler_tokens"])
    assert "measured in" in cli("plan", "--run", trained).out
    twice = cli("plan", "--run", trained, "--ranks", 2, "--json").json["many"]
    assert twice["seconds"]["update"] == pytest.approx(made["seconds"]["update"] / 2)


def test_rates_of_several_workers_are_those_of_one(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "--run", "runs/x", *SMALL, "--steps", "1").code == 0
    run = RunDir(tmp_path / "runs" / "x")
    alone = read_throughput(run)
    assert alone
    lines = read(run.events)
    assert all("workers" not in line for line in lines)
    by_two = [line | ({"workers": 2} if line["stage"] == "update" else {}) for line in lines]
    run.events.write_text("".join(json.dumps(line) + "\n" for line in by_two))
    shared = read_throughput(run)
    assert shared
    assert shared["update_completions"] == alone["update_completions"] / 2
    assert shared["sampler_tokens"] == alone["sampler_tokens"]


def test_a_run_without_a_step_has_measured_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("prepare", "--run", "runs/x").code == 0
    assert read_throughput(RunDir(tmp_path / "runs" / "x")) is None
    assert cli("plan", "--run", "runs/x", "--json").json["many"] is None


def test_bad_input(cli: Cli, asked: list[Any]) -> None:
    refused(cli(*asked, "--gpus", "0"), 2, "--gpus: must be at least 1, not '0'")
    refused(cli(*asked, "--ray", "auto"), 2, "--ray does not say how many samplers to plan for")
    refused(cli(*asked, "--gpus", "8", "--data-parallel", "9"), 2, "9 samplers need 9 GPUs, and --gpus is 8")
    four = ["--set", "vllm.tensor_parallel_size=4"]
    refused(cli(*asked, "--gpus", "2", *four), 2, "a sampler takes 4 GPUs (vllm.tensor_parallel_size=4)")
    refused(cli(*asked, "--gpus", "8", "--data-parallel", "3", *four), 2, "3 samplers of 4 GPUs each need 12 GPUs")
    refused(cli(*asked, "--gpus", "8", "--ray", "auto", "--ranks", "8"), 2, "8 ranks and a sampler need 9 GPUs")
    beside = ["--gpus", "8", "--ray", "auto", "--ranks", "4", "--data-parallel", "5"]
    refused(cli(*asked, *beside), 2, "5 samplers beside 4 ranks need 9 GPUs, and --gpus is 8")
    uneven = ["--set", "vllm.tensor_parallel_size=3"]
    refused(cli(*asked, "--gpus", "8", *uneven), 2, "does not divide the model's 28 attention heads")
    refused(cli(*asked, "--gpus", "1000"), 2, "1000 ranks are too many for the 512 completions of a step")
    refused(cli(*asked, "--gpus", "8", "--assume", "warp=9"), 2, "'warp=9' names nothing that is assumed here")
    refused(cli(*asked, "--gpus", "8", "--assume", "disk=-1"), 2, "'disk=-1' is not a number above 0")
    refused(cli(*asked, "--gpus", "8", "--mean-tokens", "2000"), 2, "is more than --max-tokens 1024")


def test_the_flag_that_was_given_is_the_one_to_change(cli: Cli) -> None:
    refused = cli("plan", "--model", "toy", "--gpus", "9999")
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == "  --gpus 512"
