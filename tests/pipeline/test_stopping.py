"""A stop that was asked for: in time, and whatever else is asked for meanwhile."""

import signal
import subprocess
import sys
import time

import pytest

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.pipeline import stopping
from rsgrpo_cli.pipeline.stopping import StopSignal

LATE = """
import signal, sys
from rsgrpo_cli.errors import Interrupted
from rsgrpo_cli.pipeline.stopping import StopSignal

try:
    with StopSignal().installed(print) as stop:
        signal.raise_signal(signal.SIGINT)
        stop.check("step 3", "rsgrpo train --run x")
except Interrupted as stopped:
    signal.raise_signal(signal.SIGINT)
    print(stopped, file=sys.stderr)
    sys.exit(130)
"""


def test_a_second_ctrl_c_while_the_command_is_ending_changes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr.splitlines()[0] == "stopped after step 3; everything finished is kept"


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_part_that_takes_too_long_is_given_up(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stopping.VARIABLE, "0.05")
    before = signal.getsignal(signal.SIGALRM)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        stop_in_a_long_part(number, said)
    assert "within 0.05 s" in said[0]
    assert signal.getsignal(signal.SIGALRM) == before
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_in_a_long_part(number: signal.Signals, said: list[str]) -> None:
    with StopSignal().installed(said.append):
        signal.raise_signal(number)
        time.sleep(60)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf"])
def test_a_limit_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stopping.VARIABLE, text)
    with pytest.raises(UsageError, match="not a number of seconds"):
        stopping.seconds()
