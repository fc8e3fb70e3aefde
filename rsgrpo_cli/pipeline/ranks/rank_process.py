"""The process of a rank that the command itself has started.

python -m rsgrpo_cli.pipeline.ranks.rank_process LOG PARENT
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback

from rsgrpo_cli.errors import EngineError, RsgrpoError, first_line
from rsgrpo_cli.pipeline.ranks.torchrun import GAVE_UP, Joined, meet
from rsgrpo_cli.wording import raised
from rsgrpo_cli.workers.worker import end_with


def main() -> None:
    """Take part in updates until the command lets this process go; it ends with the command."""
    log, parent = sys.argv[1], int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):  # a polite stop lets the update finish
        signal.signal(number, signal.SIG_IGN)
    end_with(parent)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    import torch.distributed as dist

    from rsgrpo_cli.pipeline.ranks.rank import Place

    server = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    joined = meet(Place.of(os.environ), dist.TCPStore(*server, is_master=False))  # type: ignore[attr-defined]
    if not took_part(joined):
        os._exit(1)  # the others may hang: nothing is to be waited for on the way out
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # on the usual way out a thread that torch has left behind may abort the process, as was seen once


def took_part(joined: Joined) -> bool:
    """Take part in updates until there are no more; False, and told to the command, if this rank had to give up."""
    try:
        joined.serve()
    except Exception as error:
        print(f"== rank {joined.place.rank}", file=sys.stderr)
        traceback.print_exc()
        sys.stderr.flush()
        joined.store.set(f"{GAVE_UP} {joined.place.rank}", _told(joined.place.rank, error))
        return False
    return True


def _told(rank: int, error: Exception) -> str:
    """A failure for the command. What is no `RsgrpoError` may only follow from another rank's end."""
    known = isinstance(error, RsgrpoError)
    if not isinstance(error, RsgrpoError):
        first = first_line(error, silent="")[:300]
        error = EngineError(f"the update failed on rank {rank}: {raised(type(error).__name__, first)}")
    kind = type(error).__name__
    return json.dumps({"kind": kind, "message": error.message, "hint": error.hint, "known": known})


if __name__ == "__main__":
    main()
