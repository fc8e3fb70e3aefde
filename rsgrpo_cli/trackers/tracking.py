"""The training's side: it starts a process per tracker, hears what became of it, and waits for none within a step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rsgrpo_cli import activity, disk
from rsgrpo_cli.run.run_commands import command
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.trackers.ledger import own_folder
from rsgrpo_cli.wording import raised

END_SECONDS = 60.0
"""How long the end of a command waits for all trackers together to take the last steps."""

WAYS = {"API key": "Log in with `wandb login`, or set WANDB_MODE=offline"}
"""What a tracker's error says -> what to do about it, where the error does not say so."""


class Tracking:
    """The trackers of a run at work.

    Args:
        run: The run; it is named for the user by its path.
        names: The trackers.
        warn: Told once of each that fails.
    """

    def __init__(self, run: RunDir, names: Sequence[str], warn: Callable[[str], None]) -> None:
        self._run, self._names, self._warn = run, names, warn
        self._processes: dict[str, subprocess.Popen[bytes]] | None = None

    def look(self) -> None:
        """Say which have ended; takes no time. The first call starts them: a run that fails before is removed again."""
        if self._processes is None:
            started = {name: self._start(name) for name in self._names}
            self._processes = {name: process for name, process in started.items() if process is not None}
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self._bury(name)

    def end(self) -> None:
        """Let all that were started send what is left, and wait for them, but not for ever."""
        if self._processes is None:
            return
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()
        deadline = time.monotonic() + END_SECONDS
        for name, process in list(self._processes.items()):
            with activity.doing(f"sending the last steps to {name}"), suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            self._bury(name)

    def kill(self) -> None:
        """End them at once."""
        for process in (self._processes or {}).values():
            with process:  # closes its pipes, and waits
                process.kill()

    def _start(self, name: str) -> subprocess.Popen[bytes] | None:
        log = self._log(name)
        try:
            own_folder(self._run.path, name)
            with open(disk.open_own(log, os.O_WRONLY | os.O_APPEND), "ab") as file:
                # A session of its own: Ctrl-C on the terminal is for the training to act on, and it sends what is left.
                return subprocess.Popen(
                    [sys.executable, "-P", "-m", "rsgrpo_cli.trackers.follower", str(self._run.path.resolve()), name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
        except Exception as error:  # whatever it is, it is no reason to stop training
            self._say(name, raised(type(error).__name__, error))
            return None

    def _bury(self, name: str) -> None:
        """Say how a process ended, where that was not well."""
        assert self._processes is not None
        process = self._processes.pop(name)
        late = process.poll() is None
        if late:
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        with process.stdout:
            told = process.stdout.read()
        process.wait()
        if late:
            self._say(name, f"it has not taken the last steps in {END_SECONDS:.0f} s")
        elif process.returncode or not told:
            self._say(name, f"its process ended with code {process.returncode}")
        elif error := json.loads(told)["error"]:
            self._say(name, error)

    def _say(self, name: str, reason: str) -> None:
        way = next((f"{way}. " for sign, way in WAYS.items() if sign in reason), "")
        again = command(self._run, "train", "--tracker", name)
        self._warn(
            f"the tracker {name} failed ({reason.rstrip('.')}); the training goes on without it. {way}"
            f"To send what it did not get: {again}. Its log: {self._log(name)}"
        )

    def _log(self, name: str) -> Path:
        return self._run.path / "trackers" / f"{name}.log"


@contextmanager
def tracked(run: RunDir, names: Sequence[str], warn: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Send what the run makes in the block to its trackers; yields what is called now and then to hear of failures."""
    tracking = Tracking(run, names, warn)
    try:
        yield tracking.look
        tracking.look()
        tracking.end()
    except Exception:
        tracking.end()
        raise
    except BaseException:  # a second Ctrl-C
        tracking.kill()
        raise
