"""The child side of `workers.pool`: one process that runs one function on job after job, in its main thread.

`pool` starts this file as a script, so it imports the standard library alone, and its `__main__` is this file whatever
the parent's is. Down the connection come pickled arguments, from a parent that is trusted; up it go JSON lines, so
that nothing a handler returns is ever unpickled, that is run, in the parent:

    ["ready"]                   the handler is imported
    ["begun"]                   a chunk of jobs has arrived, and its first is run next
    ["failed", kind, message]   it cannot be; the worker ends
    ["done", value]             a job returned `value`
    ["raised", kind, message, spoilt]   a job raised; `spoilt` asks for the worker to be replaced
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, TypedDict

_MESSAGE_CHARS = 500
_PR_SET_PDEATHSIG = 1
_PARENT_CHECK_SECONDS = 0.5
_BATCH_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PARENT_SIGNALS = frozenset({signal.SIGINT, *_BATCH_SIGNALS})
"""Ctrl-C, and what batch systems send to every process of a job. The parent decides what it means; a worker goes on."""


class Start(TypedDict):
    """What a worker gets before it imports anything."""

    handler: str  # "package.module:function"
    setup: tuple[Any, ...]  # not empty: the function is called with these once, and returns the real handler
    path: list[str]  # the parent's sys.path
    memory_limit_bytes: int | None
    parent: int  # process id
    die_with_parent: bool


def main(descriptor: int) -> None:
    """Load the handler named by the first message, then run every job that comes until the connection ends."""
    os.set_inheritable(descriptor, False)  # what a handler starts must not keep the connection open after this process
    connection = Connection(descriptor)
    start: Start = connection.recv()
    _confine(start)
    sys.path[:] = start["path"]
    sys.stdout = sys.stderr  # descriptor 1 leads there already, but with a buffer that is lost when a worker is killed
    try:
        handler = load(start["handler"])
        if start["setup"]:
            handler = handler(*start["setup"])
    except BaseException as error:  # an import may raise anything, SystemExit among it: all mean "cannot start"
        connection.send_bytes(_encode(["failed", type(error).__name__, _message(error)]))
        return
    connection.send_bytes(_encode(["ready"]))
    # EOFError: the parent closed its end. OSError: the parent was killed while this end was writing.
    with contextlib.suppress(EOFError, OSError):
        while True:
            jobs = connection.recv()
            connection.send_bytes(_encode(["begun"]))
            for arguments in jobs:
                connection.send_bytes(run(handler, arguments))


def load(name: str) -> Callable[..., Any]:
    """Import the function that `name` ("package.module:function") stands for.

    Raises:
        ValueError: If the name has no colon.
        TypeError: If what it names is not callable.
        Exception: Whatever the import raises.
    """
    module, colon, function = name.partition(":")
    if not colon or not function:
        raise ValueError(f'expected "package.module:function", not "{name}"')
    found = getattr(importlib.import_module(module), function)
    if not callable(found):
        raise TypeError(f"{name} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def run(handler: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Run one job and encode what came of it, whatever it raises: also `sys.exit()`."""
    try:
        return _encode(["done", handler(*arguments)])
    except BaseException as error:
        # What is no Exception is an interruption (math-verify's alarm): it can strike between the two halves of any
        # update, and SymPy marks a fact "unknown" in its caches before it works the fact out. Memory that ran out once
        # may still be held. In both cases later verdicts of this process cannot be trusted.
        spoilt = isinstance(error, MemoryError) or not isinstance(error, Exception)
        return _encode(["raised", type(error).__name__, _message(error), spoilt])


def _confine(start: Start) -> None:
    """Leave signals to the parent, end when it does, leave no core file, respect the memory limit."""
    _ignore_parent_signals()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = start["memory_limit_bytes"]
    if limit is not None and sys.platform == "linux":  # macOS refuses the call and would not enforce it
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if start["die_with_parent"] and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    end_with(start["parent"])


def _ignore_parent_signals() -> None:
    """Do nothing at the signals in PARENT_SIGNALS, which the parent blocked before it started this process.

    Those of a batch system are caught, not ignored: what a handler starts would inherit that, and could not be
    terminated any more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _BATCH_SIGNALS:
        signal.signal(number, _ignore)
        signal.siginterrupt(number, False)
    os.register_at_fork(after_in_child=_let_forks_be_terminated)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENT_SIGNALS)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def _let_forks_be_terminated() -> None:
    """Let a fork of this process be terminated."""
    for number in _BATCH_SIGNALS:
        if signal.getsignal(number) is _ignore:
            signal.signal(number, signal.SIG_DFL)


def end_with(parent: int) -> None:
    """End this process once its parent is gone, also where the main thread is busy and the kernel sends no signal."""
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _encode(message: list[Any]) -> bytes:
    return json.dumps(message).encode()


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_MESSAGE_CHARS]
    except Exception as failure:  # __str__ is foreign code too: an integer of 5,000 digits refuses to be printed
        return f"(no message: {type(failure).__name__})"


if __name__ == "__main__":
    main(int(sys.argv[1]))
