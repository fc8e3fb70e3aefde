"""Every estimator on a million rewards in groups of 16, through `core.grouping`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from common import against, show, times

from rsgrpo_cli.core import advantages, entropic_advantages, passk_advantages
from rsgrpo_cli.core.grouping import Groups, by_group

ROWS, GROUP, LIMIT, SUBSET_LIMIT = 1_000_000, 16, 0.3, 1.5
ESTIMATORS: list[tuple[str, Callable[..., object], float]] = [
    ("rs_grpo, beta 4", partial(advantages.rs_grpo, beta=4.0), LIMIT),
    ("rs_grpo, leave one out", partial(advantages.rs_grpo, beta=4.0, denominator="leave_one_out"), LIMIT),
    ("entropic_adaptive", entropic_advantages.entropic_adaptive, LIMIT),
    ("grpo", advantages.grpo, LIMIT),
    ("dr_grpo", advantages.dr_grpo, LIMIT),
    ("rloo", advantages.rloo, LIMIT),
    ("max_rl", advantages.max_rl, LIMIT),
    ("qae", advantages.qae, LIMIT),
    ("tang_max", passk_advantages.tang_max, LIMIT),
    ("pkpo, k 4", partial(passk_advantages.pkpo, k=4), SUBSET_LIMIT),
    ("chen_passk, k 4", partial(passk_advantages.chen_passk, k=4), SUBSET_LIMIT),
    ("mahdavi_passk, k 4", partial(passk_advantages.mahdavi_passk, k=4), SUBSET_LIMIT),
    ("passk_rloo, k 4", partial(passk_advantages.passk_rloo, k=4), SUBSET_LIMIT),
]


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    rewards = (rng.random(ROWS) < np.repeat(rng.random(ROWS // GROUP), GROUP)).astype(float)
    groups = Groups.of(np.repeat(np.arange(ROWS // GROUP), GROUP))
    rows = [
        [name, *against(limit, times(partial(by_group, groups, rewards, function)))]
        for name, function, limit in ESTIMATORS
    ]
    show(f"{ROWS:,} rewards in groups of {GROUP}", ["estimator", "median", "min", "max", "limit", "used"], rows)


if __name__ == "__main__":
    main()
