"""Worker processes for code that may hang, crash, eat all memory or print: verifiers and users' reward functions.

    with WorkerPool("rsgrpo_cli.rewards.math.verifier:verify_pair", workers=2, deadline=10.0) as pool:
        outcomes = pool.map([("1/2", "0.5"), ("x", "y")])   # [Done(True), Done(False)]

Why not multiprocessing or concurrent.futures: their executors cannot kill the one worker that overruns, and a spawned
child imports the parent's `__main__` again, which runs a script without a `__main__` guard a second time and fails when
the parent reads its program from stdin. Here a worker is `python -P worker.py` with one inherited socket: its
`__main__` is always `worker.py`, `sys.path` is sent over, and no fork copies the parent's threads, locks or torch.

Why not pebble or loky: pebble kills the one worker that overruns, but starts its workers through multiprocessing, and
it unpickles what they send, which lets a hostile completion that takes over a worker run code in the parent (here a
worker answers in JSON). In loky a task has no deadline of its own, and one killed worker breaks the whole executor.
Neither limits memory, nor says which job of a batch a dead worker was at.

Every job has its own deadline. Jobs travel in chunks, because a message costs about as much as a small job, but the
worker reports each job as it ends, and each report starts the clock of the next: the parent always knows which job a
stuck or dead worker was at. That worker is killed and replaced, and the rest of its chunk is handed out again. A death
may be the machine's doing (the kernel ran out of memory) and not the job's: the job is run once more, alone and in a
new worker, before it is blamed.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rsgrpo_cli import activity
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.wording import raised
from rsgrpo_cli.workers.worker import PARENT_SIGNALS, Start

DEFAULT_MEMORY_LIMIT_BYTES = 2 * 1024**3
_MAX_CHUNK = 32
_START_SECONDS = 120.0  # an import on a busy machine; not a job's deadline
_RESTARTS = 2  # of workers that a signal ended before their first job, in one map: then the handler is to blame
_WORKER_FILE = Path(__file__).with_name("worker.py")

Job = tuple[Any, ...]
"""Positional arguments of one call of the handler: anything that pickles."""


@dataclass(frozen=True, slots=True)
class Done:
    """The handler returned.

    Args:
        value: What it returned, as it comes out of JSON: tuples are lists.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler raised anything: an Exception, math-verify's TimeoutException, SystemExit.

    Args:
        kind: Name of the exception's class.
        message: Its text, cut to 500 characters.
    """

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The handler was still running at its deadline and was killed.

    Args:
        seconds: The deadline.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Died:
    """The worker ended during the job: a crash, `os._exit`, a signal, memory that C code could not get.

    Args:
        exit_code: Its exit status; -N where signal N ended it.
    """

    exit_code: int


Outcome = Done | Raised | TimedOut | Died


@dataclass(eq=False, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    clock: float  # time.monotonic() at which its present wait began
    chunk: deque[int] = field(default_factory=deque)  # indices of the jobs it holds, the running one first
    ready: bool = False
    proven: bool = False  # has reported a job
    begun: bool = False  # has taken up the chunk it holds


@dataclass(slots=True)
class _Run:
    """The state of one `map`."""

    jobs: Sequence[Job]
    waiting: deque[int]
    again: deque[int] = field(default_factory=deque)  # a worker died over them: once more, alone, in a new one
    retried: set[int] = field(default_factory=set)
    restarts: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)


class WorkerPool:
    """A fixed number of processes that run one function; see the module's text.

    Workers start with the first `map` and stay for the next. They ignore Ctrl-C and what a batch system sends to all
    processes of a job (SIGTERM, SIGHUP, SIGUSR1), so an interrupted `map` raises KeyboardInterrupt here; it then ends
    the workers that still hold jobs. They end when the parent does, however it
    ends. One thread at a time may call `map`.

    Args:
        handler: The function, as "package.module:function". It must return what JSON can carry.
        workers: Number of processes, at least 1.
        deadline: Seconds a job may take, counted from when its worker takes it up.
        memory_limit_bytes: Address space of a worker (RLIMIT_AS), None for no limit.
        setup: Where not empty, `handler` is called with these arguments once per worker, and returns the real handler.
        label: What to call the handler in error messages.

    Raises:
        UsageError: If `workers` or `deadline` is not positive.
    """

    def __init__(
        self,
        handler: str,
        *,
        workers: int,
        deadline: float,
        memory_limit_bytes: int | None = DEFAULT_MEMORY_LIMIT_BYTES,
        setup: tuple[Any, ...] = (),
        label: str = "",
    ) -> None:
        if workers < 1:
            raise UsageError(f"a worker pool needs at least 1 worker, not {workers}")
        if not (deadline > 0 and math.isfinite(deadline)):
            raise UsageError(f"the deadline of a job must be a positive number of seconds, not {deadline}")
        self._size = workers
        self._deadline = deadline
        self._label = label or handler
        self._handler, self._setup, self._memory = handler, setup, memory_limit_bytes
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._closed = False
        # Also at interpreter exit, for a pool nobody closed. Not in a fork of this process: the workers are not its.
        self._finalizer = weakref.finalize(self, _end_all, self._workers, os.getpid())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._selector.close()
            self._finalizer()

    def map(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the handler on every job; one outcome each, in the order of `jobs`, whatever the jobs do.

        Raises:
            UsageError: If a worker cannot start: the handler cannot be imported, or kills the process on import.
            RuntimeError: If the pool is closed.
        """
        if self._closed:
            raise RuntimeError(f"the worker pool of {self._label} is closed")
        run = _Run(jobs, deque(range(len(jobs))))
        try:
            with activity.doing("", len(jobs)) as bar:
                while len(run.outcomes) < len(jobs):
                    self._assign(run)
                    self._listen(run)
                    self._expire(run)
                    bar.done = len(run.outcomes)
        except BaseException:
            # What these workers still report would be taken for results of the next map.
            for worker in [worker for worker in self._workers if worker.chunk or not worker.ready]:
                self._end(worker)
            raise
        return [run.outcomes[index] for index in range(len(jobs))]

    def _assign(self, run: _Run) -> None:
        """Start the workers that this run can use and give each idle one its next chunk."""
        while len(self._workers) < self._size and self._needs_another(run):
            self._start()
        for worker in list(self._workers):
            if worker.ready and not worker.chunk:
                chunk = self._next_chunk(worker, run)
                if chunk:
                    self._send(worker, chunk, run)

    def _needs_another(self, run: _Run) -> bool:
        jobs = sum(bool(worker.chunk) for worker in self._workers) + len(run.waiting) + len(run.again)
        new = sum(not worker.proven and not worker.chunk for worker in self._workers)
        return len(self._workers) < jobs or new < len(run.again)

    def _next_chunk(self, worker: _Worker, run: _Run) -> list[int]:
        if run.again and not worker.proven:
            return [run.again.popleft()]
        # Chunks shrink towards the end, so that no worker is left with a long one while the others idle.
        size = max(1, min(_MAX_CHUNK, len(run.waiting) // (2 * self._size)))
        return [run.waiting.popleft() for _ in range(min(size, len(run.waiting)))]

    def _send(self, worker: _Worker, chunk: list[int], run: _Run) -> None:
        worker.chunk.extend(chunk)
        worker.begun = False
        worker.clock = time.monotonic()
        try:
            worker.connection.send([run.jobs[index] for index in chunk])
        except OSError:
            self._handle_death(worker, run)

    def _listen(self, run: _Run) -> None:
        """Take in reports until the first deadline of a worker at the latest."""
        now = time.monotonic()
        until = min((self._due(worker) for worker in self._workers if worker.chunk or not worker.ready), default=now)
        for key, _ in self._selector.select(max(0.0, until - now)):
            worker: _Worker = key.data
            try:
                self._receive(worker, json.loads(worker.connection.recv_bytes()), run)
            except (EOFError, OSError):
                self._handle_death(worker, run)

    def _receive(self, worker: _Worker, report: list[Any], run: _Run) -> None:
        worker.clock = time.monotonic()
        match report:
            case ["ready"]:
                worker.ready = True
            case ["begun"]:
                worker.begun = True
            case ["failed", kind, message]:
                self._end(worker)
                raise self._cannot_start(raised(kind, message))
            case ["done", value]:
                worker.proven = True
                run.outcomes[worker.chunk.popleft()] = Done(value)
            case ["raised", kind, message, spoilt]:
                worker.proven = True
                run.outcomes[worker.chunk.popleft()] = Raised(kind, message)
                if spoilt:
                    self._replace(worker, run)

    def _expire(self, run: _Run) -> None:
        """Kill the workers whose job is past its deadline, unless a report of it is already waiting to be read."""
        now = time.monotonic()
        for worker in list(self._workers):
            if (worker.chunk or not worker.ready) and now >= self._due(worker) and not worker.connection.poll():
                if not worker.ready:
                    self._end(worker)
                    raise self._cannot_start(f"it was not loaded within {_START_SECONDS:.0f} seconds")
                run.outcomes[worker.chunk.popleft()] = TimedOut(self._deadline)
                self._replace(worker, run)

    def _handle_death(self, worker: _Worker, run: _Run) -> None:
        """Record a job as fatal when a second worker dies of it; a worker that dies idle blames no job."""
        if not worker.ready:
            self._allow_restart(run, self._end(worker), "while loading it")
            return
        culprit = worker.chunk.popleft() if worker.chunk and worker.begun else None
        exit_code = self._replace(worker, run)
        if culprit is not None and culprit in run.retried:
            run.outcomes[culprit] = Died(exit_code)
        elif culprit is not None:
            run.retried.add(culprit)
            run.again.append(culprit)
        elif not worker.proven:
            self._allow_restart(run, exit_code, "before its first job")

    def _allow_restart(self, run: _Run, exit_code: int, when: str) -> None:
        """Allow a few restarts if a signal ended a worker: it may have come from outside."""
        if exit_code >= 0 or run.restarts >= _RESTARTS:
            raise self._cannot_start(f"the process ended with code {exit_code} {when}")
        run.restarts += 1

    def _replace(self, worker: _Worker, run: _Run) -> int:
        """End a worker and put the jobs it has not begun at the head of the queue."""
        run.waiting.extendleft(reversed(worker.chunk))
        return self._end(worker)

    def _due(self, worker: _Worker) -> float:
        return worker.clock + (self._deadline if worker.ready else _START_SECONDS)

    def _start(self) -> None:
        ours, theirs = Pipe()
        # A session of its own: Ctrl-C on the terminal does not reach it, and what it starts can be killed with it.
        # stdout=2: whatever a handler prints goes to stderr, stdout is for data.
        with _blocked(PARENT_SIGNALS):
            process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER_FILE), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                # SymPy orders by hash in places: equal pairs must get equal verdicts in every process of every run.
                env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONHASHSEED": "0"},
            )
        theirs.close()
        worker = _Worker(process, ours, clock=time.monotonic())
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        # A worker that has ended already is found out, and buried, when its report is waited for.
        with suppress(OSError):
            ours.send(self._orders())

    def _orders(self) -> Start:
        return Start(
            handler=self._handler,
            setup=self._setup,
            path=[entry or os.getcwd() for entry in sys.path],
            memory_limit_bytes=self._memory,
            parent=os.getpid(),
            # The kernel's death signal is sent when the *thread* that started the worker ends.
            die_with_parent=threading.current_thread() is threading.main_thread(),
        )

    def _end(self, worker: _Worker) -> int:
        self._selector.unregister(worker.connection)
        self._workers.remove(worker)
        return _kill(worker)

    def _cannot_start(self, why: str) -> UsageError:
        module = self._label.split()[-1].partition(":")[0]
        return UsageError(
            f"{self._label} cannot be loaded in a worker process: {why}",
            f'see whether `python -c "import {module}"` works in this directory and environment',
        )


@contextmanager
def _blocked(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Block signals, also in the processes that the block starts: one of these lets them in when it is prepared."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(worker: _Worker) -> int:
    """Kill a worker and all it has started, and return its exit code, which is its own if it had ended by itself."""
    worker.connection.close()
    try:
        os.killpg(worker.process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended, and was already waited for
    except PermissionError:
        worker.process.kill()  # macOS says so of a group whose leader has ended
    return worker.process.wait()


def _end_all(workers: list[_Worker], owner: int) -> None:
    if os.getpid() == owner:
        while workers:
            _kill(workers.pop())
