"""Every estimator on a million rewards through `core.grouping`: 0/1, continuous, and in groups of unequal size."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
from common import against, show, times

from rsgrpo_cli.core.estimators import estimator_function
from rsgrpo_cli.core.grouping import Groups, by_group

GROUP, LIMIT, SUBSET_LIMIT = 16, 0.3, 1.5
ESTIMATORS: list[tuple[str, dict[str, Any]]] = [
    ("rs_grpo", {"beta": 4.0}),
    ("rs_grpo", {"beta": 4.0, "denominator": "leave_one_out"}),
    ("grpo", {}),
    ("dr_grpo", {}),
    ("rloo", {}),
    ("max_rl", {}),
    ("tail_rl", {}),
    ("qae", {}),
    ("entropic_loo", {"beta": 4.0}),
    ("entropic_adaptive", {}),
    ("tang_max", {}),
    ("pkpo", {"k": 4}),
    ("pkpo", {"k": 4, "variant": "sloo"}),
    ("chen_passk", {"k": 4}),
    ("mahdavi_passk", {"k": 4}),
    ("passk_rloo", {"k": 4}),
]
ON_SUBSETS = {"pkpo", "chen_passk", "mahdavi_passk", "passk_rloo"}
ON_VERDICTS = {"chen_passk", "mahdavi_passk", "passk_rloo"}


def unequal_sizes(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Sizes from half a group to one and a half that sum to `rows`."""
    sizes = rng.integers(GROUP // 2, GROUP + GROUP // 2, 4 * rows // GROUP)
    sizes = sizes[: np.searchsorted(sizes.cumsum(), rows - 2 * GROUP)]
    return np.append(sizes, rows - sizes.sum())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    rng = np.random.default_rng(0)
    equal, unequal = np.full(rows // GROUP, GROUP), unequal_sizes(rows, rng)
    batches = {}
    for name, sizes, values in (
        ("0/1", equal, rng.random(equal.sum()) < np.repeat(rng.random(equal.size), equal)),
        ("continuous", equal, rng.random(equal.sum())),
        ("0/1, unequal", unequal, rng.random(unequal.sum()) < np.repeat(rng.random(unequal.size), unequal)),
    ):
        batches[name] = Groups.of(np.repeat(np.arange(sizes.size), sizes)), values.astype(float)
    made = []
    for name, settings in ESTIMATORS:
        function = estimator_function(name, **settings)
        limit = SUBSET_LIMIT if name in ON_SUBSETS else LIMIT
        label = ", ".join([name, *map(str, settings.values())])
        for kind, (groups, rewards) in batches.items():
            if kind != "continuous" or name not in ON_VERDICTS:
                made.append([label, kind, *against(limit, times(partial(by_group, groups, rewards, function)))])
    headers = ["estimator", "rewards", "median", "min", "max", "limit", "used"]
    show(f"{rows:,} rewards in groups of {GROUP}", headers, made)


if __name__ == "__main__":
    main()
