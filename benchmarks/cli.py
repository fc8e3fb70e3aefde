"""How long commands take as whole processes: `rsgrpo --help`, and `rsgrpo advantage` on a million rewards."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import against, show, times

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.config import resolve
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import REWARDS

ROWS, GROUP = 1_000_000, 16


def run_with_rewards(folder: Path) -> RunDir:
    """A run whose step 0 has a million rewards in groups of 16."""
    run = RunDir.create(folder / "run", resolve({}))
    right = np.random.default_rng(0).random(ROWS) < np.repeat(np.random.default_rng(1).random(ROWS // GROUP), GROUP)
    names = np.char.add("000000:toy-train-", np.char.zfill(np.arange(ROWS // GROUP).astype(str), 6))
    table = pa.table(
        {
            "group_id": np.repeat(names, GROUP),
            "sample_index": np.tile(np.arange(GROUP, dtype=np.int32), ROWS // GROUP),
            "reward": right.astype(float),
            "reward_breakdown": pa.array([[]] * ROWS, REWARDS.schema.field("reward_breakdown").type),
            "reward_status": np.where(right, "ok", "wrong"),
            "extracted_answer": np.where(right, "24", "25"),
        },
        schema=REWARDS.schema,
    )
    write_table(run.rewards(0) / "part-00000.parquet", table, REWARDS, Lineage("score", {}, {}))
    return run


def process(*arguments: str) -> None:
    """Run the command line as a user's shell would."""
    rsgrpo = Path(sys.executable).with_name("rsgrpo")
    subprocess.run([rsgrpo, *arguments], check=True, capture_output=True)


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = run_with_rewards(Path(folder))
        # Another beta each time, or there is nothing to do.
        betas = iter(np.linspace(1, 8, 100))
        rows = [
            ["rsgrpo --help", *against(0.5, times(lambda: process("--help")))],
            [
                f"rsgrpo advantage, {ROWS:,} rewards",
                *against(3.0, times(lambda: process("advantage", "--run", str(run.path), "--beta", str(next(betas))))),
            ],
        ]
    show("Commands as processes", ["command", "median", "min", "max", "limit", "used"], rows)


if __name__ == "__main__":
    main()
