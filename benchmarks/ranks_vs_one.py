"""Whether training with two samplers and two ranks ends where one process ends: weights, samples, pass@k.

Both train on the bundled puzzles with the settings of their recipe and GRPO. In float64 (the default here) only the
last bits differ; in float32 a token falls on the other side of a rounding sooner or later, and from there on they are
two runs. If killed, it resumes where it stopped. About 10 minutes for 120 steps.

    python benchmarks/ranks_vs_one.py --steps 120
    python benchmarks/ranks_vs_one.py --steps 120 --dtype float32 --out runs/ranks-float32
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
from common import show
from safetensors.torch import load_file

RECIPE = Path(__file__).parent.parent / "rsgrpo_cli" / "recipes" / "toy.toml"
MORE = {"one process": (), "two": ("--ranks", "2", "--data-parallel", "2")}
SAMPLERS = {"one process": (), "two": ("--data-parallel", "2")}


def rsgrpo(*arguments: str | Path | int) -> str:
    """Run a command and return what it prints."""
    asked = [sys.executable, "-m", "rsgrpo_cli", *map(str, arguments)]
    return subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout


def trained(run: Path, steps: int, dtype: str, name: str) -> dict[str, float]:
    """Train and evaluate, or go on with it; the pass@k by their names."""
    settings = ["--estimator", "grpo", "--dtype", dtype, "--eval-every", "0"]
    rsgrpo("train", "--run", run, "--config", RECIPE, *settings, "--steps", steps, *MORE[name])
    told = rsgrpo("eval", "--run", run, "--k", "1,16,64,256", "-n", "256", *SAMPLERS[name], "--json")
    found = json.loads(told.splitlines()[-1])
    return {key: value for key, value in found.items() if key.startswith("pass@")}


def steps_alike(one: Path, two: Path, steps: int) -> int:
    """How many steps from the first on sampled the same tokens."""
    for step in range(steps):
        columns = []
        for run in (one, two):
            parts = sorted((run / "steps" / f"{step:06d}" / "rollouts").glob("*.parquet"))
            columns.append([pq.read_table(part)["completion_ids"].to_pylist() for part in parts])
        if columns[0] != columns[1]:
            return step
    return steps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--out", type=Path, default=Path("runs/ranks"), help="where the two runs go")
    asked = parser.parse_args()
    runs = {name: asked.out / name.split()[0] for name in MORE}
    found = {name: trained(run, asked.steps, asked.dtype, name) for name, run in runs.items()}
    rows = [[name, *(f"{value:.4f}" for value in passed.values())] for name, passed in found.items()]
    show("two samplers and two ranks against one process", ["", *found["two"]], rows)
    last = [load_file(run / "checkpoints" / f"{asked.steps:06d}" / "model.safetensors") for run in runs.values()]
    apart = max(float((last[0][name] - last[1][name]).abs().max()) for name in last[0])
    alike = steps_alike(runs["one process"], runs["two"], asked.steps)
    print(f"{asked.dtype}: {alike} of {asked.steps} steps sampled the same tokens")
    print(f"{asked.dtype}: weights are {apart:.1e} apart, at most")


if __name__ == "__main__":
    main()
