"""Ranks on this machine, started by torch's elastic launcher; they stay for the next update."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsgrpo_cli import errors
from rsgrpo_cli.errors import EngineError, Interrupted, RsgrpoError
from rsgrpo_cli.pipeline.ranks.torchrun import DONE, END, GAVE_UP, ORDER, OURS

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.api import PContext

_PACKAGE = Path(__file__).parents[2]
_POLL_SECONDS = 0.05
_LAST_SECONDS = 10.0
"""For ranks to leave by themselves."""


class Launched:
    """Processes that make updates together.

    Args:
        ranks: How many.
        log: Where all that they print goes.
        stopping: Whether a polite stop was asked for.
        host: This machine's address, as the ranks know it.
    """

    def __init__(self, ranks: int, log: Path, stopping: Callable[[], bool], *, host: str = "127.0.0.1") -> None:
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        self.ranks, self._log, self._stopping = ranks, log.absolute(), stopping
        self._orders = 0
        self._log.write_bytes(b"")
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what went wrong is said by us
        server = TCPStore(host, 0, is_master=True, wait_for_workers=False)
        self._store = PrefixStore(OURS, server)
        self._begin(host, server.port)

    def work(self, folder: Path) -> None:
        """Have an update made.

        Args:
            folder: The order (`rank_order`).

        Raises:
            RsgrpoError: The first reason that a rank gives, or that one has died. All of them have ended then.
        """
        self._store.set(f"{ORDER} {self._orders}", str(folder.absolute()))
        while not self._store.check([f"{DONE} {self._orders}"]):
            ended = self._ended()
            if ended is not None:
                raise self._reason(ended)
            time.sleep(_POLL_SECONDS)
        self._orders += 1

    def close(self, *, at_once: bool = False) -> None:
        """Let the processes go, and end those that stay."""
        self._store.set(f"{ORDER} {self._orders}", END)
        latest = time.monotonic() + (0 if at_once else _LAST_SECONDS)
        while self._ended() is None and time.monotonic() < latest:
            time.sleep(_POLL_SECONDS)
        self._end()

    def _begin(self, host: str, port: int) -> None:
        """Start the processes, which find the store there."""
        self._context = _away_from_signals(lambda: self._started(host, port))

    def _ended(self) -> dict[int, int] | None:
        """None while they are at work; then the exit codes of those that failed, by their ranks."""
        ended = self._context.wait(timeout=0)
        return None if ended is None else {rank: one.exitcode for rank, one in sorted(ended.failures.items())}

    def _end(self) -> None:
        """End those that are left."""
        self._context.close(signal.SIGKILL)

    def _has_told(self, rank: int) -> bool:
        """Whether a rank has said why it gives up."""
        return self._store.check([f"{GAVE_UP} {rank}"])

    def _reason(self, codes: dict[int, int]) -> RsgrpoError:
        """Why the processes have ended: what one says clearly, else a kill, else what may be a consequence."""
        ranks = (rank for rank in range(self.ranks) if self._has_told(rank))
        told = [json.loads(self._store.get(f"{GAVE_UP} {rank}")) for rank in ranks]
        for data in told:
            if data["known"]:
                return _made(data)
        if (killed := self._killed(codes)) is not None:
            return killed
        again = f"run the same command again; the log: {self._log}"
        if told:
            return EngineError(told[0]["message"], again)
        said = ", ".join(f"rank {rank} with exit code {code}" for rank, code in codes.items()) or "all of them"
        return EngineError(f"the ranks of the update ended: {said}", again)

    def _killed(self, codes: dict[int, int]) -> RsgrpoError | None:
        """What it means that some were killed. A SIGTERM may be the launcher's, to those that were left."""
        killed = {rank: -code for rank, code in codes.items() if code < 0}
        rank = next((rank for rank, number in killed.items() if number != signal.SIGTERM), None)
        if rank is not None:
            hint = f"perhaps memory ran out; nothing is lost: run the same command again. The log: {self._log}"
            name = signal.Signals(killed[rank]).name
            return EngineError(f"rank {rank} of {self.ranks} was killed ({name}) during the update", hint)
        if killed and self._stopping():
            return Interrupted("stopped during the update; what was finished is kept", "run the same command again")
        return None

    def _started(self, host: str, port: int) -> PContext:
        from torch.distributed.elastic.multiprocessing import start_processes

        arguments = ("-P", "-m", "rsgrpo_cli.pipeline.ranks.rank_process", str(self._log), str(os.getpid()))
        return start_processes(
            name="ranks",
            entrypoint=sys.executable,
            args=dict.fromkeys(range(self.ranks), arguments),
            envs={rank: _environment(rank, self.ranks, host, port) for rank in range(self.ranks)},
            logs_specs=_no_logs(),
        )


def _made(data: dict[str, Any]) -> RsgrpoError:
    """The error that a rank has told of."""
    made: RsgrpoError = getattr(errors, data["kind"])(data["message"], data["hint"])
    return made


def _environment(rank: int, ranks: int, host: str, port: int) -> dict[str, str]:
    """As torchrun sets it, on one machine."""
    known = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": ranks,
        "LOCAL_WORLD_SIZE": ranks,
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        "PYTHONPATH": os.pathsep.join([str(_PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, (os.cpu_count() or 1) // ranks)),
    }
    if sys.platform == "linux":  # a host's own name may lead nowhere
        known["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return {name: str(value) for name, value in known.items()}


def _no_logs() -> Any:
    """In torch's terms: no file for each rank, all of them write to one."""
    from torch.distributed.elastic.multiprocessing.api import LogsDest, LogsSpecs

    class Nowhere(LogsSpecs):
        @property
        def root_log_dir(self) -> str:
            return os.devnull

        def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
            nowhere = dict.fromkeys(envs, os.devnull)
            return LogsDest(nowhere, nowhere, {}, {}, nowhere)

    return Nowhere()


def _away_from_signals(call: Callable[[], PContext]) -> PContext:
    """What `call` returns, from another thread: in the main one, torch would take the handlers of signals over."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
