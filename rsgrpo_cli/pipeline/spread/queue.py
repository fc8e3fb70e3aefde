"""The queue of parts: idle workers get the next one, what a dead or hanging worker had goes to another.

The plan of the parts is the queue, and what is in a part does not depend on who makes it or when. So a run has the same
bytes with any number of workers, and a driver that was killed finds what is done by looking at the files.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rsgrpo_cli.activity import Doing
from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.pipeline.spread.jobs import Answer, Died, Done, Failed, Hello, Job, Opening, Rest
from rsgrpo_cli.wording import counted

MOST_FAILURES = 3
"""A part that fails so often stops the run; so does a worker that so often does not start."""
LOOK_SECONDS = 0.5
"""How often deadlines and signals are looked at while all workers are busy."""
UNPLACED_SECONDS = 30.0
"""If no worker has started after that, it is said."""
LOG_LINES = 8


class Worker(Protocol):
    """One worker, as its driver sees it: it has one job at a time."""

    number: int
    """From 0; free again once it is gone."""
    log: Path
    """Where its output goes."""

    def ask(self, job: Job) -> None:
        """Give it a job; it answers later. One that is dead is found out by `wait`."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Workers(Protocol):
    """Where workers come from."""

    count: int
    """How many there are to be."""
    with_gpus: bool
    """Whether they have any."""

    def start(self, number: int, opening: Opening) -> Worker:
        """Begin to start one; it answers once it is there."""
        ...

    def wait(self, busy: Sequence[Worker], seconds: float) -> list[tuple[Worker, Answer | Died]]:
        """What busy workers have to say, as soon as one has."""
        ...

    def close(self) -> None:
        """End all of them."""
        ...


@dataclass(eq=False, slots=True)
class _Member:
    """A worker and what it is at.

    Args:
        worker: It.
        job: What it was asked, None while it is idle.
        task: The name of the part, empty for what is none.
        since: time.monotonic() of its job's beginning.
        tokens: What it has sampled.
        seconds: What it took for that.
    """

    worker: Worker
    job: Job | None = None
    task: str = ""
    since: float = 0.0
    tokens: int = 0
    seconds: float = 0.0

    def ask(self, job: Job, task: str = "") -> None:
        """Give it a job, of a part or of none."""
        self.job, self.task, self.since = job, task, time.monotonic()
        self.worker.ask(job)


