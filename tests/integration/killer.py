"""Runs `rsgrpo` and kills the process, as `kill -9` would, at the Nth time that it gives a file its name.

    python killer.py N ARGUMENTS...

Every artifact appears by one os.replace, so killing before the Nth covers every gap between two of them. Half of the
kills strike just after instead, when the file is there and nothing that follows is.
"""

import os
import signal
import sys

count = int(sys.argv[1])
replace = os.replace
seen = 0


def counted(*arguments: object) -> None:
    global seen
    seen += 1
    if seen == count and count % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments)  # type: ignore[arg-type]
    if seen == count:
        os.kill(os.getpid(), signal.SIGKILL)


os.replace = counted  # type: ignore[assignment]
sys.argv = ["rsgrpo", *sys.argv[2:]]

from rsgrpo_cli.app import main  # noqa: E402

main()
