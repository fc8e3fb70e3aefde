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

count = int(sys.argv[1])
seen = 0


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: object, **options: object) -> Any:
        global seen
        seen += 1
        mine = seen
        if mine == count and count % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if mine == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


for module, names in ((os, ("replace", "rename", "link")), (shutil, ("copyfile",))):
    for name in names:
        setattr(module, name, counted(getattr(module, name)))
sys.argv = ["rsgrpo", *sys.argv[2:]]

from rsgrpo_cli.app import main  # noqa: E402

main()