@dataclass(eq=False, slots=True)
class Queue:
    """Hands parts to workers, which stay for the next call.

    Args:
        workers: Where they come from.
        opening: What each of them gets.
        part_timeout: Seconds after which a worker is taken for hanging; 0 waits for ever.
        say: Told what went wrong and is tried again.
    """

    workers: Workers
    opening: Opening
    part_timeout: float
    say: Callable[[str], None]
    _members: list[_Member] = field(default_factory=list)
    _failures: Counter[str] = field(default_factory=Counter)

    def run(self, jobs: Mapping[str, Job], stopped: Callable[[], bool], bar: Doing) -> Iterator[tuple[str, Done]]:
        """Have all jobs done; ends early once `stopped` says so and nothing is in hand any more.

        Args:
            jobs: Name of the part -> what makes it, in the order of the plan.
            stopped: Whether nothing new is to be begun.
            bar: Told how the workers are doing.

        Yields:
            The name of a part once it is made, and its facts.

        Raises:
            EngineError: If a part fails MOST_FAILURES times, or workers do not start.
            RsgrpoError: What a worker says that another try would not mend.
        """
        waiting, begun = deque(jobs), time.monotonic()
        self._failures.clear()
        try:
            while (waiting and not stopped()) or any(member.task for member in self._members):
                if not stopped():
                    self._give_out(waiting, jobs)
                bar.detail = self._told()
                busy = {member.worker: member for member in self._members if member.job is not None}
                for worker, answer in self.workers.wait(list(busy), LOOK_SECONDS):
                    done = self._heard(busy[worker], answer, waiting)
                    if done:
                        yield done
                self._end_late(waiting)
                begun = self._say_unplaced(begun)
        finally:
            bar.detail = ""
            for member in [member for member in self._members if member.task]:
                self._drop(member)  # what it still makes is not asked for any more

    def rest(self) -> None:
        """Have all workers give their GPUs to the trainer, and wait until they have."""
        if not (self.workers.with_gpus and self.opening.beside_trainer):
            return
        resting = [member for member in self._members if member.job is None]
        for member in resting:
            member.ask(Rest())
        while any(member.job for member in resting):
            busy = {member.worker: member for member in resting if member.job is not None}
            for worker, answer in self.workers.wait(list(busy), LOOK_SECONDS):
                busy[worker].job = None
                if not isinstance(answer, Done):  # a dead one holds nothing
                    self._drop(busy[worker])

    def close(self) -> None:
        """End all workers."""
        self._members.clear()
        self.workers.close()

    # -- giving ---------------------------------------------------------------------------------------------------

    def _give_out(self, waiting: deque[str], jobs: Mapping[str, Job]) -> None:
        """Start workers that can be used, and give each idle one the next part."""
        at_work = sum(bool(member.task) for member in self._members)
        while len(self._members) < min(self.workers.count, len(waiting) + at_work):
            taken = {member.worker.number for member in self._members}
            number = next(number for number in range(self.workers.count) if number not in taken)
            member = _Member(self.workers.start(number, self.opening))
            self._members.append(member)
            member.ask(Hello())
        for member in self._members:
            if member.job is None and waiting:
                name = waiting.popleft()
                member.ask(jobs[name], name)

    # -- listening ------------------------------------------------------------------------------------------------

    def _heard(self, member: _Member, answer: Answer | Died, waiting: deque[str]) -> tuple[str, Done] | None:
        """Take in an answer; what it says of a part that is made."""
        task, member.job, member.task = member.task, None, ""
        if isinstance(answer, Done):
            if answer.tokens:  # the speed is that of sampling
                member.tokens, member.seconds = member.tokens + answer.tokens, member.seconds + answer.seconds
            return (task, answer) if task else None
        if isinstance(answer, Failed) and answer.final:
            raise answer.error
        if isinstance(answer, Died) or not task:
            self._drop(member)
        self._failed(task, member.worker, answer.why if isinstance(answer, Died) else answer.error.message, waiting)
        return None

    def _end_late(self, waiting: deque[str]) -> None:
        now = time.monotonic()
        for member in list(self._members):
            if member.task and self.part_timeout and now - member.since > self.part_timeout:
                self._drop(member)
                why = f"it took longer than --part-timeout {self.part_timeout:g} s, and its worker was killed"
                self._failed(member.task, member.worker, why, waiting)

    def _failed(self, task: str, worker: Worker, why: str, waiting: deque[str]) -> None:
        """Put a part back at the head of the queue, unless it has failed too often."""
        self._failures[task] += 1
        what = task or "starting a worker"
        if self._failures[task] >= MOST_FAILURES:
            tail = "".join(f"\n  {line}" for line in last_lines(worker.log))
            raise EngineError(
                f"{what} failed {MOST_FAILURES} times; the last time on worker {worker.number}: {why}",
                f"what is finished is kept; the end of {worker.log}:{tail or ' it is empty'}",
            )
        self.say(f"{what} failed on worker {worker.number} and is tried again: {why}")
        if task:
            waiting.appendleft(task)

    def _drop(self, member: _Member) -> None:
        member.worker.kill()
        self._members.remove(member)

    # -- telling --------------------------------------------------------------------------------------------------

    def _say_unplaced(self, begun: float) -> float:
        if begun and self._members and all(isinstance(member.job, Hello) for member in self._members):
            if time.monotonic() - begun < UNPLACED_SECONDS:
                return begun
            self.say("no worker has started yet: the cluster may have no room for one (ray status); waiting")
        return 0.0

    def _told(self) -> str:
        """How the workers are doing, in a line."""
        at_work = sum(bool(member.task) for member in self._members)
        started = [member for member in self._members if not isinstance(member.job, Hello)]
        speeds = [member.tokens / member.seconds for member in started if member.seconds]
        told = f"{len(started)} of {counted(self.workers.count, 'worker')}, {counted(at_work, 'part')} in flight"
        return f"{told}, {told_speeds(speeds)} per worker" if speeds else told


def told_speeds(speeds: Sequence[float]) -> str:
    """Tokens per second of one worker, or the lowest and the highest of several."""
    low, high = (f"{speed:,.0f}" for speed in (min(speeds), max(speeds)))
    return f"{low} tokens/s" if low == high else f"{low} to {high} tokens/s"


def last_lines(log: Path) -> list[str]:
    """The end of a log; nothing if there is none."""
    if not log.is_file():
        return []
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()][-LOG_LINES:]
