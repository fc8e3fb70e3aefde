"""Ranks of an update that Ray Train places make what one process makes."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL, Cli
from tests.pipeline.spread.conftest import ray_is_here
from tests.ranks.conftest import ROOT, apart, rsgrpo

pytestmark = pytest.mark.ray
DYING = os.pathsep.join([str(ROOT / "tests" / "ranks" / "dying"), str(ROOT), *filter(None, sys.path)])
RUN = [*SMALL, "--steps", "2", "--max-tokens", "40", "--set", "update.learning_rate=1e-4", "--minibatches", "2"]
NODE = {"num_cpus": 2, "object_store_memory": 80_000_000}


def before_last(whole: Path) -> Path:
    """A copy of a run of two steps, as it was before its last update."""
    copy = whole.with_name("copy")
    shutil.copytree(whole, copy)
    shutil.rmtree(copy / "checkpoints" / "000002")
    for name in ("update_metrics.parquet", "policy_logprobs.parquet"):
        (copy / "steps" / "000001" / name).unlink()
    return copy


@ray_is_here
def test_training_on_a_cluster_ends_with_the_weights_and_pass_at_k_of_one_process(
    cli: Cli, cluster: Any, small_parts: None
) -> None:
    """Two samplers and two ranks, on two nodes; two steps in several optimizer steps each."""
    assert cli("train", "--run", "runs/one", *RUN).code == 0
    for _ in range(2):
        cluster.add_node(**NODE)
    there = ["--ray", cluster.address, "--ranks", "2"]
    done = cli("train", "--run", "runs/two", *RUN, *there)
    assert done.code == 0, done.err
    one, two = Path("runs/one"), Path("runs/two")
    for version in ("000001", "000002"):
        assert apart(one / "checkpoints" / version, two / "checkpoints" / version) <= 1e-5
    logs = {path.name for path in two.iterdir()} - {path.name for path in one.iterdir()}
    assert logs == {"ranks.log", "worker-0.log", "worker-1.log"}
    measured = []
    for name in ("one", "two"):
        done = cli("eval", "--run", f"runs/{name}", "-n", "4", "--k", "1,4", "--json")
        found = json.loads(done.out.splitlines()[-1])
        measured.append({key: value for key, value in found.items() if key.startswith("pass@")})
    assert measured[0] == measured[1]
    assert measured[0]


@ray_is_here
def test_a_killed_rank_ends_the_command_and_the_next_one_completes_it(cli: Cli, cluster: Any) -> None:
    assert cli("train", "--run", "runs/one", *RUN).code == 0
    cluster.add_node(**NODE)
    copy = before_last(Path("runs/one").absolute())
    files = {path.relative_to(copy) for path in copy.rglob("*")}
    command = ("update", "--run", copy, "--ranks", "2", "--ray", cluster.address)
    died = rsgrpo(*command, cwd=copy, RSGRPO_TEST_DIES="saving", PYTHONPATH=DYING)
    assert (died.returncode, died.stdout) == (1, ""), died.stderr
    errors = [line for line in died.stderr.splitlines() if line.startswith("error:")]
    assert errors == ["error: rank 1 of 2 died during the update"], died.stderr
    assert "Traceback" not in died.stderr
    made = {path.relative_to(copy) for path in copy.rglob("*")} - files
    assert {path.name for path in made} == {"ranks.log"}
    again = rsgrpo(*command, cwd=copy)
    assert again.returncode == 0, again.stderr
    assert apart(copy / "checkpoints" / "000002", Path("runs/one/checkpoints/000002")) <= 1e-6
    few = rsgrpo(*command[:3], "--force", "--ranks", "3", *command[5:], cwd=copy)
    assert (few.returncode, few.stdout) == (2, "")
    assert "room for 2 ranks with a CPU each, not for 3; its nodes have 0 GPUs and" in few.stderr
