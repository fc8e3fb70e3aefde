"""Whole commands with several ranks, in real processes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from console_blocks import blocks

from tests.ranks.conftest import ROOT, apart, rsgrpo, run

pytestmark = pytest.mark.ranks
SETTINGS = [
    *("--steps", "3", "--prompts-per-step", "4", "--group-size", "4", "--workers", "1", "--lr", "1e-4"),
    *("--minibatches", "2", "--checkpoint-every", "1", "--set", "train.keep_checkpoints=5"),
]
PAGE = ROOT / "docs" / "scaling.md"
DYING = os.pathsep.join([str(Path(__file__).with_name("dying")), str(ROOT)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/one: the bundled model trained by one process; runs/two: the same with two samplers and two ranks."""
    folder = tmp_path_factory.mktemp("trained")
    for name, more in (("one", ()), ("two", ("--ranks", "2", "--data-parallel", "2"))):
        done = rsgrpo("train", "--run", f"runs/{name}", *SETTINGS, *more, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "runs"


@pytest.fixture
def before_last(runs: Path, tmp_path: Path) -> Path:
    """The run of one process as it was before the update of its last step."""
    copy = tmp_path / "runs" / "copy"
    shutil.copytree(runs / "one", copy)
    shutil.rmtree(copy / "checkpoints" / "000003")
    for name in ("update_metrics.parquet", "policy_logprobs.parquet"):
        (copy / "steps" / "000002" / name).unlink()
    return copy


def test_training_ends_with_the_weights_and_pass_at_k_of_one_process(runs: Path) -> None:
    for version in ("000001", "000002", "000003"):
        assert apart(runs / "one" / "checkpoints" / version, runs / "two" / "checkpoints" / version) <= 1e-5
    measured = []
    for name in ("one", "two"):
        done = rsgrpo("eval", "--run", f"runs/{name}", "-n", "4", "--k", "1,4", "--json", cwd=runs.parent)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        measured.append({key: value for key, value in found.items() if key.startswith("pass@")})
    assert measured[0]
    assert measured[0] == measured[1]


def test_nothing_but_the_log_is_left_of_the_ranks(runs: Path) -> None:
    only = {path.name for path in (runs / "two").iterdir()} - {path.name for path in (runs / "one").iterdir()}
    assert only == {"ranks.log", "worker-0.log"}  # a step's 16 completions are one part
    parts = sorted(path.name for path in (runs / "two" / "steps" / "000002").iterdir())
    assert parts == sorted(path.name for path in (runs / "one" / "steps" / "000002").iterdir())


def test_an_update_in_one_step_keeps_what_all_ranks_said(runs: Path, tmp_path: Path) -> None:
    said = []
    for ranks in ("1", "2"):
        copy = tmp_path / "runs" / ranks
        shutil.copytree(runs / "one", copy)
        command = ("update", "--run", copy, "--step", "2", "--minibatches", "1", "--tag", "whole", "--ranks", ranks)
        done = rsgrpo(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said.append(pq.read_table(copy / "steps" / "000002" / "policy_logprobs.whole.parquet"))
    assert said[0].select(["group_id", "sample_index"]).equals(said[1].select(["group_id", "sample_index"]))
    for name in ("policy_logprobs", "entropies"):
        one, two = (table[name].combine_chunks() for table in said)
        assert one.offsets.equals(two.offsets)
        assert len(one.values) > 0
        np.testing.assert_allclose(one.values, two.values, rtol=0, atol=1e-5)


def test_a_killed_rank_ends_the_command_and_the_next_one_completes_it(runs: Path, before_last: Path) -> None:
    command = ("update", "--run", before_last, "--ranks", "2")
    files = {path.relative_to(before_last) for path in before_last.rglob("*")}
    for when in ("learning", "saving"):
        died = rsgrpo(*command, cwd=before_last, RSGRPO_TEST_DIES=when, PYTHONPATH=DYING)
        assert died.returncode == 1, died.stderr
        errors = [line for line in died.stderr.splitlines() if line.startswith("error:")]
        assert errors == ["error: rank 1 of 2 was killed (SIGKILL) during the update"]
        assert "Traceback" not in died.stderr
        made = {path.relative_to(before_last) for path in before_last.rglob("*")} - files
        assert {path.name for path in made} <= {"ranks.log"}
    again = rsgrpo(*command, cwd=before_last)
    assert again.returncode == 0, again.stderr
    assert apart(before_last / "checkpoints" / "000003", runs / "one" / "checkpoints" / "000003") <= 1e-6


def test_torchrun_runs_the_command_on_every_rank_of_two_machines(runs: Path, before_last: Path) -> None:
    """As docs/scaling.md says it, with two launchers on this machine."""
    (command,) = (block.text for block in blocks(PAGE) if block.note.startswith("run by"))
    with socket.create_server(("localhost", 0)) as free:
        here = {"8": "1", "HOST:29500": f"localhost:{free.getsockname()[1]}", "/shared/runs/mine": str(before_last)}
    program, *words = (here.get(word, word) for word in shlex.split(command.replace("\\\n", " ")))
    assert program == "torchrun"
    launch = [sys.executable, "-m", "torch.distributed.run", "--local-addr", "127.0.0.1", *words]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: run(*launch, cwd=before_last), range(2)))
    assert [one.returncode for one in both] == [0, 0], both
    assert sum(one.stdout.count("update:") for one in both) == 1
    assert apart(before_last / "checkpoints" / "000003", runs / "one" / "checkpoints" / "000003") <= 1e-6
