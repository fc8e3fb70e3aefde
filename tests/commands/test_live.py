"""What is seen of a command at work: lines, a screen, the log, and the same from another process."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli import activity
from rsgrpo_cli.commands import live
from rsgrpo_cli.commands.live import COLUMNS, StepLines, shown
from rsgrpo_cli.console import Output
from rsgrpo_cli.report.snapshot import Reader
from tests.conftest import SMALL, Cli

COMMAND = [sys.executable, "-m", "rsgrpo_cli"]


def test_off_a_terminal_something_is_said_after_a_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(live, "SILENCE_SECONDS", 0.1)
    with shown(Output()), activity.doing("loading toy"):
        time.sleep(0.35)
    said = capsys.readouterr().err.splitlines()
    assert 2 <= len(said) <= 4
    assert all(re.fullmatch(r"loading toy, 0\.\d s", line) for line in said)


def test_what_was_said_just_now_is_no_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(live, "SILENCE_SECONDS", 10.0)
    with shown(Output()), activity.doing("loading toy"):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_drawing_that_fails_is_said_once_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(out: Output) -> None:
        raise ValueError("no pencil")

    monkeypatch.setattr(live, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(live, "_say_after_silence", fail)
    with shown(Output()):
        time.sleep(0.1)
    assert capsys.readouterr().err.count("progress is not shown any more (ValueError: no pencil)") == 1


def test_what_takes_long_is_drawn_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def slow(out: Output) -> None:
        drawn.append(time.monotonic())
        time.sleep(0.02)

    monkeypatch.setattr(live, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(live, "_say_after_silence", slow)
    with shown(Output()):
        time.sleep(0.5)
    # It may take a hundredth of the time: after 0.02 seconds of it nothing for a second, and one at the end.
    assert 2 <= len(drawn) <= 3


def test_a_line_per_step(capsys: pytest.CaptureFixture[str]) -> None:
    lines = StepLines(Output(), lambda row: 90.0)
    lines.show({"step": 3, "reward_mean": 0.25, "pass@G": None})
    heading, row = capsys.readouterr().err.splitlines()
    assert heading.split()[:2] == ["step", "reward"]
    assert row.split() == ["3", "0.250", *["-"] * (len(COLUMNS) - 1), "1", "min", "30", "s"]
    assert lines.last == {"step": 3, "reward_mean": 0.25}


def test_train_prints_an_object_per_step_and_keeps_a_log(cli: Cli) -> None:
    result = cli("train", "--run", "runs/a", "--steps", "2", *SMALL, "--json")
    steps = [json.loads(line) for line in result.out.splitlines()]
    assert [row.get("step") for row in steps] == [0, 1, None]
    assert steps[1] == steps[2]["last_step"]
    log = Path("runs/a/run.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} ", line) for line in log)
    assert "rsgrpo train --run runs/a --steps 2" in log[0]
    assert [line.split()[1] for line in log[2:4]] == ["0", "1"]
    assert log[-1].endswith(" done")


def test_the_log_says_how_a_command_ended(cli: Cli, trained: Path) -> None:
    assert cli("rollout", "--run", trained, "--step", "9").code == 1
    assert " ended: run trained has no policy 9" in (trained / "run.log").read_text().splitlines()[-2]


def test_watch_says_what_train_said(cli: Cli, trained: Path) -> None:
    rows = [json.loads(line) for line in cli("watch", trained, "--json").out.splitlines()]
    assert [row["step"] for row in rows] == [0, 1]
    lines = cli("watch", trained).err.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["step", "0", "1"]
    assert lines[-1] == f"{trained}: done, 2 of 2 steps"
    logged = (trained / "run.log").read_text()
    assert all(" ".join(line.split()[:-2]) in " ".join(logged.split()) for line in lines[1:-1])


def test_watch_once_is_the_screen(cli: Cli, trained: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    out = cli("watch", "--run", trained, "--once").out
    assert out.split("\n")[2].startswith("step 2 of 2  100%")
    assert max(map(len, out.split("\n"))) < 80
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_status_says_how_it_is(cli: Cli, trained: Path) -> None:
    data = cli("status", "--run", trained, "--json").json
    assert (data["state"], data["process"], data["newest"]["step"]) == ("done", None, 1)
    assert data["bytes"] == sum(path.stat().st_size for path in trained.rglob("*") if path.is_file())
    text = cli("status", "--run", trained).out
    assert "step 1: reward_mean 0." in text
    assert " on the disk" in text


def on_a_terminal(
    folder: Path, *arguments: str, columns: int = 80, command: Sequence[str] = COMMAND, **extra: str
) -> tuple[subprocess.Popen[bytes], int]:
    """A command whose stderr and stdout are a terminal of so many columns; the process, and its other end."""
    master, slave = pty.openpty()
    subprocess.run(["stty", "rows", "40", "cols", str(columns)], stdin=slave, check=True)
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment = known | {"TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[2])} | extra
    process = subprocess.Popen(
        [*command, *arguments], cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    return process, master


def all_of(process: subprocess.Popen[bytes], master: int, until: bytes = b"") -> bytes:
    """What it writes, until that is among it, or to its end."""
    text = b""
    while not until or until not in text:
        try:
            read = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not read:
            break
        text += read
    return text


TRAIN = ["train", "--run", "runs/a", "--beta", "4", *SMALL]


def test_train_on_a_terminal_draws_one_screen(tmp_path: Path) -> None:
    process, master = on_a_terminal(tmp_path, *TRAIN, "--steps", "3")
    text = all_of(process, master).decode()
    assert process.wait() == 0, text
    os.close(master)
    assert "step 3 of 3" in text
    assert "right " in text
    # Whoever kills it must find the cursor, and what was above the screen.
    assert "\x1b[?25l" not in text
    assert "\x1b[?1049h" not in text


def test_a_ctrl_c_and_a_kill_leave_the_terminal_as_it_was(tmp_path: Path) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process, master = on_a_terminal(tmp_path, *TRAIN, "--steps", "100000")
        text = all_of(process, master, b"reward ")
        process.send_signal(number)
        text += all_of(process, master)
        assert process.wait() == code
        os.close(master)
        assert not re.search(rb"\x1b\[\?(25l|1049h|1000h|2004h)", text)


WARNING = """
import time
from rsgrpo_cli import activity
from rsgrpo_cli.commands.live import shown
from rsgrpo_cli.console import Output
out = Output()
with shown(out), activity.doing("loading something"):
    time.sleep(1.5)
    out.warn("it is odd")
