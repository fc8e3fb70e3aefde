"""What a run must have by what else is there: its identity, its statistics, the checkpoint of its newest policy.

Whole evaluations are missed by what the log tells of them (`verify.evaluations`). What nothing else in a run tells of
can be removed without a trace.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from rsgrpo_cli.artifacts import CHECK
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.pipeline.verify.findings import Again, Findings
from rsgrpo_cli.run.identity import FILE
from rsgrpo_cli.run.run_dir import RunDir

_AT_ONCE = 2
"""Steps until the statistics are there for certain: a kill may fall between the first update and its row."""


def first_step(run: RunDir) -> int:
    """The first step that a run has of its own: what a fork shares may have been thinned out where it came from."""
    with suppress(RsgrpoError):  # of the configuration, which is a finding of its own
        origin = run.origin()
        return origin["step"] if origin else 0
    return run.newest_version()


def check_presence(found: Findings, metrics: pa.Table | None) -> None:
    """Note what is gone.

    Args:
        found: What was found so far.
        metrics: The rows of the steps' metrics, if they are there and sound.
    """
    run = found.run
    train = found.command("train")
    if run.newest_version() and _is_of_this_version(run.path) and not (run.path / FILE).exists():
        _add_gone(found, run.path / FILE, train)
    if run.newest_version() >= first_step(run) + _AT_ONCE:
        solves = metrics is not None and metrics["cumulative_solve_rate"].null_count == 0
        for path in (run.metrics, *([run.solved] if solves else [])):
            if not path.exists():
                _add_gone(found, path, train)
    if metrics is not None:
        _require_newest(found, max(metrics["step"].to_pylist(), default=-1) + 1)


def _add_gone(found: Findings, path: Path, command: str) -> None:
    found.add(f"{path} is gone", Again(command, away=False))


def _is_of_this_version(run: Path) -> bool:
    """Whether a run's configuration has a hash; older versions wrote none, and not every one an identity."""
    with suppress(OSError, ValueError):  # a finding of its own
        return CHECK in json.loads((run / "config.json").read_text(encoding="utf-8"))
    return False


def _require_newest(found: Findings, done: int) -> None:
    """The row of a step is written behind the policy that it made, if that is one to be saved; the newest is kept."""
    run = found.run
    with suppress(RsgrpoError):  # of the configuration, which is a finding of its own
        train, newest = run.config().train, run.newest_version()
        due = [version for version in range(newest + 1, done + 1) if train.saves(version)]
        folder = run.checkpoint(due[-1]) if due else None
        if folder is not None and not any(found.names(path) for path in (folder, folder.parent)):
            found.at = due[-1] - 1
            more = ["--steps", str(done)] if done > train.steps else []
            what = f"{folder} is gone: policy {due[-1]} was made, and neither it nor a later one has a checkpoint"
            found.add(what, Again(found.command("train", *more), away=False))
