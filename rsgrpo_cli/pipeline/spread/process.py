"""The program of a worker process: `python -m rsgrpo_cli.pipeline.spread.process DESCRIPTOR`."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from multiprocessing.connection import Connection

from rsgrpo_cli.workers.worker import end_with


def main(descriptor: int) -> None:
    """Do the jobs that come until the connection ends; what came first says which run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)  # what an engine starts must not keep the connection open
    connection = Connection(descriptor)
    opening, number, parent = connection.recv()
    end_with(parent)  # also in the middle of a part: another driver may be at work then

    from rsgrpo_cli.pipeline.spread.worker import PartWorker, log_of, write_to

    write_to(log_of(opening.run, number))
    faulthandler.enable()
    worker = PartWorker(opening, number)
    try:
        while True:
            connection.send(worker.do(connection.recv()))
    except (EOFError, OSError):  # the driver has closed its end, or is gone
        worker.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
