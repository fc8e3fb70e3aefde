"""What a run's past costs: `rsgrpo status` and a resume with 10,000 steps behind, against the same with one step.

The steps are copies of a real one with a lineage of their own, so that every check that is made of a real run is made
of them. The first resume checks them all, as after a copy of the run to another disk; it is timed as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from common import against, show, times

from rsgrpo_cli.artifacts import combined_id, read_lineage, read_table, write_json, write_table
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import ADVANTAGES, REWARDS, ROLLOUTS, UPDATE_METRICS

SMALL = ("--prompts-per-step", "2", "--group-size", "2", "--workers", "1", "--estimator", "dr_grpo")
PART = "part-00000.parquet"


def process(*arguments: str) -> None:
    """Run the command line as a user's shell would."""
    done = subprocess.run([sys.executable, "-m", "rsgrpo_cli", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"rsgrpo {' '.join(arguments)}: {done.stderr}")


def lengthen(run: RunDir, steps: int) -> None:
    """Give a run of one step further ones, and their last policy the checkpoint of the first."""
    kinds = {"rollouts": (run.rollouts(0) / PART, ROLLOUTS), "rewards": (run.rewards(0) / PART, REWARDS)}
    kinds |= {"advantages": (run.advantages(0), ADVANTAGES), "updates": (run.update_metrics(0), UPDATE_METRICS)}
    tables = {name: read_table(path, kind) for name, (path, kind) in kinds.items()}
    lineages = {name: replace(read_lineage(path, kind), id="") for name, (path, kind) in kinds.items()}
    policy = read_lineage(run.update_metrics(0), UPDATE_METRICS).outputs["policy"]
    for step in range(1, steps):
        made = replace(
            lineages["rollouts"], config=dict(lineages["rollouts"].config) | {"step": step}, policy_version=step
        )
        made = replace(made, inputs=dict(made.inputs) | {"policy": policy})
        rollouts = write_table(run.rollouts(step) / PART, tables["rollouts"], ROLLOUTS, made)
        whole = combined_id([rollouts])
        parts = {"part-00000": rollouts}
        rows = len(tables["rollouts"])
        write_json(run.rollouts(step) / "manifest.json", {"id": whole, "rows": rows, "rounds": [1], "parts": parts})
        made = replace(lineages["rewards"], inputs=dict(lineages["rewards"].inputs) | {"rollouts": rollouts})
        rewards = combined_id([write_table(run.rewards(step) / PART, tables["rewards"], REWARDS, made)])
        made = replace(lineages["advantages"], inputs={"rewards": rewards}, policy_version=step)
        advantages = write_table(run.advantages(step), tables["advantages"], ADVANTAGES, made)
        inputs = {"rollouts": whole, "advantages": advantages, "policy": policy}
        policy = f"policy {step + 1}"
        made = replace(lineages["updates"], inputs=inputs, policy_version=step, outputs={"policy": policy})
        write_table(run.update_metrics(step), tables["updates"], UPDATE_METRICS, made)
        for stage in ("rollout", "score", "advantage", "update"):
            run.record({"stage": stage, "step": step, "seconds": 1.0})
    run.checkpoint(1).rename(run.checkpoint(steps))
    (run.checkpoint(steps) / manifests.NAME).unlink()
    manifests.seal(run.checkpoint(steps), made)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        short, long = RunDir(Path(folder) / "short"), RunDir(Path(folder) / "long")
        for run in (short, long):
            process("train", "--run", str(run.path), "--steps", "1", *SMALL)
        with patch("os.fsync"):  # these files need not survive a power cut
            lengthen(long, steps)
        started = time.perf_counter()
        process("train", "--run", str(long.path), "--steps", str(steps + 1))
        first = time.perf_counter() - started
        more = iter(range(2, 100))

        def resume(run: RunDir, done: int) -> list[float]:
            return times(lambda: process("train", "--run", str(run.path), "--steps", str(done + next(more))))

        base = sorted(resume(short, 1))[1]
        resumed = [seconds - base for seconds in resume(long, steps)]
        status = times(lambda: process("status", "--run", str(long.path)))
        status_short = times(lambda: process("status", "--run", str(short.path)))
    rows = [
        [f"status, {steps:,} steps behind", *against(1.0, status)],
        ["status, 1 step behind", *against(1.0, status_short)],
        [f"a resume with {steps:,} steps behind, beyond one with 1", *against(3.0, resumed)],
    ]
    show("What a run's past costs", ["command", "median", "min", "max", "limit", "used"], rows)
    print(f"the first resume, which checks every step: {first:.1f} s; a resume with 1 step behind: {base:.1f} s")


if __name__ == "__main__":
    main()
