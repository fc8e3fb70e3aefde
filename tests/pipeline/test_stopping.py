"""What another Ctrl-C does once the command is on its way out."""

import subprocess
import sys

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
