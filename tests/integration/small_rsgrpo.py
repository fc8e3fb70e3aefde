"""`rsgrpo` as the pages' commands get it in tests: smaller where they leave a size open, and without questions.

What a command says stays as it is: only flags that it does not have are added. Run as `small_rsgrpo.py ARGUMENTS`.
"""

from __future__ import annotations

import array
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

SIZES = {
    **{"--group-size": "4", "--prompts-per-step": "2", "--max-tokens": "16"},
    **{"--workers": "1", "--checkpoint-every": "1"},
}
NEW_RUN = {"--steps": "4", **SIZES}
HELD_OUT = {"--benchmark": "held_out.jsonl", "--reward": "countdown", "--k": "1,4"}
AT_MOST = {
    "demo": {"--steps": "2", "--samples": "2"},
    "sweep": {"--seeds": "0", "--steps": "1", "--k": "1,2", "-n": "2", **SIZES},
}
"""Sizes that a test cannot have: what the page says of them is left out."""
SURE = ("rm", "gc")


def smaller(words: list[str]) -> list[str]:
    """The arguments with which a test runs a command."""
    command = next((word for word in words if not word.startswith("-")), "")
    if "--help" in words or "--dry-run" in words:
        return words
    if command == "sweep" and "--config" in words:
        return [*words, "--dry-run"]
    added = AT_MOST.get(command, {})
    if command == "train" and "--config" not in words and not _exists(words):
        added = missing(words, NEW_RUN)
    if command == "eval" and "--benchmark" not in words:
        audited = "--audit-with" in words  # of what was evaluated before, with that
        added = {"--benchmark": HELD_OUT["--benchmark"]} if audited else missing(words, HELD_OUT)
    words = without(words, AT_MOST.get(command, {}))
    return [*words, *(part for pair in added.items() for part in pair), *(["--yes"] if command in SURE else [])]


def missing(words: list[str], flags: dict[str, str]) -> dict[str, str]:
    """Those of the flags that a command does not have."""
    return {flag: value for flag, value in flags.items() if flag not in words}


def without(words: list[str], flags: dict[str, str]) -> list[str]:
    """The words without these flags and their values."""
    return [word for before, word in zip(["", *words], words, strict=False) if not {before, word} & set(flags)]


def _exists(words: list[str]) -> bool:
    """Whether the run that a command names is there: its settings are fixed then."""
    names = [after for word, after in itertools.pairwise(words) if word == "--run"]
    return any((Path(place) / name / "config.json").is_file() for name in names for place in ("", "runs"))


def ask(place: str, words: list[str]) -> int:
    """Run a command in a child of the process that listens there (warm_rsgrpo.py); its exit code."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        wanted = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
        streams = array.array("i", [0, 1, 2]).tobytes()
        line.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        line.sendall(json.dumps(wanted).encode() + b"\n")
        return int(line.makefile().readline() or 1)


def main() -> int:
    """Run it; `view`, which serves until it is stopped, is stopped once it says where."""
    words = smaller(sys.argv[1:])
    if words[:1] != ["view"]:
        return ask(os.environ["WARM_RSGRPO"], words)
    command = [sys.executable, "-m", "rsgrpo_cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        started = any("127.0.0.1" in line for line in server.stdout)
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    return 0 if started else 1


if __name__ == "__main__":
    sys.exit(main())
