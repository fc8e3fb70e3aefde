"""The examples run, and do what they say."""

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.config import ModelConfig
from rsgrpo_cli.models import load_model, model_directory
from rsgrpo_cli.tasks.sources import load_source
from tests.conftest import SMALL, Cli

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_step_is_the_step_that_train_takes(cli: Cli, tmp_path: Path) -> None:
    settings = ["--set", "rollout.group_size=16", "--set", "rollout.prompts_per_step=4", "--set", "score.workers=1"]
    assert cli("train", "--run", "runs/x", "--steps", "1", "--beta", "2", *settings).code == 0
    step = tmp_path / "runs/x/steps/000000"
    rollouts, update = (
        pq.read_table(step / name).to_pylist() for name in ("rollouts/part-00000.parquet", "update_metrics.parquet")
    )
    rows = sorted({int(row["prompt_id"].rpartition("-")[2]) for row in rollouts})
    problems = load_source("toy", "train").problems

    lm = load_model(model_directory("toy"), ModelConfig(device="cpu"))
    facts = example("one_step").one_step(lm, [problems[row] for row in rows], group_size=16, beta=2.0)

    assert facts["grad_norm"] == pytest.approx(update[0]["grad_norm"], rel=1e-4)
    assert facts["loss"] == pytest.approx(update[0]["loss"], rel=1e-4)
    assert facts["grad_norm"] > 0.01
    assert all(weight.grad is not None for weight in lm.causal.parameters())


@pytest.mark.slow
def test_one_step_runs_as_a_script() -> None:
    result = subprocess.run(
        [sys.executable, EXAMPLES / "one_step.py"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert result.returncode == 0, result.stderr
    assert list(ast.literal_eval(result.stdout)) == ["reward_mean", "loss", "grad_norm"]
    assert len((EXAMPLES / "one_step.py").read_text().splitlines()) <= 60


def test_one_step_tells_what_it_is_without_a_step() -> None:
    for arguments, code in ((["--help"], 0), (["--beta", "4"], 2)):
        result = subprocess.run(
            [sys.executable, EXAMPLES / "one_step.py", *arguments], capture_output=True, text=True, check=False
        )
        assert (result.returncode, "usage: one_step.py" in result.stdout + result.stderr) == (code, True)
        assert "reward_mean" not in result.stdout


def test_own_reward_gives_part_of_the_credit() -> None:
    nearly_right = example("own_reward").nearly_right
    texts = [r"\boxed{3 * 5 + 7 + 2}", r"\boxed{3 + 5 + 7 + 2}", r"\boxed{24}", "24"]
    assert nearly_right(texts, ["3 5 7 2 -> 24"] * 4) == [1.0, 0.2, 0.0, 0.0]
    assert nearly_right(["anything"], ["no puzzle"]) == [None]


def test_own_reward_trains_as_its_text_says(cli: Cli, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "own_reward.py", tmp_path)
    result = cli("train", "--run", "runs/own", "--steps", "1", "--reward", "own_reward:nearly_right", *SMALL)
    assert result.code == 0, result.err
    assert "own" in cli("status", "--run", "runs/own").out


def test_own_estimator_leaves_outliers_out_of_the_mean() -> None:
    trimmed = example("own_estimator").trimmed
    # Sorted: 0, 1, 1, 10; without a quarter at either end the mean is 1.
    assert trimmed(np.array([10.0, 0.0, 1.0, 1.0])).tolist() == [9.0, -1.0, 0.0, 0.0]
    assert trimmed(np.array([10.0, 0.0, 1.0, 1.0]), share=0.0).tolist() == [7.0, -3.0, -2.0, -2.0]
    with pytest.raises(ValueError, match="share must be"):
        trimmed(np.zeros(4), share=0.5)


def test_own_estimator_trains_as_its_text_says(cli: Cli, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "own_estimator.py", tmp_path)
    flags = ["--estimator", "own_estimator:trimmed", "--set", "advantage.share=0.2"]
    result = cli("train", "--run", "runs/trimmed", "--steps", "1", *flags, *SMALL)
    assert result.code == 0, result.err
    assert "estimator own_estimator:trimmed, scale none, share 0.2" in cli("status", "--run", "runs/trimmed").out
    refused = cli("train", "--run", "runs/y", "--steps", "1", *flags, "--set", "advantage.share=0.5", *SMALL)
    assert (refused.code, "share must be at least 0 and below 0.5, not 0.5" in refused.err) == (1, True)


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment with `rsgrpo` on the path, and a `scontrol` that writes down what it is asked for."""
    programs = {
        "rsgrpo": f'exec "{sys.executable}" -m rsgrpo_cli "$@"',
        "scontrol": f'echo "$@" >> "{tmp_path}/asked"',
    }
    for name, command in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}


@pytest.mark.slow
def test_a_slurm_job_that_is_told_to_end_goes_back_into_the_queue(tmp_path: Path, slurm: dict[str, str]) -> None:
    train = ["bash", str(EXAMPLES / "train.slurm"), "--run", "runs/x", *SMALL]
    job = subprocess.Popen([*train, "--steps", "500"], cwd=tmp_path, env=slurm, stderr=subprocess.PIPE, text=True)
    while job.poll() is None and not (tmp_path / "runs/x/checkpoints/000001/manifest.json").exists():
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)  # to the batch script alone, as --signal=B:TERM does
    err = job.communicate(timeout=120)[1]
    assert job.returncode == 0, err
    assert "everything finished is kept" in err
    assert (tmp_path / "asked").read_text() == "requeue 17\n"

    done = len(list((tmp_path / "runs/x/checkpoints").glob("*/manifest.json")))
    again = subprocess.run(
        [*train, "--steps", str(done + 1)], cwd=tmp_path, env=slurm, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert f"{done + 1} steps done" in again.stdout
    assert (tmp_path / "asked").read_text() == "requeue 17\n"  # a job that has finished asks for nothing


def test_a_slurm_job_that_fails_is_not_tried_again(tmp_path: Path, slurm: dict[str, str]) -> None:
    job = ["bash", str(EXAMPLES / "train.slurm")]
    for arguments, said in ((["--run", "x", "--model", "nowhere"], "no model at"), ([], "give the run a name")):
        result = subprocess.run(
            [*job, *arguments], cwd=tmp_path, env=slurm, capture_output=True, text=True, check=False
        )
        assert result.returncode == 2 if not arguments else result.returncode == 1
        assert said in result.stderr
    assert not (tmp_path / "asked").exists()
