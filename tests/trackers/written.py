"""A run with metrics and evaluations, written without training, for trackers to follow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import METRICS
from rsgrpo_cli.trackers.follower import Follower
from tests.run_on_disk import new_run, write_evaluation


def tracked_run(path: Path) -> RunDir:
    """A run whose base model was evaluated and that has two steps."""
    run = new_run(path, train__tracker="csv")
    write_evaluation(run, 0, {"p-000001": [1, 0]})
    write_steps(run, range(2))
    return run


def write_steps(run: RunDir, steps: Iterable[int]) -> None:
    none = dict.fromkeys(METRICS.schema.names)
    known = {"policy_version": 0, "estimator": "rs_grpo", "status_counts": [("ok", 3)], "grad_norm": float("nan")}
    rows = [none | known | {"step": step, "reward_mean": step / 10, "pass@G": 0.5} for step in steps]
    write_table(run.metrics, pa.Table.from_pylist(rows, schema=METRICS.schema), METRICS, Lineage("train", {}, {}))


def follow_once(run: RunDir, name: str) -> None:
    """What the process of a tracker does in its life, from what the run has now."""
    follower = Follower(run, name)
    follower.look()
    follower.store.close()
    follower.release()
