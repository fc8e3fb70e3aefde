"""Ranks among each other: how they meet, and how those that only take part learn what to do.

Under torchrun every rank runs the command: the first does its work, the others wait for the updates in it.

    torchrun --nnodes 2 --nproc-per-node 8 ... -m -- rsgrpo_cli update --run RUN

Without it the command starts ranks that only take part (`launcher`).
"""

from __future__ import annotations

import atexit
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsgrpo_cli.errors import EngineError, RsgrpoError, UsageError
from rsgrpo_cli.pipeline.ranks.rank import LONGEST_WAIT, Place, backend, train_rank

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

RUN, ORDER, DONE, END, FAILED, GAVE_UP = "run", "order", "done", "end", "failed", "gave up"
"""Keys of the store: the first rank's run; the directory of the n-th update, or that there is none; that it is made;
why a rank that torchrun started gave up; why the n-th of those did that only take part."""
OURS = "rsgrpo"
"""Goes before these keys: the store is not ours alone."""
_POLL_SECONDS = 0.05
_OF_THE_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(slots=True)
class Joined:
    """A process that has met the other ranks.

    Args:
        place: Its place among them.
        store: What all of them read and write.
        orders: How many updates there have been.
    """

    place: Place
    store: Store
    orders: int = 0

    @property
    def name(self) -> str:
        """For messages: which rank, and where."""
        return f"rank {self.place.rank} on {socket.gethostname()}"

    def work(self, folder: Path) -> None:
        """Have all ranks make an update, this one among them.

        Raises:
            RsgrpoError: Why this rank could not.
        """
        self.store.set(f"{ORDER} {self.orders}", str(folder))
        with self.explained():
            self._train(str(folder))

    def check_run(self, run: str) -> None:
        """Make sure that the first rank has the run that this one was started for.

        Raises:
            UsageError: If it has another one.
        """
        theirs = self._get(RUN)
        if theirs not in ("", run):
            raise UsageError(
                f"{self.name} was started for run {run}, and rank 0 for {theirs}", "give every rank the same --run"
            )

    def serve(self) -> None:
        """Take part in updates until there are no more.

        Raises:
            RsgrpoError: Why this rank could not.
        """
        while (folder := self._get(f"{ORDER} {self.orders}")) != END:
            self._train(folder)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Tell the other ranks why this one gives up; where the connection to one is lost, say what that one has told.

        Raises:
            EngineError: If the connection to another rank is lost.
        """
        try:
            yield
        except RsgrpoError as error:
            self.store.set(FAILED, error.message)
            raise
        except RuntimeError as error:
            if not _is_lost(error):
                raise
            raise self._lost() from error

    def _lost(self) -> EngineError:
        hint = "nothing is lost; see what the other ranks printed, and run the same command again"
        try:
            told = self.store.get(FAILED).decode() if self.store.check([FAILED]) else ""
        except RuntimeError:  # the store is gone with its machine
            told = ""
        reason = f"another rank gave up: {told}" if told else f"{self.name} has lost the connection to another rank"
        return EngineError(reason, hint)

    def end(self) -> None:
        """Let the other ranks go."""
        self.store.set(f"{ORDER} {self.orders}", END)

    def _train(self, folder: str) -> None:
        try:
            train_rank(Path(folder), self.place)
        except RsgrpoError:
            raise
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            message = f"{self.name}: {error.strerror or error}{where}"
            raise EngineError(message, "check the path, its permissions and the disk") from error
        if self.place.rank == 0:
            self.store.set(f"{DONE} {self.orders}", "")
        self.orders += 1

    def _get(self, key: str) -> str:
        """A value, as soon as it is there."""
        while not self.store.check([key]):
            time.sleep(_POLL_SECONDS)
        return self.store.get(key).decode()


_joined: list[Joined] = []


def joined() -> Joined | None:
    """This process among torchrun's, None where it was started in another way."""
    return _joined[0] if _joined else None


def started_by_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in environment and int(environment.get("WORLD_SIZE", "1")) > 1


def meet(place: Place, store: Store) -> Joined:
    """Wait for the other ranks.

    Args:
        place: This process's.
        store: One that all of them have.
    """
    import torch.distributed as dist

    group = dist.PrefixStore("group", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend(), store=group, rank=place.rank, world_size=place.world, timeout=LONGEST_WAIT)
    return Joined(place, dist.PrefixStore(OURS, store))  # type: ignore[attr-defined]


def join(run: str | None, asked: int | None) -> Joined:
    """Meet the ranks that torchrun has started.

    Args:
        run: The run's directory, None where it is not known yet.
        asked: --ranks, None where it was not given.

    Raises:
        UsageError: If --ranks says another number than torchrun, or this rank has another run than the first.
    """
    import torch.distributed as dist

    place = Place.of(os.environ)
    if asked not in (None, place.world):
        raise UsageError(f"torchrun has started {place.world} ranks, and --ranks asks for {asked}", "leave --ranks out")
    store, _, _ = next(dist.rendezvous("env://", timeout=LONGEST_WAIT))  # type: ignore[attr-defined]
    one = meet(place, store)
    _joined.append(one)
    if one.place.rank == 0:
        one.store.set(RUN, run or "")
        atexit.register(one.end)
        # A sampler that is started by this process is not one of the ranks.
        for name in [*_OF_THE_LAUNCHER, *(name for name in os.environ if name.startswith("TORCHELASTIC_"))]:
            os.environ.pop(name, None)
    elif run is not None:
        with one.explained():
            one.check_run(run)
    return one


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error of torch is about another rank that does not answer (any more); gloo's have no type."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error)
