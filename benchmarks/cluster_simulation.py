"""What many GPUs do to a step: the part queue simulated for 1 to 1,024 GPUs, and the same model against real runs.

    python benchmarks/cluster_simulation.py                  the tables of docs/scaling.md; nothing is run
    python benchmarks/cluster_simulation.py --run runs/mine  with the lengths of a run's completions
    python benchmarks/cluster_simulation.py --measure        rollouts with 1, 2 and 3 workers on this machine, and what
                                                             the model says of them; it must be right within 15%

Nothing in the tables was measured on a GPU. The first one has every number that was assumed, and where it is from;
`--assume NAME=VALUE` replaces one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cluster_measured import measured_rows
from cluster_scenario import assumed_lengths, run_lengths
from cluster_tables import tables
from common import show

from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.planning.machine import Machine, assume

CORES = 32
"""That grade: a machine with a few GPUs has as many."""
WITHIN = 0.15


def simulated_machine() -> Machine:
    """What the tables reckon with, unless told otherwise."""
    return Machine().known("assumed: --workers 32", cores=CORES)


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run whose completions' lengths are taken, stretched to the mean")
    parser.add_argument("--assume", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--measure", action="store_true", help="compare with rollouts on this machine; minutes")
    options = parser.parse_args()
    if options.measure:
        return measure()
    try:
        machine = assume(simulated_machine(), options.assume)
        draw = run_lengths(options.run) if options.run else assumed_lengths
    except RsgrpoError as error:
        sys.exit(f"{error.message}; {error.hint}")
    for made in tables(machine, draw, f"measured: {options.run}, stretched" if options.run else "assumed"):
        show(made.title, made.headers, made.rows)


def measure() -> None:
    """Compare with real rollouts."""
    rows, worst = measured_rows()
    heads = ["workers", "predicted / measured", "measured", "predicted", "the command", "a worker's start"]
    show("Rollouts on this machine", heads, rows)
    if worst > WITHIN:
        sys.exit(f"the model was wrong by {worst:.0%}, more than {WITHIN:.0%}")


if __name__ == "__main__":
    main()
