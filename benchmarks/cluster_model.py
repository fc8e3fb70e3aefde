"""The part queue as a discrete-event model: workers, a queue of parts, what they share, and what fails.

    worker    starts, then again and again: takes a part, makes it, has its file's operations done, reports
    command   hears reports one at a time; hands out parts in the order of the plan
    failure   ends a worker in the middle of a part: the part goes to the head of the queue, a new worker starts

As `rsgrpo_cli.pipeline.spread.queue` does it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from rsgrpo_cli.pipeline.spread.queue import MOST_FAILURES

SLICE = 0.05
"""Seconds that a process keeps a core before the next one gets it."""
Steps = Generator[simpy.Event, object, None]


@dataclass(frozen=True, slots=True)
class Site:
    """Where parts are made.

    Args:
        workers: How many.
        start: Seconds until a worker is ready; of a core, where there are only `cores`.
        restart: The same of one that replaces another; `start` unless given.
        cores: That all workers share; None for one each, or a GPU.
        busy: Whether making a part needs a core; where it does not, only starting does.
        command: Seconds of the command per part.
        operations: Of the file system per part.
        operation: Seconds of one, for all workers one after the other.
        failures: Seconds between two failures of a worker, on average.
        slow: How many times as long the first worker takes for a part.
        static: Parts are dealt out beforehand, in turn, instead of taken from the queue.
        seed: Of the failures.
    """

    workers: int
    start: float = 0.0
    restart: float | None = None
    cores: int | None = None
    busy: bool = False
    command: float = 0.0
    operations: float = 0.0
    operation: float = 0.0
    failures: float = math.inf
    slow: float = 1.0
    static: bool = False
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of it; all in seconds.

    Args:
        end: Until the last part was there.
        worked: All workers together, on parts that were finished.
        lost: The same, on parts that were not.
        failures: How many workers failed.
        stopped: Whether a part failed so often that the command stopped, and the rest means nothing.
    """

    workers: int
    end: float = 0.0
    worked: float = 0.0
    lost: float = 0.0
    failures: int = 0
    stopped: bool = False

    @property
    def utilisation(self) -> float:
        """Share of all workers' time that finished parts took."""
        return self.worked / (self.workers * self.end) if self.end else 0.0


def simulate(parts: Sequence[float], site: Site) -> Outcome:
    """Have parts made.

    Args:
        parts: Seconds of each, alone, in the order of the plan.
        site: Where.
    """
    return _Run(parts, site).outcome()


class _Parts:
    """Parts that some workers share: seconds of each, how often it failed; and how many are not done yet."""

    def __init__(self, env: simpy.Environment, parts: Sequence[float]) -> None:
        self.env, self.waiting, self.undone = env, deque((seconds, 0) for seconds in parts), len(parts)
        self.changed = env.event()

    def tell(self) -> None:
        """Wake idle workers: a part came back, or all are done."""
        self.changed.succeed()
        self.changed = self.env.event()


class _Run:
    def __init__(self, parts: Sequence[float], site: Site) -> None:
        self.site, self.env, self.found = site, simpy.Environment(), Outcome(site.workers)
        self.rng = np.random.default_rng(site.seed)
        self.command, self.files = simpy.Resource(self.env), simpy.Resource(self.env)
        self.cores = simpy.Resource(self.env, site.cores) if site.cores else None
        self.queues = [_Parts(self.env, parts)] * site.workers
        if site.static:
            self.queues = [_Parts(self.env, parts[number :: site.workers]) for number in range(site.workers)]

    def outcome(self) -> Outcome:
        for number, queue in enumerate(self.queues):
            self.env.process(self.worker(queue, self.site.slow if number == 0 else 1.0))
        self.env.run()
        return self.found

    def worker(self, queue: _Parts, slow: float) -> Steps:
        """One place of a worker, whoever is in it."""
        site = self.site
        yield from self.work(site.start, on_core=self.cores is not None)
        while queue.undone:
            if not queue.waiting:
                yield queue.changed
                continue
            part, failed = queue.waiting.popleft()
            took, life = part * slow, self.lifetime()
            if life < took:  # of its time alone: no cores are shared where workers fail
                yield self.env.timeout(life)
                self.found.lost, self.found.failures = self.found.lost + life, self.found.failures + 1
                if failed + 1 == MOST_FAILURES:
                    self.found.stopped, queue.undone = True, 0
                    queue.waiting.clear()
                queue.waiting.appendleft((part, failed + 1))
                queue.tell()
                yield self.env.timeout(site.start if site.restart is None else site.restart)
                continue
            yield from self.make(took)
            queue.undone = max(0, queue.undone - 1)
            if not queue.undone:
                queue.tell()

    def make(self, part: float) -> Steps:
        """Make a part, write it, report it."""
        began = self.env.now
        yield from self.work(part, on_core=self.site.busy and self.cores is not None)
        self.found.worked += self.env.now - began
        yield from self.in_turn(self.files, self.site.operations * self.site.operation)
        yield from self.in_turn(self.command, self.site.command)
        self.found.end = max(self.found.end, self.env.now)

    def work(self, seconds: float, *, on_core: bool) -> Steps:
        """Spend some seconds, in slices where the cores are shared."""
        while on_core and seconds > 0:
            assert self.cores is not None
            yield from self.in_turn(self.cores, min(SLICE, seconds))
            seconds -= SLICE
        if not on_core and seconds > 0:
            yield self.env.timeout(seconds)

    def in_turn(self, resource: simpy.Resource, seconds: float) -> Steps:
        """Spend some seconds with something of which there are few."""
        if seconds > 0:
            with resource.request() as turn:
                yield turn
                yield self.env.timeout(seconds)

    def lifetime(self) -> float:
        """Seconds until a worker fails, from any moment on."""
        return float(self.rng.exponential(self.site.failures)) if math.isfinite(self.site.failures) else math.inf
