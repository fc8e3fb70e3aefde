"""Commands without the seconds that imports take: a process that has them forks one child for each command.

A child has the standard streams, the folder and the environment of who asks, and ends as `rsgrpo` would. Nothing
has been computed before a fork, so that no library finds itself in the middle of something.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
from pathlib import Path

HEAVY = ("datasets", "duckdb", "math_verify", "matplotlib.pyplot", "peft", "torch", "transformers")
NOT_HERE = ("rsgrpo_cli.integrations", "rsgrpo_cli.engines.vllm", "rsgrpo_cli.__main__", "rsgrpo_cli.workers.worker")


def serve(place: str) -> None:
    """Import everything, then answer until who started this ends, which closes standard input."""
    _import_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are waited for by who asked
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
            line, _ = door.accept()
            with line:
                if os.fork() == 0:
                    _run(line)


def _import_all() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    importlib.import_module("transformers.models.llama.modeling_llama")
    package = importlib.import_module("rsgrpo_cli")
    for module in pkgutil.walk_packages(package.__path__, "rsgrpo_cli."):
        if not module.name.startswith(NOT_HERE):
            importlib.import_module(module.name)


def _run(line: socket.socket) -> None:
    """What a child does; it never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, *_ = socket.recv_fds(line, 1, 3)
    wanted = json.loads(line.makefile().readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, "r" if number == 0 else "w") for number in range(3))
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = ["rsgrpo", *wanted["words"]]
    sys.path[0] = ""  # the current folder, as for `python -m`
    line.sendall(f"{_code()}\n".encode())
    os._exit(0)


def _code() -> int:
    from rsgrpo_cli.app import main

    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    serve(sys.argv[1])
