"""vLLM's processes end with the run; tested without vLLM, for it needs nothing of it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rsgrpo_cli.engines.vllm_worker import OWNED
from tests.conftest import running

PROGRAM = """
import multiprocessing, time
from rsgrpo_cli.engines.vllm_worker import end_with_parent

def engine():
    end_with_parent()
    time.sleep(60)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=engine)
    process.start()
    print(process.pid, flush=True)
    process.join()
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")
def test_a_process_ends_when_the_one_that_started_it_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, text=True, env={**os.environ, OWNED: "1", "PYTHONPATH": root}
    )
    assert parent.stdout is not None
    engine = int(parent.stdout.readline())
    assert running(engine)
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 60
    while running(engine):
        assert time.monotonic() < until
        time.sleep(0.1)
