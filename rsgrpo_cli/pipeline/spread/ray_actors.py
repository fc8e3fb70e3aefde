"""Workers on a Ray cluster: an actor per sampler, a task per part that is graded.

Ray is imported here alone, and only for `--ray`.
"""

from __future__ import annotations

import os
import signal
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from rsgrpo_cli.errors import DependencyError, EngineError, UsageError
from rsgrpo_cli.pipeline.spread.jobs import Answer, Died, Done, Hello, Job, Opening
from rsgrpo_cli.pipeline.spread.queue import Worker
from rsgrpo_cli.pipeline.spread.worker import PartWorker, log_of, write_to
from rsgrpo_cli.wording import counted

AUTO = "auto"
ANSWER_SECONDS = 5.0
"""How long a cluster may take to take up a connection."""
_PASSED_ON = ("HF_", "TRANSFORMERS_", "RSGRPO_", "OMP_", "MKL_", "VLLM_", "CUBLAS_", "GLOO_", "NCCL_")
"""How the variables of the environment begin that actors get from the driver."""
_START_HINT = "start one with: ray start --head; or leave --ray out"


def require_ray() -> None:
    """Make sure that Ray is installed.

    Raises:
        DependencyError: If it is not.
    """
    if find_spec("ray") is None:
        raise DependencyError("--ray needs the package ray", "pip install 'rsgrpo[ray]'")


