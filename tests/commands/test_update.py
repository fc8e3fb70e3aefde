"""An update of several optimizer steps, as a user runs it."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.stages import update as stage
from tests.conftest import SMALL, Cli

SEVERAL = ["--minibatches", "2", "--epochs", "2"]


def test_train_and_single_commands_leave_the_same(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "--run", "runs/loop", "--steps", "1", *SEVERAL, *SMALL).code == 0
    settings = [*SMALL, "--set", "update.minibatches=2", "--set", "update.epochs=2"]
    assert cli("prepare", "--run", "runs/single", *settings).code == 0
    for command in ("rollout", "score", "advantage", "update"):
        assert cli(command, "--run", "runs/single").code == 0
    for name in ("policy_logprobs", "update_metrics"):
        pair = [tmp_path / "runs" / run / "steps/000000" / f"{name}.parquet" for run in ("loop", "single")]
        assert pair[0].read_bytes() == pair[1].read_bytes()
    assert len(pq.read_table(pair[0])) == 4
    row = pq.read_table(tmp_path / "runs/loop/metrics.parquet").to_pylist()[0]
    assert row["optimizer_steps"] == 4
    assert row["grad_norm_max"] >= row["grad_norm"] > 0


def test_an_update_that_died_goes_on_with_its_old_logprobs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ["train", "--run", "runs/x", "--steps", "1", *SEVERAL, *SMALL]
    assert cli(*train).code == 0
    made = tmp_path / "runs/x/checkpoints/000001/model.safetensors"
    weights, logprobs = made.read_bytes(), tmp_path / "runs/x/steps/000000/policy_logprobs.parquet"
    written = os.stat(logprobs).st_mtime_ns
    (made.parent / "manifest.json").unlink()  # as if killed before the checkpoint was complete
    monkeypatch.delattr(stage, "old_logprobs")  # nobody asks for them again
    assert cli(*train).code == 0
    assert os.stat(logprobs).st_mtime_ns == written
    assert made.read_bytes() == weights


def test_a_cosine_that_is_over_refuses_to_train_on(cli: Cli, tmp_path: Path) -> None:
    train = ["train", "--run", "runs/x", "--set", "update.lr_schedule=cosine", *SMALL]
    assert cli(*train, "--steps", "2").code == 0
    lr = pq.read_table(tmp_path / "runs/x/metrics.parquet")["lr"].to_pylist()
    assert lr == pytest.approx([1e-3, 5e-4])  # (1 + cos(pi t / 2)) / 2 of 1e-3
    result = cli("train", "--run", "runs/x", "--steps", "3")
    assert result.code == 2
    assert "ends at a learning rate of 0 after 2 optimizer steps, and 3 are asked for" in result.err
    fork = ["fork", "y", "--run", "runs/x", "--steps", "3", "--set", "update.schedule_steps=4"]
    assert cli(*fork).code == 0
    assert cli("train", "--run", "runs/y").code == 0
