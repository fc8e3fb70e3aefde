"""benchmarks/cluster_model.py against cases by hand. Times are simulated: nothing here waits."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from cluster_measured import SECONDS, waits
from cluster_model import Outcome, Site, simulate
from cluster_scenario import assumed_lengths, equal_parts, run_lengths
from cluster_tables import asynchronous, lost_share, scoring_cores
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_page import PAGE, made

from rsgrpo_cli.planning.machine import Machine
from rsgrpo_cli.planning.scaled_step import CHECKPOINT, SAMPLING, SCORING, UPDATE, StepTime
from tests.conftest import Cli

PARTS = st.lists(st.integers(1, 50), min_size=1, max_size=30)


def test_one_worker_takes_the_sum() -> None:
    assert simulate([3, 1, 4], Site(1)).end == 8


def test_equal_parts_on_as_many_workers_take_as_long_as_one() -> None:
    found = simulate([2] * 5, Site(5))
    assert (found.end, found.utilisation) == (2, 1)


def test_by_hand() -> None:
    # One makes the 4; the other 1, 1, 1 and 1. Dealt out in turn, the first has 4, 1 and 1.
    parts = [4, 1, 1, 1, 1]
    assert simulate(parts, Site(2)).end == 4
    assert simulate(parts, Site(2, static=True)).end == 6
    assert simulate(parts, Site(2, static=True)).utilisation == pytest.approx(8 / 12)  # the second is done after 2 of 6


def test_a_slow_worker_gets_fewer_parts() -> None:
    # The fast one takes a part at 0 and at 2, the slow one has its first until 4. Dealt out, it has the third as well.
    assert simulate([2, 2, 2], Site(2, slow=2)).end == 4
    assert simulate([2, 2, 2], Site(2, slow=2, static=True)).end == 8


def test_the_queue_is_not_always_better() -> None:
    """The plan's order decides: the last part may be a long one."""
    assert simulate([3, 1, 1, 3], Site(2)).end == 5
    assert simulate([3, 1, 1, 3], Site(2, static=True)).end == 4


@settings(deadline=None, derandomize=True, max_examples=60)
@given(PARTS, st.integers(1, 8))
def test_what_holds_for_all_parts(parts: list[int], workers: int) -> None:
    found = simulate(parts, Site(workers))
    assert found.worked == sum(parts)
    assert 0 < found.utilisation <= 1
    assert max(max(parts), sum(parts) / workers) <= found.end
    # Graham: nobody waits before the part that ends last has begun.
    assert found.end <= sum(parts) / workers + (1 - 1 / workers) * max(parts) + 1e-9
    one_after_another = simulate(parts, Site(workers, static=True))
    assert one_after_another.worked == sum(parts)


def test_on_average_the_queue_is_better() -> None:
    parts = [[(7 * number * number + shift) % 13 + 1 for number in range(20)] for shift in range(13)]
    pulled = sum(simulate(one, Site(4)).end for one in parts)
    assert pulled < sum(simulate(one, Site(4, static=True)).end for one in parts)


def test_starting_and_reporting_take_their_time() -> None:
    assert simulate([3, 3], Site(1, start=5)).end == 11
    # Both are made at 3; the command hears one after the other.
    assert simulate([3, 3], Site(2, command=1)).end == 5
    # 10 operations of 0.1 s for each of them, one after the other.
    assert simulate([3, 3], Site(2, operations=10, operation=0.1)).end == pytest.approx(5)


def test_three_workers_on_two_cores() -> None:
    assert simulate([2, 2, 2], Site(3, cores=2, busy=True)).end == pytest.approx(3)  # 6 seconds of work on 2 cores
    assert simulate([2, 2, 2], Site(3, cores=2)).end == 2  # an engine that waits needs none
    assert simulate([2, 2, 2], Site(3, cores=2, start=1)).end == pytest.approx(3.5)  # but starting does


@settings(deadline=None, derandomize=True, max_examples=60)
@given(PARTS, st.integers(1, 8), st.integers(0, 5))
def test_a_failure_costs_at_most_a_part(parts: list[int], workers: int, seed: int) -> None:
    found = simulate(parts, Site(workers, failures=100, restart=0, seed=seed))
    assert found.lost <= found.failures * max(parts)
    if not found.stopped:
        assert found.worked == pytest.approx(sum(parts))
        one_by_one = sum(parts) / workers + max(parts) + found.lost
        assert found.end <= one_by_one + 1e-9


def test_failures_happen_and_their_parts_are_made() -> None:
    found = simulate([10] * 40, Site(4, failures=100, restart=1, seed=1))
    assert found.failures > 0
    assert found.worked == pytest.approx(400)
    assert not found.stopped


def test_an_idle_worker_takes_over_what_another_lost() -> None:
    found = [simulate([1, 10], Site(2, failures=15, restart=1000, seed=seed)) for seed in range(20)]
    lost = [outcome for outcome in found if outcome.failures and not outcome.stopped]
    assert lost
    assert min(outcome.end for outcome in lost) < 1000


def test_a_part_that_fails_three_times_stops() -> None:
    found = simulate([100], Site(1, failures=0.001, restart=0))
    assert (found.stopped, found.failures) == (True, 3)


def test_no_parts_take_no_time() -> None:
    assert simulate([], Site(3)) == Outcome(3)


def test_the_page_has_what_is_printed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert made(text) == text


def test_lengths_of_a_run_are_stretched(cli: Cli, tmp_path: Path) -> None:
    small = ("--set", "rollout.prompts_per_step=4", "--set", "rollout.group_size=4")
    assert cli("prepare", "--run", "runs/x", *small).code == 0
    with pytest.raises(SystemExit, match="no rollouts"):
        run_lengths(tmp_path / "runs" / "x")
    assert cli("rollout", "--run", "runs/x", "--engine", "dummy").code == 0
    drawn = run_lengths(tmp_path / "runs" / "x")(2000)
    assert drawn.shape == assumed_lengths(2000).shape
    assert drawn.mean() == pytest.approx(assumed_lengths(2048).mean(), rel=0.05)
    # The dummy engine's completions have one of two lengths, however they are stretched.
    assert len(np.unique(drawn)) == 2


def test_how_long_parts_wait_is_known_beforehand(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("prepare", "--run", "runs/x", "--set", "rollout.prompts_per_step=40").code == 0
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv("RSGRPO_DUMMY_SECONDS", str(SECONDS))
    assert cli("rollout", "--run", "runs/x", "--engine", "dummy").code == 0
    expected = waits(tmp_path / "runs" / "x" / "steps" / "000000" / "rollouts")
    assert len(expected) == 2  # 32 prompts and 8
    assert [seconds for seconds in waited if seconds > 0.5] == pytest.approx(expected)


def test_the_tables_by_hand() -> None:
    assert equal_parts(1030, 512) == [512, 512, 6]
    assert asynchronous(StepTime({SAMPLING: 70, SCORING: 30, UPDATE: 90, CHECKPOINT: 8}, {}, {})) == 100
    assert asynchronous(StepTime({SAMPLING: 70, SCORING: 10, UPDATE: 90, CHECKPOINT: 8}, {}, {})) == 98
    assert scoring_cores(1001, 1, Machine().known("by hand", verdicts=100)) == 11
    # Half of 80 s, and 60 s to start, every 100,000 s
    failing = Machine().known("by hand", failure_hours=100_000 / 3600, start=60)
    assert lost_share(80, failing, gpus=1) == pytest.approx(1e-3)
