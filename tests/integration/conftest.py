"""Real processes of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

KILLER = Path(__file__).with_name("killer.py")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts `rsgrpo ARGUMENTS` in an empty directory; `kill_at` kills it at that write."""

    def make(*arguments: str | Path, kill_at: int | None = None) -> subprocess.Popen[str]:
        program = [str(KILLER), str(kill_at)] if kill_at else ["-m", "rsgrpo_cli"]
        return subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return make