"""


def test_a_warning_stands_on_a_line_of_its_own_above_what_is_drawn(tmp_path: Path) -> None:
    process, master = on_a_terminal(tmp_path, WARNING, command=[sys.executable, "-c"])
    text = all_of(process, master).decode()
    assert process.wait() == 0, text
    os.close(master)
    (before,) = re.findall(r"loading something, .*?warning: ", text, re.DOTALL)
    assert "\x1b[2K" in before, text  # the bar is taken away first


def test_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    process, master = on_a_terminal(tmp_path, *TRAIN, "--steps", "2", columns=60, TERM="dumb")
    lines = all_of(process, master).decode().replace("\r", "").split("\n")
    assert process.wait() == 0
    os.close(master)
    assert [line.split()[0] for line in lines if re.match(r" +\d ", line)] == ["0", "1"]
    assert max(map(len, lines)) <= 60
    assert "\x1b" not in "".join(lines)


def test_a_process_at_work_is_seen_from_another(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, *TRAIN, "--steps", "100000"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        seen: Any = None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (seen and seen.holder and seen.recent and seen.progress):
            time.sleep(0.2)
            if (tmp_path / "runs/a/config.json").is_file():
                from rsgrpo_cli.run.run_dir import RunDir

                seen = Reader(RunDir(tmp_path / "runs/a")).read()
        process.kill()
    assert seen.holder.owner.startswith(f"process {process.pid} on ")
    assert seen.state.startswith("running since ")
    assert seen.seconds_left > 0
