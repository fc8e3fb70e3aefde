"""Runs jobs that are commands of their own, some at a time: one that fails is reported and stops no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from rsgrpo_cli.console import error_in
from rsgrpo_cli.run.locks import IN_USE

POLL_SECONDS = 0.2
BUSY_SECONDS = 5.0
"""How often it is looked whether another process has finished with a job."""


_WARNING = b"warning: "
MOST_LOST = 3
"""So often the worker of a command may be lost before its job counts as failed."""


class Process(Protocol):
    """A command at work."""

    why: str
    """Why it failed, where its log does not say so."""
    lost: bool
    """Whether not the command failed, but what it ran on."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        ...

    def send_signal(self, number: int) -> None:
        """Pass a signal on."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...


class _Here(subprocess.Popen[bytes]):
    """A command that is a process of this machine."""

    why, lost = "", False


Starter = Callable[[Sequence[str], Path, Mapping[str, str]], Process]
"""Starts a command: its arguments, the log that its output goes to, environment variables beside this process's own."""


def start_here(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    """As `Starter`, on this machine."""
    command = [sys.executable, "-P", "-m", "rsgrpo_cli", *words]
    with open(log, "ab") as out:
        # In a session of its own: a Ctrl-C reaches it once, through us.
        return _Here(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,
        )


@dataclass(slots=True)
class Job:
    """Commands that are run one after the other.

    Args:
        name: What it is called.
        commands: Arguments of `rsgrpo`.
        log: Where their output goes.
        after: The job that has to be done first.
        begin: Called before the first command.
        end: Called after the last one, if all went well.
        busy: Which other process is at work on it; empty if none is.
    """

    name: str
    commands: Sequence[Sequence[str]]
    log: Path
    after: Job | None = None
    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    busy: Callable[[], str] = lambda: ""
    state: str = "waiting"
    """waiting, running, done, failed, stopped, or skipped where the job before it failed."""
    why: str = ""
    """Why it failed, was skipped, or waits although its turn has come."""
    hint: str = ""
    """What to do about that, where its command says so."""
    warnings: list[str] = field(default_factory=list)
    """What its commands warned of."""
    seconds: float = 0.0
    """How long it took."""
    _at: int = 0
    _process: Process | None = field(default=None, repr=False)
    _lost: int = 0
    _logged: int = 0
    _started: float = 0.0

    @property
    def command(self) -> Sequence[str]:
        """The one that runs or that it ended with; the first one before it has begun."""
        return self.commands[min(self._at, len(self.commands) - 1)]

    def running_seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self._started


class Jobs:
    """A number of jobs, at most `slots` of them at a time.

    Args:
        jobs: In the order to start them.
        slots: How many at a time.
        environment: Environment variables of their commands.
        say: Called with a job whenever it starts or ends, or has to wait for another process.
        starter: What starts them.
        say_stopping: Called with the jobs at work once they are asked to stop.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        slots: int,
        environment: Mapping[str, str],
        say: Callable[[Job], None],
        starter: Starter = start_here,
        say_stopping: Callable[[Sequence[Job]], None] = lambda _: None,
    ) -> None:
        self.jobs, self.slots, self.say, self.say_stopping = jobs, slots, say, say_stopping
        self.environment, self.starter = environment, starter
        self.stopping = False
        self._told_stopping = False
        self._looked = 0.0

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Run them all. After a Ctrl-C or a SIGTERM those at work are asked to stop, and no others start.

        Args:
            tick: Called some times a second.
        """
        with self._listening():
            while True:
                self._start_some()
                for job in self.running:
                    self._look_after(job)
                self._give_up_some()
                if self.stopping and self.running and not self._told_stopping:
                    self._told_stopping = True
                    self.say_stopping(self.running)
                tick()
                if not self.running and (self.stopping or not self.waiting):
                    return
                time.sleep(POLL_SECONDS)

    @property
    def running(self) -> list[Job]:
        """Those at work."""
        return [job for job in self.jobs if job.state == "running"]

    @property
    def waiting(self) -> list[Job]:
        """Those that have not begun."""
        return [job for job in self.jobs if job.state == "waiting"]

    def _give_up_some(self) -> None:
        """Those whose first job failed cannot begin."""
        for job in self.waiting:
            if job.after is not None and job.after.state == "failed":
                job.state, job.why = "skipped", f"{job.after.name} failed: {job.after.why}"

    def _start_some(self) -> None:
        look_again = time.monotonic() - self._looked > BUSY_SECONDS
        for job in self.waiting:
            if self.stopping or len(self.running) >= self.slots:
                return
            held_just_now = bool(job.why) and not look_again
            if held_just_now or (job.after is not None and job.after.state != "done"):
                continue
            if owner := job.busy():
                self._hold(job, owner)
            else:
                self._start(job)

    def _hold(self, job: Job, owner: str) -> None:
        """Wait for another process that is at work on the same; two sweeps of one name may run at once."""
        why, self._looked = f"{IN_USE} {owner}", time.monotonic()
        job.state, told, job.why = "waiting", job.why == why, why
        if not told:
            self.say(job)

    def _start(self, job: Job) -> None:
        job.state, job.why, job._started = "running", "", time.monotonic()
        self.say(job)
        if self._guarded(job, job.begin):
            self._next(job)

    def _next(self, job: Job) -> None:
        """Start its next command; without one it is done."""
        if job._at == len(job.commands):
            if self._guarded(job, job.end):
                self._end(job, "done")
            return
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job._logged = job.log.stat().st_size if job.log.is_file() else 0
        job._process = self.starter(job.commands[job._at], job.log, self.environment)

    def _look_after(self, job: Job) -> None:
        if job._process is None:
            return
        code = job._process.poll()
        if code is None:
            return
        ended, job._process = job._process, None
        job.warnings += warnings_in(job.log, job._logged)
        if code == 0:
            job._at += 1
        if self.stopping and job._at < len(job.commands):
            self._end(job, "stopped")  # also where a command had its last part at work, and others would follow
        elif code == 0:
            self._next(job)
        elif ended.lost and job._lost + 1 < MOST_LOST:
            job._lost += 1
            self._next(job)  # the same command resumes the run
        else:
            told, hint = last_error(job.log, job._logged)
            why = ended.why or told or _ended_with(code)
            _, taken, owner = why.partition(f" {IN_USE} ")
            if taken:  # between our look and its start
                self._hold(job, owner)
            else:
                job.why, job.hint = why, hint
                self._end(job, "failed")

    def _guarded(self, job: Job, what: Callable[[], None]) -> bool:
        from rsgrpo_cli.errors import RsgrpoError

        try:
            what()
        except RsgrpoError as error:
            job.why, job.hint = error.message, error.hint
            self._end(job, "failed")
            return False
        return True

    def _end(self, job: Job, state: str) -> None:
        job.state, job.seconds = state, time.monotonic() - job._started
        self.say(job)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            for job in self.running:  # an error of ours: leave no process behind that nobody waits for
                if job._process is not None:
                    job._process.terminate()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        for job in self.running:
            if job._process is not None:
                job._process.send_signal(number)


def _ended_with(code: int) -> str:
    """How a command ended that did not say why."""
    if code >= 0:
        return f"it ended with exit code {code}"
    out_of_memory = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
    return f"it was ended by signal {-code} ({signal.strsignal(-code)}){out_of_memory}"


def warnings_in(log: Path, since: int) -> list[str]:
    """The warnings in a log, from a byte on, without their "warning: ", each once."""
    if not log.is_file():
        return []
    with open(log, "rb") as file:
        file.seek(since)
        found = [line[len(_WARNING) :] for line in file if line.startswith(_WARNING)]
    return list(dict.fromkeys(line.decode("utf-8", errors="replace").strip() for line in found))


def last_error(log: Path, since: int) -> tuple[str, str]:
    """The last error in a log, from a byte on, without its "error: ", and its hint; empty where there is none."""
    if not log.is_file():  # it was not even started
        return "", ""
    with open(log, "rb") as file:
        return error_in(_tail(file, since).decode("utf-8", errors="replace"))


def _tail(file: IO[bytes], since: int, size: int = 20_000) -> bytes:
    file.seek(0, os.SEEK_END)
    file.seek(max(file.tell() - size, since))
    return file.read()
