"""What it costs a training step to keep what the trainer says of each token: `policy_logprobs.parquet`.

Two runs of the bundled task take turns, step by step in one process, one as it is and one that keeps none. Beside it:
how many bytes a token takes, and whether both end with the same weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.compute as pc
import torch
from common import median, show

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.config import resolve
from rsgrpo_cli.console import Output
from rsgrpo_cli.pipeline.preparation import prepare
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stopping import StopSignal
from rsgrpo_cli.pipeline.training import Training
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import POLICY_LOGPROBS
from rsgrpo_cli.stages import update as update_stage

STEPS = 60


def in_turns(folder: Path) -> tuple[dict[bool, list[float]], bool, RunDir]:
    """Seconds of each step with and without, whether the weights are the same, and the run with."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    sessions = {}
    with ExitStack() as opened:
        for kept in seconds:
            config = resolve({"train.steps": STEPS})
            run = RunDir.create(folder / str(kept), config)
            opened.enter_context(run.lock(print))
            sessions[kept] = opened.enter_context(Session(run, config, Output(quiet=True), StopSignal(), trust=False))
            prepare(sessions[kept], config.prepare)
        training = {kept: Training(session) for kept, session in sessions.items()}
        for step in range(STEPS):
            for kept in (True, False) if step % 2 else (False, True):
                with nullcontext() if kept else mock.patch.object(update_stage, "update", _keeps_nothing):
                    started = time.perf_counter()
                    training[kept].step(step)
                    seconds[kept].append(time.perf_counter() - started)
        ends = [session.policy(STEPS).trained() for session in sessions.values()]
        same = all(torch.equal(ends[0][name], weight) for name, weight in ends[1].items())
        return seconds, same, sessions[True].run


def _keeps_nothing(*tables: Any, keep: Any, update: Any = update_stage.update, **settings: Any) -> pa.Table:
    return update(*tables, **settings)


def bytes_of(run: RunDir) -> tuple[int, int]:
    """Of the files with what was kept, and the tokens in them."""
    paths = [run.policy_logprobs(step) for step in range(STEPS)]
    tables = [read_table(path, POLICY_LOGPROBS, ["policy_logprobs"]) for path in paths]
    tokens = sum(pc.sum(pc.list_value_length(table["policy_logprobs"])).as_py() for table in tables)
    return sum(path.stat().st_size for path in paths), tokens


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        seconds, same, run = in_turns(Path(name))
        size, tokens = bytes_of(run)
    ratio = median([kept / bare for kept, bare in zip(seconds[True], seconds[False], strict=True)])
    rows = [
        [f"{STEPS} steps that keep it, to those that do not, median of the pairs", f"{ratio:.3f}"],
        ["bytes a token, file included", f"{size / tokens:.1f}"],
        ["same weights bit for bit", str(same)],
    ]
    show("Keeping what the trainer says of each token", ["", "measured"], rows)


if __name__ == "__main__":
    main()
