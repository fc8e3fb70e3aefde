"""How far the demo's result repeats: the bundled task trained with several estimators, over several seeds.

For each seed a run of every method, and pass@k of the base model and of the last policy on the held-out puzzles. Then,
a value of k a column: the mean over seeds, and the mean difference to the base model and to GRPO at the same seed with
its 95% t interval over seeds. A seed decides the order of the problems and every sample. If killed, it resumes where it
stopped. About a minute per run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from common import show

T_QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 14: 2.145}
"""The 97.5% points of Student's t by degrees of freedom."""

METHODS = {
    "GRPO": ["--estimator", "grpo"],
    "Dr. GRPO (beta 0)": ["--estimator", "dr_grpo"],
    "RS-GRPO, beta 2": ["--estimator", "rs_grpo", "--beta", "2"],
    "RS-GRPO, beta 4": ["--estimator", "rs_grpo", "--beta", "4"],
    "RS-GRPO, beta 8": ["--estimator", "rs_grpo", "--beta", "8"],
}
K = (1, 16, 64, 256)
BASE = "base model"
Values = dict[str, list[list[float]]]
"""Method -> seed -> pass@k for each of K."""


def rsgrpo(*arguments: str | Path) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "rsgrpo_cli", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def evaluated(run: Path, *policy: str) -> list[float]:
    """pass@k of a run's policy."""
    ks = ",".join(map(str, K))
    summary = json.loads(rsgrpo("eval", "--run", run, *policy, "--k", ks, "--num-samples", str(max(K)), "--json"))
    rows = {row["k"]: row["value"] for row in summary["summary"] if row["metric"] == "pass"}
    return [rows[k] for k in K]


def measure(folder: Path, seeds: int, steps: int) -> Values:
    """Train and evaluate all."""
    values: Values = {name: [] for name in (BASE, *METHODS)}
    for seed in range(seeds):
        for name, flags in METHODS.items():
            run = folder / f"{'-'.join(flags).replace('--', '')}-seed{seed}"
            rsgrpo("train", "--run", run, *flags, "--seed", str(seed), "--steps", str(steps))
            values[name].append(evaluated(run))
            if name == "GRPO":
                values[BASE].append(evaluated(run, "--policy", "0"))
        print(f"seed {seed}: " + json.dumps({name: rows[-1] for name, rows in values.items()}), file=sys.stderr)
    return values


def half_widths(differences: np.ndarray) -> np.ndarray:
    """Half the 95% interval of the mean over a few seeds, by Student's t. Differences of shape (seeds, k)."""
    seeds = len(differences)
    quantile = T_QUANTILES[max(df for df in T_QUANTILES if df < seeds)]  # of fewer degrees: wider, never narrower
    return np.asarray(quantile * differences.std(0, ddof=1) / np.sqrt(seeds))


def table(values: Values, against: str | None) -> list[list[str]]:
    """A row per method: means, or differences to another method with their interval."""
    rows = []
    for name, found in values.items():
        own = np.array(found)
        if against is None:
            cells = [f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(own.mean(0), own.std(0, ddof=1), strict=True)]
        elif name in (against, BASE):
            continue
        else:
            difference = own - np.array(values[against])
            halves = half_widths(difference)
            means = difference.mean(0)
            cells = [f"{m:+.3f} [{m - half:+.3f}, {m + half:+.3f}]" for m, half in zip(means, halves, strict=True)]
        rows.append([name, *cells])
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many, 2 or more")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--folder", type=Path, default=Path("runs/seeds"))
    options = parser.parse_args()
    values = measure(options.folder, options.seeds, options.steps)
    headings = ["", *(f"pass@{k}" for k in K)]
    show(f"{options.seeds} seeds, {options.steps} steps: mean ± sd over seeds", headings, table(values, None))
    show("Difference to the base model [95% over seeds]", headings, table(values, BASE))
    show("Difference to GRPO [95% over seeds]", headings, table(values, "GRPO"))


if __name__ == "__main__":
    main()
