"""Runs `rsgrpo` and kills the process, as `kill -9` would, at the Nth time that it gives a file its name.

    python killer.py N ARGUMENTS...

Every artifact appears by one rename, link or copy, so killing before the Nth covers every gap between two of them. Half
of the kills strike just after instead, when the file is there and nothing that follows is.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

WRITES: tuple[tuple[Any, str], ...] = ((os, "replace"), (os, "rename"), (os, "link"), (shutil, "copyfile"))
"""What gives a file its name."""


def kill_at(count: int) -> None:
    """Kill this process at the `count`th write: before it where that is odd, after it where it is even."""
    seen = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object, **options: object) -> Any:
            nonlocal seen
            seen += 1
            mine = seen
            if mine == count and count % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            if mine == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for module, name in WRITES:
        setattr(module, name, counted(getattr(module, name)))


if __name__ == "__main__":
    kill_at(int(sys.argv[1]))
    sys.argv = ["rsgrpo", *sys.argv[2:]]

    from rsgrpo_cli.app import main

    main()
