"""The paper's bandit: 7 betas x 5 seeds x 400,000 samples, against the limit of 10 s."""

from __future__ import annotations

import argparse
from functools import partial

from common import against, show, times

from rsgrpo_cli.experiments.bandit import Bandit, play, play_exactly

BETAS, SEEDS, LIMIT = (0, 2, 4, 8, 16, 32, 64), (42, 43, 44, 45, 46), 10.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=400_000, help="of each run; fewer for a short look")
    samples = parser.parse_args().samples
    bandit = Bandit.of(100)
    sampled = times(partial(play, bandit, BETAS, SEEDS, samples), runs=3, warmup=0)
    exact = times(partial(play_exactly, bandit, BETAS, samples // 16), runs=3, warmup=0)
    rows = [
        ["sampled, 35 runs", *against(LIMIT, sampled)],
        ["exact gradient, 7 runs", *against(LIMIT, exact)],
    ]
    show(f"Bandit, {samples:,} samples per run", ["", "median", "min", "max", "limit", "used"], rows)


if __name__ == "__main__":
    main()
