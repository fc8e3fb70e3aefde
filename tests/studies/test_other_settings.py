"""What a sweep says where its runs are there with other settings than are asked for."""

from pathlib import Path

import pytest

from rsgrpo_cli.config import Overrides, override
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.run_dir import RunDir
from rsgrpo_cli.studies.grid import Grid
from rsgrpo_cli.studies.sweep import Sweep

MADE: Overrides = {"train.steps": 2, "eval.num_samples": 4, "eval.k": [1]}
LEAVE = "to go on with the sweep, leave its settings as they were; for others, choose another --name"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of two seeds that are trained, the first forked from the run of its base model."""
    monkeypatch.chdir(tmp_path)
    place = Path("runs/s")
    for cell in Grid(MADE, seeds=(0, 1)).cells():
        base = None if cell.config.seed else {"run": "base", "step": 0}
        run = RunDir.create(place / cell.name, cell.config, forked_from=base)
        run.checkpoint(2).mkdir(parents=True)
        (run.checkpoint(2) / "manifest.json").touch()
    RunDir.create(place / "base", cell.config)
    return place


def hint(place: Path, changed: Overrides, kept: Path | None = None) -> str:
    planned = Sweep(place, Grid(MADE | changed, seeds=(0, 1)).cells(), kept)
    with pytest.raises(UsageError, match="cell seed0 of s is there with") as refused:
        planned.jobs()
    return refused.value.hint


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"eval.num_samples": 8},
            "evaluate the runs that are there: for run in runs/s/base runs/s/seed0 runs/s/seed1; do "
            'rsgrpo eval --run "$run" --num-samples 8; done; or choose another --name',
        ),
        (
            {"train.steps": 3, "eval.k": [1, 2]},
            "train the runs that are there: for run in runs/s/seed0 runs/s/seed1; do "
            'rsgrpo train --run "$run" --steps 3 --k 1,2; done; '
            "evaluate the runs that are there: rsgrpo eval --run runs/s/base --k 1,2; or choose another --name",
        ),
        (
            {"train.steps": 1},
            "evaluate the runs that are there: for run in runs/s/seed0 runs/s/seed1; do "
            'rsgrpo eval --run "$run" --policy 1; done; or choose another --name',
        ),
        ({"train.eval_every": 1}, LEAVE),
        ({"eval.num_samples": 8, "update.learning_rate": 0.5}, LEAVE),
        ({"eval.benchmark": "toy", "prepare.decontaminate": "drop"}, LEAVE),
        ({"eval.temperature": 0.5}, LEAVE),
    ],
)
def test_what_the_runs_can_be_given_is_told_as_a_command_and_nothing_is_removed(
    place: Path, changed: Overrides, told: str
) -> None:
    assert hint(place, changed) == told


def test_a_result_that_is_kept_is_not_removed_either(place: Path) -> None:
    assert hint(place, {"eval.num_samples": 8}, Path("kept")) == LEAVE  # no result is kept yet, and the run is there


def test_a_cell_that_was_trained_further_is_the_one_of_more_steps(place: Path) -> None:
    (cell, _) = Grid(MADE | {"train.steps": 3}, seeds=(0, 1)).cells()
    run = RunDir(place / cell.name)
    run.change_config(override(run.config(), {"train.steps": 3}))  # as `rsgrpo train --steps 3` does
    assert not Sweep(place, [cell]).is_done(cell)
