"""What is kept of earlier steps: metrics.parquet and solved.parquet, from steps of a few completions."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.errors import StaleError
from rsgrpo_cli.pipeline.history import check_history, peak_rss, record_step
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import METRICS, PROMPTS, SOLVED
from tests import run_on_disk


@dataclass
class Desk:
    """What of a session a step's record needs, and what was warned of."""

    run: RunDir
    warnings: list[str] = field(default_factory=list)
    timings: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def out(self) -> SimpleNamespace:
        return SimpleNamespace(warn=self.warnings.append)

    @property
    def prompts(self) -> Any:
        return read_table(self.run.prompts, PROMPTS)

    @property
    def session(self) -> Session:
        return cast("Session", self)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A run of four problems and three steps: the first solves one of two, the second both, the third nothing."""
    ids = [f"p-00000{number}" for number in range(1, 5)]
    run = run_on_disk.new_run(tmp_path / "run", ids)
    solved = ({"p-000001": [1, 0], "p-000002": [0, 0]}, {"p-000001": [1, 1], "p-000002": [0, 1]})
    for step, values in enumerate((*solved, {"p-000001": [0, 0], "p-000002": [0, 0]})):
        run_on_disk.write_rollouts(run, step, run_on_disk.LENGTHS, f"policy {step}")
        run_on_disk.write_rewards(run, step, values)
        run_on_disk.write_advantages(run, step)
        run_on_disk.write_update(run, step, f"policy {step + 1}")
    return Desk(run)


def rates(run: RunDir) -> list[float | None]:
    found: list[float | None] = read_table(run.metrics, METRICS)["cumulative_solve_rate"].to_pylist()
    return found


def test_problems_are_counted_when_they_are_first_solved(desk: Desk) -> None:
    for step in range(3):
        row = record_step(desk.session, step)
        assert row["step"] == step
    assert rates(desk.run) == [0.25, 0.5, 0.5]  # of four problems: the first, then also the second
    solved = read_table(desk.run.solved, SOLVED)
    assert solved["prompt_ids"].to_pylist() == [["p-000001"], ["p-000002"], []]
    assert desk.warnings == []


def test_earlier_steps_are_worked_out_where_they_were_not_recorded(desk: Desk) -> None:
    record_step(desk.session, 2)
    assert rates(desk.run) == [0.25, 0.5, 0.5]


def test_steps_that_were_deleted_after_they_were_recorded_stay_known(desk: Desk) -> None:
    record_step(desk.session, 1)
    shutil.rmtree(desk.run.step(0))
    assert record_step(desk.session, 2)["cumulative_solve_rate"] == 0.5
    assert rates(desk.run) == [0.25, 0.5, 0.5]
    assert desk.warnings == []


def test_what_nothing_tells_any_more_is_empty_and_said(desk: Desk) -> None:
    shutil.rmtree(desk.run.step(0))
    assert record_step(desk.session, 2)["cumulative_solve_rate"] is None
    (said,) = desk.warnings
    assert "the artifacts of step 0 are gone or damaged" in said
    assert read_table(desk.run.metrics, METRICS)["step"].to_pylist() == [1, 2]


def test_a_damaged_table_is_set_aside_and_made_again(desk: Desk) -> None:
    record_step(desk.session, 1)
    desk.run.metrics.write_bytes(b"PAR1")
    record_step(desk.session, 2)
    assert rates(desk.run) == [0.25, 0.5, 0.5]
    assert "made from the steps" in desk.warnings[0]
    aside = [path for path in desk.run.path.glob("metrics*") if path.name != "metrics.parquet"]
    assert [path.read_bytes() for path in aside] == [b"PAR1"]


def test_times_are_those_of_this_process(desk: Desk) -> None:
    desk.timings[0] = {"rollout": 3.0}
    # Tokens: 1 + 2 + 3 + 9.
    assert record_step(desk.session, 0)["tokens_per_second"] == 5.0


def test_a_step_that_was_changed_by_hand_ends_the_run(desk: Desk) -> None:
    check_history(desk.session, 3)
    run_on_disk.write_rewards(desk.run, 1, run_on_disk.VALUES)
    check_history(desk.session, 1)  # the steps before it are as they were
    with pytest.raises(StaleError, match="advantages of step 1 were made from other rewards") as error:
        check_history(desk.session, 3)
    assert "--step 1" in (error.value.hint or "")


def test_an_old_step_that_is_damaged_is_said_and_not_needed(desk: Desk) -> None:
    desk.run.advantages(0).write_bytes(b"PAR1")
    check_history(desk.session, 3)
    (said,) = desk.warnings
    assert "it is not needed to resume" in said


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_of_memory_is_in_bytes(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("resource.getrusage", lambda _: SimpleNamespace(ru_maxrss=3_000_000))
    assert peak_rss() == 3_000_000 * unit
