"""Kills the second rank, as `kill -9` would, at a moment that RSGRPO_TEST_DIES names; on PYTHONPATH of a test."""

import os
import signal
import sys


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    when = os.environ.get("RSGRPO_TEST_DIES")
    learning = event == "import" and arguments[0] == "rsgrpo_cli.stages.update"
    saving = event == "open" and "shard-00002" in str(arguments[0]) and ".partial" in str(arguments[0])
    if os.environ.get("RANK") != "1":  # Ray tells a process its rank after it has started
        return
    if (when == "learning" and learning) or (when == "saving" and saving):
        os.kill(os.getpid(), signal.SIGKILL)


if "RSGRPO_TEST_DIES" in os.environ:
    sys.addaudithook(_watch)
