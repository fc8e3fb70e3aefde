"""What `rsgrpo sweep` shows: one table on a terminal, a line per run elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rsgrpo_cli.console import Output, duration, table
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies.sweep import steps_done
from rsgrpo_cli.studies.time_left import time_left
from rsgrpo_cli.wording import counted, verb

if TYPE_CHECKING:
    from rich.table import Table

    from rsgrpo_cli.studies.jobs import Job
    from rsgrpo_cli.studies.sweep import Sweep

REDRAW_SECONDS = 1.0


class SweepDisplay:
    """Shows how far a sweep is.

    Args:
        out: The way to the user.
        sweep: The sweep.
        left: Its jobs.
        slots: How many of them run at a time.
    """

    def __init__(self, out: Output, sweep: Sweep, left: list[Job], slots: int) -> None:
        self.out, self.sweep, self.left, self.slots = out, sweep, left, slots
        self.steps = {cell.name: cell.config.train.steps for cell in sweep.cells}
        self.before = sum(sweep.is_done(cell) for cell in sweep.cells)
        self.begun = {job.name: steps_done(RunDir(sweep.place / job.name)) for job in left if job.name in self.steps}
        self._drawn, self._live = 0.0, out.live()
        self._warned: dict[str, tuple[str, list[str]]] = {}  # kind -> the first warning, and the runs that had one

    @property
    def lists(self) -> bool:
        """Whether there is a line for each run that starts or ends, and no table."""
        return not self._live

    def __enter__(self) -> SweepDisplay:
        if self.before:
            of = counted(len(self.sweep.cells), "run")
            self.out.info(f"{self.before} of {of} {verb(self.before, 'is')} done already")
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.update(self._table(), refresh=True)
            self._live.__exit__(kind, error, trace)
        for text, names in self._warned.values():
            if self._live or len(names) > 1:
                self.out.warn(f"{counted(len(names), 'run')} with a warning like that of {names[0]}: {text}")

    @property
    def warnings(self) -> dict[str, list[str]]:
        """The first warning of each kind, and the runs that had one."""
        return dict(self._warned.values())

    def say_stopping(self, at_work: Sequence[Job]) -> None:
        """The jobs at work have been asked to stop."""
        names = ", ".join(job.name for job in at_work)
        self.out.info(f"stopping {names} after the part at work; press Ctrl-C again to stop at once")

    def say(self, job: Job) -> None:
        """A job has started or ended, or waits for another process."""
        if job.state not in ("waiting", "running"):
            self._take_warnings(job)
        if self._live:
            return
        if job.state == "waiting":
            self.out.info(f"{job.name}: waits, {job.why}")
        elif job.state == "running":
            self.out.info(f"{job.name}: started, log in {job.log}")
        else:
            more = f": {job.why}" if job.why else ""
            self.out.info(f"{job.name}: {job.state} after {duration(job.seconds)}{more}; {self._progress()}")

    def _take_warnings(self, job: Job) -> None:
        """Say what is new at once, unless a table is on the screen; how many runs had it comes at the end."""
        for text in job.warnings:
            kind = re.sub(r"[0-9]+", "0", text.replace(job.name, ""))
            _, names = self._warned.setdefault(kind, (text, []))
            if not names and not self._live:
                self.out.warn(f"{job.name}: {text}")
            names += [job.name] if job.name not in names else []

    def tick(self) -> None:
        """Draw again if it is time."""
        now = time.monotonic()
        if self._live and now - self._drawn > REDRAW_SECONDS:
            self._live.update(self._table(), refresh=True)
            self._drawn = now

    def _progress(self) -> str:
        states = [job.state for job in self.left if job.name in self.steps]
        done, failed, skipped = (states.count(state) for state in ("done", "failed", "skipped"))
        left = len(states) - done - failed - skipped
        told = f"{self.before + done} of {counted(len(self.steps), 'run')} done, {left} left"
        told += f", {failed} failed" if failed else ""
        told += f", {skipped} skipped" if skipped else ""
        seconds = time_left(self.left, self.slots, self.steps, self.begun) if left else None
        return told if not seconds else f"{told}, about {duration(seconds)} to go"

    def _table(self) -> Table:
        made = table("run", "state", "step", "time", text=("state",), title=f"{self.sweep.place}: {self._progress()}")
        for job in self.left:
            if job.state in ("running", "failed"):
                made.add_row(job.name, job.state, self._step(job), self._time(job))
            elif job.state == "waiting" and job.why:
                made.add_row(job.name, f"waits, {job.why}", self._step(job), "")
        return made

    def _step(self, job: Job) -> str:
        if job.name not in self.steps:
            return "base model"
        return f"{steps_done(RunDir(self.sweep.place / job.name))} of {self.steps[job.name]}"

    def _time(self, job: Job) -> str:
        return duration(job.seconds or job.running_seconds())
