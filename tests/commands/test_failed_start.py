"""A command that fails: nothing that was there is lost, and the same command with another flag works."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import SMALL, Cli


def listing(folder: Path) -> dict[str, bytes]:
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.name not in ("lock", "events.jsonl", "run.log")
    ]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "command",
    [
        ["eval", "--benchmark", "nosuch.jsonl"],
        ["eval", "--benchmark", "nosuch"],
        ["eval", "--device", "cuda"],
        ["eval", "--engine", "vllm"],
        ["train", "--engine", "vllm", "--steps", "9"],
        ["train", "--reward", "no.such:thing"],
        ["rollout"],
        ["score"],
        ["advantage"],
        ["update"],
        ["prepare", "--dataset", "nosuch.jsonl"],
    ],
    ids=" ".join,
)
def test_a_copied_run_survives_a_mistyped_command(cli: Cli, trained: Path, tmp_path: Path, command: list[str]) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(trained / "config.json", copy)
    shutil.copytree(trained / "checkpoints", copy / "checkpoints")
    (copy / "NOTES.txt").write_text("precious")
    before = listing(copy)
    assert cli(*command, "--run", copy).code != 0
    assert before.items() <= listing(copy).items()


WRONG = [
    ["--reward", "no.such:thing"],
    ["--model", "nowhere"],
    ["--device", "cuda"],
    ["--engine", "vllm"],
    ["--dataset", "nosuch.jsonl"],
    ["--eval-every", "1", "--benchmark", "nosuch.jsonl"],
]


@pytest.mark.parametrize("wrong", WRONG, ids=" ".join)
def test_a_wrong_flag_can_be_put_right(cli: Cli, tmp_path: Path, wrong: list[str]) -> None:
    train = ["train", "--run", "runs/x", "--steps", "1", *SMALL]
    assert cli(*train, *wrong).code in (1, 2)
    assert not (tmp_path / "runs/x").exists()  # and so it is not the newest
    assert cli(*train).code == 0


FULL = {
    "transformers.PreTrainedModel.to": "not enough GPU memory for the weights",
    "rsgrpo_cli.policy.soundness.check_head": "not enough GPU memory for the policy",
    "rsgrpo_cli.policy.states.read_shared": "not enough GPU memory for the policy",
    "rsgrpo_cli.engines.hf_check._difference": "not enough GPU memory to sample",
    "rsgrpo_cli.engines.hf.require_room": "not enough GPU memory to sample",
    "rsgrpo_cli.engines.hf._Decoding.run": "not enough GPU memory to sample",
}
"""Where memory may run out before the first samples are there, and what is said of it."""
ERRORS: list[Exception] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
]


ERRORS.append(RuntimeError("CUDA error: operation failed due to a previous error during capture"))
ERRORS[-1].__context__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("error", ERRORS, ids=["torch", "cuBLAS", "driver", "a recording"])
@pytest.mark.parametrize("where", FULL)
def test_a_run_that_a_full_gpu_ended_can_be_started_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    train = ["train", "--run", "runs/x", "--steps", "1", *SMALL]
    with monkeypatch.context() as patched:
        patched.setattr(where, full)
        failed = cli(*train)
    assert (failed.code, FULL[where] in failed.err) == (1, True), failed.err
    assert not (tmp_path / "runs/x").exists()
    assert cli(*train).code == 0


def test_what_a_user_had_there_stays(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "runs/x").mkdir(parents=True)
    assert cli("train", "--run", "runs/x", "--reward", "no.such:thing").code == 2
    assert (tmp_path / "runs/x").is_dir()  # an empty directory that was there
    assert not list((tmp_path / "runs/x").iterdir())


def test_settings_may_change_while_nothing_was_made(cli: Cli, tmp_path: Path) -> None:
    assert cli("prepare", "--run", "runs/x", *SMALL, "--limit", "32").code == 0
    # As after a kill between the first file and the first sample.
    result = cli("train", "--run", "runs/x", "--steps", "1", "--beta", "8", "--lora-rank", "4")
    assert result.code == 0, result.err
    config = json.loads((tmp_path / "runs/x/config.json").read_text())["config"]
    assert (config["advantage"]["beta"], config["model"]["lora_alpha"], config["prepare"]["limit"]) == (8.0, 8.0, 32)
    again = cli("train", "--run", "runs/x", "--steps", "1", "--beta", "4")
    assert (again.code, "created with beta 8.0, not 4.0" in again.err) == (2, True)


def test_prepare_again_is_what_is_trained(cli: Cli, tmp_path: Path) -> None:
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    assert cli("prepare", "--run", "runs/x", "--limit", "16").code == 0
    assert cli("train", "--run", "runs/x", "--steps", "1", "--json").code == 0
    assert json.loads((tmp_path / "runs/x/config.json").read_text())["config"]["prepare"]["limit"] == 16


def test_an_evaluation_is_not_taken_back_by_the_next_command(cli: Cli, tmp_path: Path) -> None:
    assert cli("eval", "--model", "toy", "--run", "runs/base", "-n", "1", "--k", "1").code == 0
    shutil.rmtree(tmp_path / "runs/base/benchmarks")
    before = listing(tmp_path / "runs/base")
    assert cli("rollout").code != 0  # the newest run, which has no problems to train on
    assert before.items() <= listing(tmp_path / "runs/base").items()