def connect(address: str) -> None:
    """Join a cluster, unless this process has joined one.

    Args:
        address: HOST:PORT of its head, or "auto" for the one that runs on this machine or that RAY_ADDRESS names.

    Raises:
        DependencyError: If Ray is not installed.
        EngineError: If no cluster answers there, or it has other versions.
        UsageError: If the address is none.
    """
    require_ray()
    # Without this, Ray sends a project that was started by `uv run` to every node, and builds it there again.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray

    if ray.is_initialized():
        return
    named, said_by = address, "--ray"
    if address == AUTO:
        named, said_by = os.environ.get("RAY_ADDRESS") or AUTO, "RAY_ADDRESS"
    if named != AUTO:
        _require_answer(named, said_by)  # Ray itself tries for a minute
    with _own_signals(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(named, log_to_driver=False, logging_level="CRITICAL")
        except Exception as error:  # its own have no base in common
            raise _cannot_join(named, error) from error
    _keep_output_clean()


def leave() -> None:
    """Leave the cluster; what this process started there ends."""
    import ray

    ray.shutdown()


def _keep_output_clean() -> None:
    """Ray prints what it finds out about dead workers on standard output, which is for data; we say it ourselves."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *given, **named: None


def _require_answer(address: str, said_by: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise UsageError(f"{said_by} {address!r} is not an address", "write HOST:PORT of the cluster's head, or auto")
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise EngineError(f"no Ray cluster answers at {address}: {reason}", _START_HINT) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this command does at a signal: Ray has ideas of its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cannot_join(address: str, error: Exception) -> EngineError:
    text = " ".join(str(error).split())
    if "Version mismatch" in text or "version mismatch" in text.lower():
        return EngineError(
            f"the Ray cluster has different versions from this process: {text[:300]}",
            "install the same versions of Python and Ray on all machines",
        )
    where = "on this machine" if address == AUTO else f"at {address}"
    if isinstance(error, ConnectionError):  # Ray's own text is about flags that are not ours
        return EngineError(f"no Ray cluster answers {where}", _START_HINT)
    return EngineError(
        f"this process cannot join the Ray cluster {where}: {text[:300]}",
        "it has to run on a machine of the cluster: ray start --address=HOST:PORT",
    )


def nodes() -> list[Mapping[str, float]]:
    """The resources of each living node of the cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


_MORE = "more machines: ray start --address=HOST:PORT; or leave --ray out"


def room(found: Sequence[Mapping[str, float]], gpus: int) -> int:
    """How many workers fit into nodes; one has a CPU and all of its GPUs on one node.

    Args:
        found: The resources of each node.
        gpus: Of each worker.
    """
    cpus = [int(node.get("CPU", 0)) for node in found]
    if not gpus:
        return sum(cpus)
    return sum(min(cpu, int(node.get("GPU", 0)) // gpus) for cpu, node in zip(cpus, found, strict=True))


def require_room(found: Sequence[Mapping[str, float]], count: int, gpus: int, ranks: int = 0) -> int:
    """How many workers to start: as many as asked for, or as fit.

    Args:
        found: The resources of each node.
        count: How many are asked for; 0 for as many as fit.
        gpus: Of each worker.
        ranks: Beside how many ranks of updates, which keep what they need while the workers do.

    Raises:
        UsageError: If they do not fit.
    """
    if (most := _most_ranks(found, ranks, gpus)) < ranks:
        raise UsageError(
            f"the Ray cluster has room for {counted(most, 'rank')} beside a worker, not for {ranks}; its nodes have "
            f"{_told(found)}",
            f"--ranks {most}" if most > 1 else _MORE,
        )
    fits = room(left_by_ranks(found, ranks, bool(gpus)), gpus)
    have = f"{f' beside {ranks} ranks' if ranks else ''}; its nodes have {_told(found)}"
    if fits == 0:
        what = f"{counted(gpus, 'free GPU')} and a CPU" if gpus else "a CPU"
        smaller = "a smaller vllm.tensor_parallel_size, or larger nodes" if gpus else "ray start --num-cpus N"
        raise UsageError(f"no node of the Ray cluster has {what} for a worker{have}", smaller)
    if count > fits:
        each = f"of {counted(gpus, 'GPU')} and a CPU each" if gpus else "of a CPU each"
        raise UsageError(
            f"the Ray cluster has room for {counted(fits, 'worker')} {each}, not for {count}{have}",
            f"--data-parallel {fits}, or leave it out",
        )
    return count or fits


def left_by_ranks(found: Sequence[Mapping[str, float]], ranks: int, gpus: bool) -> list[Mapping[str, float]]:
    """What is left of nodes if ranks take a CPU each, and a GPU each where they have some, from the first on.

    Raises:
        UsageError: If they do not fit.
    """
    left, waiting = list[Mapping[str, float]](), ranks
    for node in found:
        here = min(waiting, room([node], int(gpus)))
        left.append({**node, "CPU": node.get("CPU", 0) - here, "GPU": node.get("GPU", 0) - here * gpus})
        waiting -= here
    if waiting:
        each = "a GPU and a CPU" if gpus else "a CPU"
        fits, have = ranks - waiting, _told(found)
        raise UsageError(
            f"the Ray cluster has room for {counted(fits, 'rank')} with {each} each, not for {ranks}; "
            f"its nodes have {have}",
            f"--ranks {fits}" if fits > 1 else _MORE,
        )
    return left


def _most_ranks(found: Sequence[Mapping[str, float]], ranks: int, gpus: int) -> int:
    """How many of these ranks fit and leave room for a worker with so many GPUs."""
    fits = min(ranks, room(found, int(gpus > 0)))
    return next((most for most in range(fits, 0, -1) if room(left_by_ranks(found, most, gpus > 0), gpus)), 0)


def _told(found: Sequence[Mapping[str, float]]) -> str:
    return ", ".join(f"{node.get('GPU', 0):g} GPUs and {node.get('CPU', 0):g} CPUs" for node in found)


def left_beside(found: Sequence[Mapping[str, float]], gpus: int) -> list[int]:
    """How many CPUs of each node are left if there are as many samplers as fit.

    Args:
        found: The resources of each node.
        gpus: Of each sampler.
    """
    return [int(node.get("CPU", 0)) - room([node], gpus) for node in found]


class _Actor:
    """What runs in an actor."""

    def __init__(self, opening: Opening, number: int) -> None:
        write_to(log_of(opening.run, number))
        self.worker = PartWorker(opening, number)

    def do(self, job: Job) -> Answer:
        """As `PartWorker.do`."""
        return self.worker.do(job)


@dataclass(eq=False, slots=True)
class RayWorker:
    """An actor; see `queue.Worker`."""

    number: int
    log: Path
    actor: Any
    answer: Any = None

    def ask(self, job: Job) -> None:
        """Give it a job; it answers later."""
        self.answer = self.actor.do.remote(job)

    def kill(self) -> None:
        """End it at once."""
        import ray

        ray.kill(self.actor)


def _do_alone(opening: Opening, number: int, job: Job) -> Answer:
    """A job by itself, in a process that knows nothing of the run before and keeps nothing of it."""
    write_to(log_of(opening.run, number))
    worker = PartWorker(opening, number)
    try:
        known = worker.do(Hello())  # each task may be on another machine
        return known if isinstance(job, Hello) or not isinstance(known, Done) else worker.do(job)
    finally:
        worker.close()


@dataclass(eq=False, slots=True)
class RayTask:
    """A place for one task after another; see `queue.Worker`."""

    number: int
    log: Path
    opening: Opening
    options: Mapping[str, Any]
    answer: Any = None

    def ask(self, job: Job) -> None:
        """Give it a job; it answers later."""
        import ray

        self.answer = ray.remote(_do_alone).options(**self.options).remote(self.opening, self.number, job)

    def kill(self) -> None:
        """End the task at once."""
        import ray

        if self.answer is not None:
            ray.cancel(self.answer, force=True)


class RayActors:
    """Workers on a cluster; see `queue.Workers`.

    Args:
        count: How many.
        gpus: Of each.
    """

    def __init__(self, count: int, gpus: int) -> None:
        self.count, self.gpus, self.with_gpus = count, gpus, gpus > 0
        self.started: list[RayWorker] = []

    def start(self, number: int, opening: Opening) -> RayWorker:
        """Begin to start one; it waits until the cluster has room for it."""
        import ray

        options = {"num_cpus": 1, "num_gpus": self.gpus, "max_restarts": 0, "max_task_retries": 0}
        kind = ray.remote(_Actor).options(**options, **_anywhere(opening))
        worker = RayWorker(number, log_of(opening.run, number), kind.remote(opening, number))
        self.started.append(worker)
        return worker

    def wait(self, busy: Sequence[Worker], seconds: float) -> list[tuple[Worker, Answer | Died]]:
        """What busy workers have to say, as soon as one has."""
        return _wait(busy, seconds)

    def close(self) -> None:
        """End all of them, and leave the cluster."""
        _end(self.started)


class RayTasks:
    """Workers that hold CPUs only while they do something: each job is a task; see `queue.Workers`.

    Args:
        count: How many there may be at once.
        cpus: Of each.
    """

    with_gpus = False

    def __init__(self, count: int, cpus: int) -> None:
        self.count, self.cpus = count, cpus
        self._started: list[RayTask] = []

    def start(self, number: int, opening: Opening) -> RayTask:
        """A place for tasks."""
        options = {"num_cpus": self.cpus, "max_retries": 0, **_anywhere(opening)}
        self._started.append(RayTask(number, log_of(opening.run, number), opening, options))
        return self._started[-1]

    def wait(self, busy: Sequence[Worker], seconds: float) -> list[tuple[Worker, Answer | Died]]:
        """What busy workers have to say, as soon as one has."""
        return _wait(busy, seconds)

    def close(self) -> None:
        """End all of them, and leave the cluster."""
        _end(self._started)


def _anywhere(opening: Opening) -> dict[str, Any]:
    return {"scheduling_strategy": "SPREAD", "runtime_env": {"env_vars": environment(opening.threads)}}


def _wait(busy: Sequence[Worker], seconds: float) -> list[tuple[Worker, Answer | Died]]:
    import ray

    by_answer = {worker.answer: worker for worker in busy if isinstance(worker, RayWorker | RayTask)}
    ready, _ = ray.wait(list(by_answer), num_returns=1, timeout=seconds, fetch_local=False)
    return [(by_answer[answer], _heard(answer)) for answer in ready]


def _end(started: list[Any]) -> None:
    import ray

    for worker in started if ray.is_initialized() else ():
        with suppress(Exception):  # the cluster may be gone; what ran on it is then gone as well
            worker.kill()
    started.clear()
    leave()


def _heard(answer: Any) -> Answer | Died:
    import ray
    from ray.exceptions import RayError

    try:
        found: Answer = ray.get(answer)
        return found
    except RayError as error:  # of an actor or a node that is gone, of memory, of an actor that could not be made
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        ends = dict.fromkeys(lines[:1] + lines[-1:])  # the first says what happened, the last where
        told = "; ".join(shorten(line.removesuffix("."), 160, placeholder=" ...") for line in ends)
        return Died(told or type(error).__name__)


def environment(threads: int) -> dict[str, str]:
    """The variables that workers get from this process."""
    found = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    if "PYTHONPATH" in os.environ:
        entries = os.environ["PYTHONPATH"].split(os.pathsep)
        found["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in entries)
    return {"OMP_NUM_THREADS": str(threads), **found}
