"""The process that follows a run for one tracker: `python -m rsgrpo_cli.trackers.follower RUN NAME`.

It works until its standard input ends, then sends what is left and ends too. On its standard output it says how it
ended, a line of JSON; what the tracker prints goes to its standard error.
"""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rsgrpo_cli import disk
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.run.locks import wait_for
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.trackers import values
from rsgrpo_cli.trackers.ledger import Ledger, own_folder
from rsgrpo_cli.trackers.stores import OPENERS, Opening, Store
from rsgrpo_cli.wording import raised

LOOK_SECONDS = 2.0
"""How often it looks for something new."""


class Follower:
    """Sends what a run has and a tracker does not.

    Args:
        run: The run; it is only read, but for the tracker's own files.
        name: The tracker.
    """

    def __init__(self, run: RunDir, name: str) -> None:
        folder = own_folder(run.path, name)
        # What an earlier command of this run started may still be sending: it is waited for.
        self._lock = disk.open_own(folder / f"{name}.lock", os.O_WRONLY)
        wait_for(self._lock)
        self.run, self.ledger = run, Ledger(folder / f"{name}.json")
        self.ledger.write(self.ledger.sent)  # the id, before anything is sent under it
        sent = self.ledger.sent
        opening = Opening(run.name, sent.id, folder / name, values.settings(run), newest=max(0, sent.step))
        self.store: Store = OPENERS[name](opening)
        self._seen: object = None

    def look(self) -> None:
        """Send what is new, in order; an evaluation of a policy comes before the step that samples from it.

        Raises:
            Exception: Whatever the tracker raises. What it failed on counts as not sent.
        """
        seen = self._state()
        if seen == self._seen:
            return
        # Evaluations are read first: the steps that made these policies are then on disk, whatever is being written.
        evaluations = list(values.new_evaluations(self.run, self.ledger.sent.evaluations))
        steps = values.new_steps(self.run, self.ledger.sent.step)
        new: list[tuple[int, int, Callable[[], None]]] = []
        new += [(found.policy, 0, partial(self._evaluation, key, found)) for key, found in evaluations]
        new += [(step, 1, partial(self._step, step, row)) for step, row in steps]
        for _, _, send in sorted(new, key=lambda one: one[:2]):
            send()
        self._seen = seen

    def release(self) -> None:
        """Let another process follow the run for this tracker."""
        os.close(self._lock)

    def _step(self, step: int, row: Mapping[str, Any]) -> None:
        with self.ledger.noting(step=step):
            self.store.step(step, row)

    def _evaluation(self, key: str, found: values.Evaluation) -> None:
        with self.ledger.noting(evaluations={**self.ledger.sent.evaluations, key: found.id}):
            self.store.evaluation(found)

    def _state(self) -> object:
        """Another one once there is something new on disk."""
        files = [self.run.metrics, *sorted(self.run.path.glob("evals/*/*/summary.parquet"))]
        return [(path, path.stat().st_mtime_ns) for path in files if path.is_file()]


def follow(run: RunDir, name: str) -> None:
    """Follow a run until standard input ends; raises whatever the tracker raises."""
    follower = Follower(run, name)
    ended = False
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], LOOK_SECONDS)[0])
        follower.look()
    follower.store.close()
    follower.release()


def main() -> None:
    """Follow a run as the command line says; say how it ended."""
    path, name = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # some trackers print
    try:
        follow(RunDir(Path(path)), name)
        told: dict[str, str | None] = {"error": None}
    except Exception as error:  # a tracker may raise anything, and whoever started this is to say it
        traceback.print_exc()
        said = error.message if isinstance(error, RsgrpoError) else raised(type(error).__name__, error)
        told = {"error": " ".join(said.split())[:300]}
    answers.write(json.dumps(told) + "\n")
    answers.close()


if __name__ == "__main__":
    main()
