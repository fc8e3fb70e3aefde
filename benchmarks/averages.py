"""Whether an average of the weights keeps pass@k as well as pulling the last policy back to the base model does.

For each run, whose last policy and places on its line were evaluated (as the cells of docs/study are): the mean of the
weights of some of its policies is exported and evaluated on as many samples. Then a table: pass@k, averaged over the
runs, of the last policy, of the places on its line, and of each mean. If killed, it resumes where it stopped.

    python benchmarks/averages.py runs/hard/grpo-seed1 runs/hard/grpo-seed2 --of 60,80,100,120 --of 20,40,60,80,100,120
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from common import show

from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.results import Counts

K = (1, 16, 64, 256)


def rsgrpo(*arguments: str | Path) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "rsgrpo_cli", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def mean_of(run: RunDir, policies: str, folder: Path) -> Counts:
    """Export and evaluate the mean of some policies; what is there already stays."""
    config, (name,) = run.config(), {one.benchmark for one in results.of_run(run).evaluations}
    model = folder / f"{run.name}-mean-{policies.replace(',', '-')}"
    if not model.is_dir():
        rsgrpo("export", run.path, "--average", policies, "--out", model)
    measured = model.with_name(f"eval-{model.name}")
    if not any(measured.glob("evals/*/*/summary.parquet")):
        found = ["--benchmark", name, "--set", f"seed={config.seed}", "--max-tokens", str(config.eval.max_tokens)]
        workers = ["--workers", str(config.score.workers)]
        samples = ["-n", str(config.eval.num_samples), "--k", ",".join(map(str, K))]
        rsgrpo("eval", "--run", measured, "--model", model, *found, *samples, *workers)
    return results.of_run(RunDir.open(str(measured))).counts(name)


def passed(found: Counts) -> list[float]:
    """pass@k over the problems, for each of K."""
    return [float(pass_at_k(found.n_M, found.correct_M, k).mean()) for k in K]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--of", action="append", required=True, metavar="N,N,...", help="policies of a mean")
    parser.add_argument("--out", type=Path, default=Path("runs/averages"), help="where models and evaluations go")
    arguments = parser.parse_args()
    rows: dict[str, list[list[float]]] = {}
    for run in map(RunDir.open, arguments.runs):
        own = results.of_run(run)
        last = [one for one in own.evaluations if one.policy == own.steps]
        for one in sorted(last, key=lambda one: -one.interpolation):
            label = "last policy" if one.interpolation == 1 else f"at {one.interpolation:g}"
            rows.setdefault(label, []).append(passed(one))
        for policies in arguments.of:
            rows.setdefault(f"mean of {policies}", []).append(passed(mean_of(run, policies, arguments.out)))
    cells = [[label, *(f"{value:.3f}" for value in np.mean(found, axis=0))] for label, found in rows.items()]
    show(f"pass@k, mean over {len(arguments.runs)} runs", ["weights", *(f"pass@{k}" for k in K)], cells)


if __name__ == "__main__":
    main()
