"""Workers that are processes of this machine, one per sampler.

They are programs of their own, not forked, and not started by `multiprocessing`, whose children import the main module
again. Ray's local mode was not taken: it runs all tasks in one process, so nothing is done side by side and what hangs
cannot be killed. Without Ray there is nothing more to install, and a worker is there in the time of an import.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.pipeline.spread.jobs import Answer, Died, Job, Opening
from rsgrpo_cli.pipeline.spread.queue import Worker
from rsgrpo_cli.pipeline.spread.worker import log_of
from rsgrpo_cli.wording import counted, verb

CLOSE_SECONDS = 10.0
"""How long a worker may take to end by itself."""


@dataclass(eq=False, slots=True)
class ProcessWorker:
    """A process; see `queue.Worker`."""

    number: int
    log: Path
    process: subprocess.Popen[bytes]
    connection: Connection

    def ask(self, job: Job) -> None:
        """Give it a job; it answers later."""
        with suppress(OSError):  # it is dead; `wait` says so
            self.connection.send(job)

    def kill(self) -> None:
        """End it at once."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


class Processes:
    """Workers on this machine; see `queue.Workers`.

    Args:
        count: How many.
        gpus: The GPUs of each, as of CUDA_VISIBLE_DEVICES; empty on the CPU.
    """

    def __init__(self, count: int, gpus: Sequence[str] = ()) -> None:
        self.count, self.gpus, self.with_gpus = count, gpus, bool(gpus)
        self._started: list[ProcessWorker] = []

    def start(self, number: int, opening: Opening) -> ProcessWorker:
        """Begin to start one."""
        ours, theirs = Pipe()
        environment = {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path), **_without_path()}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[number]
        process = subprocess.Popen(
            [sys.executable, "-m", "rsgrpo_cli.pipeline.spread.process", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=2,  # until it has opened its log
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a Ctrl-C is for this process alone
            env=environment,
        )
        theirs.close()
        worker = ProcessWorker(number, log_of(opening.run, number), process, ours)
        with suppress(OSError):
            ours.send((opening, number, os.getpid()))
        self._started.append(worker)
        return worker

    def wait(self, busy: Sequence[Worker], seconds: float) -> list[tuple[Worker, Answer | Died]]:
        """What busy workers have to say, as soon as one has."""
        by_connection = {worker.connection: worker for worker in busy if isinstance(worker, ProcessWorker)}
        heard: list[tuple[Worker, Answer | Died]] = []
        for connection in wait(list(by_connection), seconds):
            assert isinstance(connection, Connection)
            worker = by_connection[connection]
            try:
                heard.append((worker, connection.recv()))
            except (EOFError, OSError):
                heard.append((worker, Died(_how_it_ended(worker.process))))
        return heard

    def close(self) -> None:
        """End all of them."""
        living = [worker for worker in self._started if worker.process.poll() is None]
        for worker in living:
            worker.connection.close()  # which ends it once it is done
        for worker in living:
            try:
                worker.process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
        self._started.clear()


def _how_it_ended(process: subprocess.Popen[bytes]) -> str:
    with suppress(subprocess.TimeoutExpired):
        process.wait(CLOSE_SECONDS)
    code = process.returncode
    if code is None:
        return "it closed its connection"
    return f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"


def _without_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def gpus_of_workers(count: int, each: int) -> list[str]:
    """Which GPUs of this machine each worker gets.

    Args:
        count: Workers.
        each: GPUs of one.

    Raises:
        UsageError: If there are too few.
    """
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    here = [name for name in named.split(",") if name] if named else list(map(str, range(torch.cuda.device_count())))
    if count * each > len(here):
        per = f" with {each} GPUs each" if each > 1 else ""
        raise UsageError(
            f"{counted(count, 'worker')}{per} {verb(count, 'needs')} {counted(count * each, 'GPU')}, "
            f"and {len(here)} {verb(len(here), 'is')} here",
            f"--data-parallel {max(1, len(here) // each)}" if len(here) >= each else "fewer GPUs each, or --device cpu",
        )
    return [",".join(here[number * each : (number + 1) * each]) for number in range(count)]
