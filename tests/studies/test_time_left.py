"""How long a sweep will take yet."""

from pathlib import Path

import pytest

from rsgrpo_cli.studies.jobs import Job
from rsgrpo_cli.studies.time_left import time_left

STEPS = {"a": 10, "b": 10, "long": 30}


def job(name: str, state: str = "waiting", seconds: float = 0.0) -> Job:
    return Job(name, [], Path("log"), state=state, seconds=seconds)


@pytest.mark.parametrize(
    ("jobs", "slots", "begun", "expected"),
    [
        # A cell that took 20 s for 10 steps: another such takes 20 s, and one of 30 steps 60 s.
        ([job("a", "done", 20), job("b")], 1, {}, 20),
        ([job("a", "done", 20), job("b"), job("long")], 1, {}, 80),
        # Two at a time: not sooner than the longest.
        ([job("a", "done", 20), job("b"), job("long")], 2, {}, 60),
        # The time of a base model is no cell's, and the other way round.
        ([job("base0", "done", 50), job("a")], 1, {}, None),
        ([job("base0", "done", 50), job("a", "done", 20), job("base1"), job("b")], 1, {}, 70),
        ([job("a", "done", 20), job("base1"), job("b")], 1, {}, None),
        # One that was resumed after 9 of 10 steps says nothing of others, and itself needs less.
        ([job("a", "done", 2), job("b")], 1, {"a": 9}, None),
        ([job("a", "done", 20), job("b")], 1, {"b": 5}, 10),
        # What failed or was skipped is not waited for.
        ([job("a", "done", 20), job("b", "failed", 1), job("long", "skipped")], 1, {}, 0),
    ],
)
def test_the_time_left_goes_by_jobs_of_the_same_kind(
    jobs: list[Job], slots: int, begun: dict[str, int], expected: float | None
) -> None:
    assert time_left(jobs, slots, STEPS, begun) == (None if expected is None else pytest.approx(expected))


def test_what_a_job_at_work_has_spent_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "running_seconds", lambda self: 15.0)
    assert time_left([job("a", "done", 20), job("b", "running")], 1, STEPS, {}) == pytest.approx(5)
    # Longer at work than the other took: nothing is known to be left of it.
    assert time_left([job("a", "done", 10), job("b", "running")], 1, STEPS, {}) == 0
