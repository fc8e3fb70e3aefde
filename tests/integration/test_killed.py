"""Killed is not lost: kill -9 anywhere, the same command again, and the result is that of a run never killed."""

import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL, Cli
from tests.integration.conftest import Start
from tests.integration.killer import WRITES

STEPS = 2
TRAIN = ["train", "--run", "runs/killed", "--steps", str(STEPS), "--eval-every", "2", "-n", "3", "--k", "1", *SMALL]
RARELY = [*TRAIN, "--steps", "3", "--eval-every", "3", "--checkpoint-every", "5"]
"""With no checkpoint before the end: what a kill loses is repeated from the rollouts."""
RESAMPLE = [*TRAIN, "--zero-variance", "resample"]
"""With rollouts and rewards in several rounds a step."""

LOOKING_BACK = [*RARELY, "--estimator", "rs_grpo_moving", "--set", "advantage.law=per_prompt"]
LOOKING_BACK += ["--set", "update.entropy_target=1"]
"""With an estimator and an entropy bonus that read the steps before, some of whose updates are repeated."""

SEVERAL = [*TRAIN, "--minibatches", "2", "--epochs", "2", "--set", "update.lr_schedule=cosine"]
"""With several optimizer steps per update, and their old log-probabilities on the disk."""


def content(run: Path) -> dict[str, bytes]:
    """Every artifact of a run but those with clock times in them."""
    files = [path for path in run.rglob("*") if path.is_file()]
    timed = {"events.jsonl", "metrics.parquet", "checked.parquet", "lock", "run.log"}
    kept = [path for path in files if path.name not in timed and path.suffix != ".lock"]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in kept}


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


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(TRAIN, id="checkpoints"),
        pytest.param(RARELY, id="no checkpoints", marks=pytest.mark.slow),
        pytest.param(SEVERAL, id="several steps", marks=pytest.mark.slow),
        pytest.param(LOOKING_BACK, id="looking back", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_writes(
    cli: Cli, start: Start, tmp_path: Path, command: list[str], whole: dict[str, bytes]
) -> None:
    # One run, killed over and over: each time at one of its next five writes.
    rng = random.Random(2509)
    for _ in range(2):
        assert killed_at(start, command, rng.randint(1, 5)) in (-signal.SIGKILL, 0)
    finish(cli, tmp_path / "runs" / "killed", command, whole)


@pytest.mark.slow
def test_killed_at_every_kind_of_write(cli: Cli, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: set[tuple[str, str]] = set()
    points = 0
    for command in (TRAIN, RESAMPLE):
        with monkeypatch.context() as patched:
            targets = recorded_writes(patched)
            assert cli(*command).code == 0
        whole = content(tmp_path / "runs/killed")
        for write in first_of_each_kind(targets, known):
            points += 1
            shutil.rmtree(tmp_path / "runs")
            print(f"killed at write {write}: {targets[write - 1]}")  # shown if the rest fails
            assert killed_at(start, command, write) == -signal.SIGKILL
            finish(cli, tmp_path / "runs/killed", command, whole)
        shutil.rmtree(tmp_path / "runs")
    assert points >= 15  # as many as a step and an evaluation have files, at least


def recorded_writes(patched: pytest.MonkeyPatch) -> list[str]:
    """The name of each file that this process gives its name from now on, as `killer.py` counts them."""
    targets: list[str] = []

    def recording(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            targets.append(str(arguments[1]))
            return function(*arguments, **options)

        return call

    for module, name in WRITES:
        patched.setattr(module, name, recording(getattr(module, name)))
    return targets


def first_of_each_kind(targets: list[str], known: set[tuple[str, str]]) -> list[int]:
    """Numbers of the writes, from 1, that are the first of their kind to follow the kind before them; adds to `known`.

    What is on the disk when a process dies depends on what was just written and what comes next, not on the step.
    """
    kinds = [re.sub(r"[0-9a-f]{8}\b|[0-9]+", "N", target) for target in targets]
    points = []
    for number, gap in enumerate(zip(["", *kinds], kinds, strict=False), start=1):
        if gap not in known:
            known.add(gap)
            points.append(number)
    return points


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


FORK = ["fork", "runs/fork", "--run", "runs/killed", "--step", "2", "--beta", "8"]


@pytest.fixture
def source(cli: Cli, tmp_path: Path) -> Path:
    """A run of two steps, to be forked and exported."""
    assert cli(*TRAIN).code == 0
    return tmp_path / "runs" / "killed"


def forked(cli: Cli, tmp_path: Path) -> dict[str, bytes]:
    """What a fork that is never killed leaves; it is gone again afterwards."""
    assert cli(*FORK).code == 0
    made = content(tmp_path / "runs/fork")
    shutil.rmtree(tmp_path / "runs/fork")
    return made


def check_killed_fork(cli: Cli, start: Start, tmp_path: Path, at: int, whole: dict[str, bytes]) -> bool:
    """Kill a fork at its nth link; it is whole or absent, and the same command finishes it. Whether it was killed."""
    killed = killed_at(start, FORK, at) == -signal.SIGKILL
    fork = tmp_path / "runs/fork"
    if fork.exists():
        assert content(fork) == whole
    else:
        assert cli("status", "--json").json["run"] == "runs/killed"  # half a fork is not the newest run
        assert cli(*FORK).code == 0
        assert content(fork) == whole
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["fork", "killed"]
    shutil.rmtree(fork)
    return killed


def test_a_killed_fork_is_whole_or_absent(cli: Cli, start: Start, tmp_path: Path, source: Path) -> None:
    whole = forked(cli, tmp_path)
    for at in (1, 12, len(whole), len(whole) + 1):  # the first link, one between, config.json, the rename
        assert check_killed_fork(cli, start, tmp_path, at, whole)


@pytest.mark.slow
def test_a_fork_killed_at_every_link(cli: Cli, start: Start, tmp_path: Path, source: Path) -> None:
    whole = forked(cli, tmp_path)
    at = 1
    while check_killed_fork(cli, start, tmp_path, at, whole):
        at += 1
    assert at > len(whole)


def test_a_killed_export_is_whole_or_absent(cli: Cli, start: Start, tmp_path: Path, source: Path) -> None:
    export = ["export", "runs/killed", "--out", "out"]
    for at in (1, 3, 4):
        assert killed_at(start, export, at) == -signal.SIGKILL
        assert not (tmp_path / "out").exists()
    assert cli(*export).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


MORE_KEEPING = [(3, 2, 0), (1, 2, 0), (3, 1, 4), (10, 1, 0), (10, 2, 4)]
"""Checkpoint every so many steps, keep so many, rank of the adapter; with (1, 1, 4) every pair of values comes up."""


def check_resumed(cli: Cli, start: Start, tmp_path: Path, every: int, keep: int, rank: int) -> None:
    """Kill a run early on, let it go on for eight steps and more, and compare with one that was never killed."""
    flags = ["--steps", "11", *SMALL, "--checkpoint-every", str(every), "--keep-checkpoints", str(keep)]
    flags += ["--lora-rank", str(rank), "--set", "rollout.prompts_per_step=4"]
    assert cli("train", "--run", "runs/whole", *flags).code == 0
    command = ["train", "--run", "runs/killed", *flags]
    process = start(*command)
    while process.poll() is None and not (tmp_path / "runs/killed/steps/000002/rewards/part-00000.parquet").exists():
        time.sleep(0.005)
    process.kill()
    process.communicate()
    result = cli(*command)
    assert result.code == 0, result.err
    killed, whole = (content(tmp_path / "runs" / name) for name in ("killed", "whole"))
    assert {name: data for name, data in killed.items() if "/." not in f"/{name}"} == whole


def test_eight_steps_after_a_kill(cli: Cli, start: Start, tmp_path: Path) -> None:
    check_resumed(cli, start, tmp_path, every=1, keep=1, rank=4)


@pytest.mark.slow
@pytest.mark.parametrize(("every", "keep", "rank"), MORE_KEEPING)
def test_eight_steps_after_a_kill_for_every_way_of_keeping(
    cli: Cli, start: Start, tmp_path: Path, every: int, keep: int, rank: int
) -> None:
    check_resumed(cli, start, tmp_path, every, keep, rank)
