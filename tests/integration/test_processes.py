"""Ctrl-C, two processes at once, a closed pipe: what only a real process shows."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import SMALL, Cli
from tests.integration.conftest import Start


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.02)


def test_ctrl_c_finishes_the_part_and_says_how_to_go_on(cli: Cli, start: Start, tmp_path: Path) -> None:
    train = ["train", "--run", "runs/x", "--steps", "200", *SMALL]
    process = start(*train)
    wait_for(tmp_path / "runs/x/steps/000001/rewards/part-00000.parquet", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    assert "stopping after the part at work" in err
    assert "stopped after" in err
    assert "--run runs/x" in err.splitlines()[-1]
    assert not out
    done = cli("status", "--run", "runs/x", "--json").json["steps_done"]
    assert done >= 1
    result = cli("train", "--run", "runs/x", "--steps", str(done + 1))
    assert result.code == 0, result.err


SPARSE = [*SMALL, "--checkpoint-every", "50", "--set", "rollout.prompts_per_step=64"]
"""Steps long enough to be stopped in, and no checkpoint for long."""


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "rollouts"),
        (signal.SIGTERM, "rewards/part-00000.parquet"),
        pytest.param(signal.SIGHUP, "advantages.parquet", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, "update_metrics.parquet", marks=pytest.mark.slow),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"],
)
def test_a_stopped_run_repeats_no_update(
    cli: Cli, start: Start, tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    process = start("train", "--run", "runs/x", "--steps", "50", *SPARSE)
    wait_for(tmp_path / "runs/x/steps/000002" / moment, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    newest = max(int(path.parent.name) for path in (tmp_path / "runs/x/steps").glob("*/update_metrics.parquet")) + 1
    # Within a step the policy is saved at once; at its end the step is finished as always.
    assert "error" not in err
    kept = (f"policy {newest} is saved", f"stopped after step {newest - 1}; everything finished is kept")
    assert any(text in err for text in kept), err
    assert cli("status", "--run", "runs/x", "--json").json["checkpoints"] == [newest]
    steps = str(newest + 2)
    result = cli("train", "--run", "runs/x", "--steps", steps)
    assert result.code == 0, result.err
    assert f"at step {newest}" in result.err
    assert cli("train", "--run", "runs/whole", "--steps", steps, *SPARSE).code == 0
    weights = [tmp_path / f"runs/{run}/checkpoints/{newest + 2:06d}/model.safetensors" for run in ("x", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.skipif(not shutil.which("setsid"), reason="needs setsid to give a process a terminal")
def test_a_closed_terminal_is_a_polite_stop(cli: Cli, tmp_path: Path) -> None:
    here, there = pty.openpty()
    command = [sys.executable, "-m", "rsgrpo_cli", "train", "--run", "runs/x", "--steps", "500", *SPARSE]
    process = subprocess.Popen(
        ["setsid", "--ctty", *command], cwd=tmp_path, stdin=there, stdout=there, stderr=there, env=os.environ
    )
    os.close(there)
    while process.poll() is None and not (tmp_path / "runs/x/steps/000002/rewards/part-00000.parquet").exists():
        os.read(here, 4096)
    os.close(here)  # as closing a terminal's window does: SIGHUP, and nothing can be written there any more
    assert process.wait(timeout=180) == 130
    assert cli("status", "--run", "runs/x", "--json").json["steps_done"] >= 2


def test_nohup_outlives_its_terminal(start: Start, tmp_path: Path) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; children inherit it
    try:
        process = start("train", "--run", "runs/x", "--steps", "3", *SMALL)
    finally:
        signal.signal(signal.SIGHUP, previous)
    wait_for(tmp_path / "runs/x/steps/000000/rewards/part-00000.parquet", process)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err


def test_a_second_ctrl_c_stops_at_once_and_says_so(cli: Cli, start: Start, tmp_path: Path) -> None:
    process = start("train", "--run", "runs/x", "--steps", "200", *SMALL)
    wait_for(tmp_path / "runs/x/prompts.parquet", process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "stopping after the part at work" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=180)[1]
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopped" in err  # at once, or the part was done before the second signal came
    assert cli("train", "--run", "runs/x", "--steps", "1").code == 0


def test_a_run_in_use_is_refused(cli: Cli, start: Start, tmp_path: Path) -> None:
    process = start("train", "--run", "runs/x", "--steps", "500", *SMALL)
    try:
        wait_for(tmp_path / "runs/x/steps/000000/rewards/part-00000.parquet", process)
        result = cli("train", "--run", "runs/x")
        assert result.code == 1
        assert f"run x is in use by process {process.pid}" in result.err
        assert "status, eval, export and fork work beside it" in result.err
        assert cli("status", "--run", "runs/x").code == 0  # looking is free
        wait_for(tmp_path / "runs/x/checkpoints/000001/manifest.json", process)
        for command in (["fork", "runs/y", "--run", "runs/x"], ["eval", "--run", "runs/x", "-n", "1", "--k", "1"]):
            beside = cli(*command)
            assert beside.code == 0, beside.err
        assert cli("export", "runs/x", "--out", "out").code == 0
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert cli("train", "--run", "runs/y", "--steps", "1").code == 0
    # The lock of a killed process is no lock.
    assert cli("rollout", "--run", "runs/x", "--step", "0").code == 0


def test_a_closed_pipe_is_no_traceback(cli: Cli, trained: Path) -> None:
    command = f"{sys.executable} -m rsgrpo_cli show --run {trained} --prompt 0 --full --json | true"
    shell = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=os.environ)
    assert "Traceback" not in shell.stderr
    assert "BrokenPipe" not in shell.stderr


@pytest.mark.day
def test_the_shell_script_of_six_stages(cli: Cli, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "six_stages.sh"
    settings = [*SMALL, "--set", "eval.num_samples=4", "--set", "eval.k=[1,4]"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["sh", script, "runs/six", *settings],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    assert cli("train", "--run", "runs/one", "--steps", "1", "--eval-every", "1", *settings).code == 0
    for name in ("rewards/part-00000", "advantages", "update_metrics"):
        pair = [Path(run) / "steps/000000" / f"{name}.parquet" for run in ("runs/six", "runs/one")]
        assert pair[0].read_bytes() == pair[1].read_bytes()
    summaries = [Path(run) / "evals/000001/toy/summary.parquet" for run in ("runs/six", "runs/one")]
    assert summaries[0].read_bytes() == summaries[1].read_bytes()
