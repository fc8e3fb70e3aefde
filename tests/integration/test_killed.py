"""Killed is not lost: kill -9 anywhere, the same command again, and the result is that of a run never killed."""

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import SMALL, Cli
from tests.integration.conftest import Start

STEPS = 2
TRAIN = ["train", "--run", "runs/killed", "--steps", str(STEPS), "--eval-every", "2", "-n", "3", "--k", "1", *SMALL]
RARELY = [*TRAIN, "--steps", "3", "--eval-every", "3", "--checkpoint-every", "5"]
"""With no checkpoint before the end: what a kill loses is repeated from the rollouts."""
RESAMPLE = [*TRAIN, "--zero-variance", "resample"]
"""With rollouts and rewards in several rounds a step."""

SEVERAL = [*TRAIN, "--minibatches", "2", "--epochs", "2", "--set", "update.lr_schedule=cosine"]
"""With several optimizer steps an update, and their old log-probabilities on the disk."""


def content(run: Path) -> dict[str, bytes]:
    """Every artifact of a run but those with clock times in them."""
    files = [path for path in run.rglob("*") if path.is_file()]
    timed = {"events.jsonl", "metrics.parquet", "lock"}
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files if path.name not in timed}


@pytest.fixture
def command() -> list[str]:
    """The command that is killed."""
    return TRAIN


@pytest.fixture
def whole(cli: Cli, tmp_path: Path, command: list[str]) -> dict[str, bytes]:
    """What a run that is never killed leaves."""
    assert cli(*command).code == 0
    made = content(tmp_path / "runs" / "killed")
    shutil.rmtree(tmp_path / "runs")
    return made


def finish(cli: Cli, run: Path, command: list[str], whole: dict[str, bytes]) -> None:
    result = cli(*command)
    assert result.code == 0, result.err
    found = content(run)
    leftovers = {name for name in found if any(part.startswith(".") for part in name.split("/"))}
    assert {name: found[name] for name in found.keys() - leftovers} == whole
    assert cli("status", "--run", run, "--json").json["stale"] == []


def killed_at(start: Start, command: list[str], write: int) -> int:
    process = start(*command, kill_at=write)
    process.communicate(timeout=240)
    return process.returncode


@pytest.mark.parametrize("command", [TRAIN, RARELY, SEVERAL], ids=["checkpoints", "no checkpoints", "several steps"])
def test_killed_at_random_writes(
    cli: Cli, start: Start, tmp_path: Path, command: list[str], whole: dict[str, bytes]
) -> None:
    # One run, killed over and over: each time at one of its next five writes.
    rng = random.Random(2509)
    for _ in range(5):
        assert killed_at(start, command, rng.randint(1, 5)) in (-signal.SIGKILL, 0)
    finish(cli, tmp_path / "runs" / "killed", command, whole)


@pytest.mark.slow
@pytest.mark.parametrize("command", [TRAIN, RESAMPLE], ids=["", "resample"])
@pytest.mark.parametrize("write", range(1, 31))
def test_killed_at_every_write(
    cli: Cli, start: Start, tmp_path: Path, command: list[str], whole: dict[str, bytes], write: int
) -> None:
    # The two steps are 17 writes, the evaluation some 30 more.
    assert killed_at(start, command, write) == -signal.SIGKILL
    finish(cli, tmp_path / "runs" / "killed", command, whole)


def test_killed_at_a_random_moment(
    cli: Cli, start: Start, tmp_path: Path, command: list[str], whole: dict[str, bytes]
) -> None:
    # Not only between files: in the middle of sampling, of a backward pass, of a write.
    rng = random.Random(11)
    run = tmp_path / "runs" / "killed"
    for _ in range(2):
        process = start(*command)
        while process.poll() is None and not (run / "prompts.parquet").exists():
            time.sleep(0.01)
        time.sleep(rng.uniform(2.0, 6.0))
        process.kill()
        process.communicate()
    finish(cli, run, command, whole)
