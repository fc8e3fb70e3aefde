"""A polite stop: what a signal asks for is done at the next safe point, so that nothing finished is lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rsgrpo_cli.errors import Interrupted, UsageError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C; the end that a scheduler or the system sets; a closed terminal; Slurm's warning that time is running out."""


SECONDS, VARIABLE = 25.0, "RSGRPO_STOP_SECONDS"
"""How long the part at work may take after that, and the environment variable that says otherwise: whoever sends a
SIGTERM often sends a SIGKILL 30 seconds later."""


class StopSignal:
    """Turns the first signal into a polite stop at the next safe point.

    A Ctrl-C after that, or a second SIGTERM, stops at once, and so does the end of SECONDS. Others do not: a closed
    terminal sends several, and a scheduler's warning is followed by a SIGTERM while the policy is being saved.
    """

    def __init__(self) -> None:
        self.requested = False
        self._received: set[int] = set()

    @contextmanager
    def installed(self, say: Callable[[str], None]) -> Iterator[StopSignal]:
        """Listen for signals while the block runs."""
        # Asked now: one that was closed does not say any more that it was a terminal.
        terminals = [stream.fileno() for stream in (sys.stdout, sys.stderr) if stream.isatty()]

        def handle(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGHUP:
                _leave(terminals)
            again = number in self._received
            self._received.add(number)
            if not self.requested:
                self.requested = True
                signal.setitimer(signal.ITIMER_REAL, limit)
                say(f"stopping after the part at work, within {limit:g} s; press Ctrl-C again to stop at once")
            elif number == signal.SIGINT or (number == signal.SIGTERM and again):
                raise KeyboardInterrupt

        def too_late(number: int, frame: FrameType | None) -> None:
            raise KeyboardInterrupt

        limit, alarm = seconds(), signal.signal(signal.SIGALRM, too_late)
        previous = {number: signal.signal(number, handle) for number in SIGNALS if not _is_to_be_ignored(number)}
        try:
            yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
            for number, handler in previous.items():
                signal.signal(number, handler)
            if self.requested:
                # The command is ending. Another Ctrl-C would interrupt what says how it ended, or, while Python shuts
                # down and has put the default back, end it with another exit code.
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    def check(self, done: str, again: str) -> None:
        """Stop here if asked to.

        Raises:
            Interrupted: Saying what is done and how to resume.
        """
        if self.requested:
            raise Interrupted(f"stopped after {done}; everything finished is kept", f"to resume: {again}")


def seconds() -> float:
    """How long the part at work may take after a signal.

    Raises:
        UsageError: If the environment says something else than a number above 0.
    """
    text = os.environ.get(VARIABLE, str(SECONDS))
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise UsageError(f"{VARIABLE} is {text!r}, not a number of seconds", f"set it to {SECONDS:g}, or unset it")
    return found


def _is_to_be_ignored(number: int) -> bool:
    """Whether the run was started so that it outlives its terminal (nohup)."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


def _leave(terminals: list[int]) -> None:
    """Write to nowhere from now on where a terminal was: it is gone, and to write there would be an error."""
    for descriptor in terminals:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
