"""Workers under random faults: every job gets its own outcome, whatever the jobs beside it do."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rsgrpo_cli.workers.pool import Died, Done, Job, Outcome, Raised, TimedOut, WorkerPool

FATES = ("fine", "late", "killed_once", "left_once", "killed", "fails", "hangs")


def expected(fate: str, number: int, outcome: Outcome) -> bool:
    match fate:
        case "killed":
            return outcome == Died(-9)
        case "fails":
            return isinstance(outcome, Raised) and outcome.kind == "KeyError"
        case "hangs":
            return isinstance(outcome, TimedOut)
        case _:
            return outcome == Done(number)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_faults(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    weights = (60, 5, 6, 4, 2, 8, 1)
    fates = rng.choices(FATES, weights, k=rng.choice((30, 120)))
    jobs: list[Job] = [("meet", fate, number, str(tmp_path / str(number))) for number, fate in enumerate(fates)]
    with WorkerPool("tests.workers.handlers:behave", workers=rng.randint(1, 3), deadline=5.0) as pool:
        outcomes = pool.map(jobs)
        # And nothing of it is left for the next ones.
        assert pool.map([("echo", number) for number in range(20)]) == [Done(number) for number in range(20)]
    wrong = [
        (fate, outcome)
        for number, (fate, outcome) in enumerate(zip(fates, outcomes, strict=True))
        if not expected(fate, number, outcome)
    ]
    assert wrong == []
