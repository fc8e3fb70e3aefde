"""`rsgrpo` with the real vLLM on the CPU, as processes: `make test-vllm`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import SMALL, running

pytestmark = pytest.mark.vllm

TRAIN = ["train", "--run", "runs/x", "--engine", "vllm", *SMALL]


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "rsgrpo_cli", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def rsgrpo(folder: Path, *arguments: str) -> dict[str, object]:
    """What a command prints with --json; vLLM may print nothing there."""
    process = start(folder, *arguments, "--json")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    made: dict[str, object] = json.loads(out.splitlines()[-1])  # train prints an object a step before
    return made


def check_mismatch(run: Path) -> None:
    """Sampler and trainer compute the same policy at every step: what differs is rounding."""
    for row in pq.read_table(run / "metrics.parquet").to_pylist():
        assert 0 < row["logprob_diff_mean"] < 1e-5
        assert row["logprob_diff_max"] < 1e-3
        assert 0.999 < row["importance_ratio_max"] < 1.001


def test_two_steps_of_all_weights(tmp_path: Path) -> None:
    # No checkpoint between the steps: the weights go to vLLM by a directory that is gone afterwards.
    rsgrpo(tmp_path, *TRAIN, "--steps", "2", "--checkpoint-every", "2")
    check_mismatch(tmp_path / "runs" / "x")
    assert not (tmp_path / "runs" / "x" / ".weights").exists()
    assert [path.name for path in (tmp_path / "runs" / "x" / "checkpoints").iterdir()] == ["000002"]


def test_two_steps_of_lora_and_an_evaluation(tmp_path: Path) -> None:
    rsgrpo(tmp_path, *TRAIN, "--steps", "2", "--lora-rank", "8")
    check_mismatch(tmp_path / "runs" / "x")
    evaluated = rsgrpo(tmp_path, "eval", "--run", "runs/x", "--k", "1,4", "-n", "4", "--top-p", "0.9")
    assert evaluated["policy"] == 2


def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "x"
    command = [*TRAIN, "--steps", "3", "--checkpoint-every", "3"]
    process = start(tmp_path, *command)
    until = time.monotonic() + 600
    while not (run / "steps" / "000001" / "rollouts" / "manifest.json").is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    children = descendants(process.pid)
    assert children
    process.send_signal(signal.SIGKILL)
    process.communicate()
    sampled = (run / "steps" / "000000" / "rollouts" / "part-00000.parquet").read_bytes()
    until = time.monotonic() + 60
    while alive := [child for child in children if running(child)]:
        assert time.monotonic() < until, f"vLLM goes on without us: {alive}"
        time.sleep(0.5)
    # With no checkpoint before the last step, the updates are repeated from the rollouts that are there.
    assert rsgrpo(tmp_path, *command)["policy"] == 3
    assert (run / "steps" / "000000" / "rollouts" / "part-00000.parquet").read_bytes() == sampled
    assert rsgrpo(tmp_path, "status", "--run", "runs/x")["stale"] == []


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_an_actor_of_a_cluster_samples_with_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps; the weights of the second policy are handed over, and its probe is compared there."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        rsgrpo(tmp_path, *TRAIN, "--steps", "2", "--checkpoint-every", "2", "--ray", cluster.address)
    finally:
        cluster.shutdown()
    run = tmp_path / "runs" / "x"
    check_mismatch(run)
    assert (run / "vllm-0.log").is_file()
    assert not (run / "vllm.log").exists()
