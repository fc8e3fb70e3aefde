"""What a sweep says where its runs are there with other settings than are asked for."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.config import Overrides, difference, override
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import SUMMARY
from rsgrpo_cli.studies.grid import Grid
from rsgrpo_cli.studies.sweep import Sweep
from tests.studies.test_groups import keep, result

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


def kept_result(place: Path) -> Path:
    """The result of the first seed, with the settings of its run."""
    one = result("seed0", 0, [1, 0])
    keep(Path("kept"), replace(one, config=RunDir(place / "seed0").config()))
    return Path("kept")


@pytest.mark.parametrize("kept", [lambda _: Path("nothing-yet"), kept_result])
def test_a_sweep_that_keeps_results_names_the_same_command(place: Path, kept: Callable[[Path], Path]) -> None:
    folder = kept(place)
    assert hint(place, {"eval.num_samples": 8}, folder) == (
        "evaluate the runs that are there: for run in runs/s/base runs/s/seed0 runs/s/seed1; do "
        'rsgrpo eval --run "$run" --num-samples 8; done; then keep their results anew: the sweep as it was, with '
        "another --keep; or choose another --name"
    )
    assert hint(place, {"eval.temperature": 0.5}, folder) == LEAVE


def test_a_cell_that_was_given_the_evaluation_later_is_done(place: Path) -> None:
    planned = Sweep(place, Grid(MADE | {"eval.num_samples": 8, "eval.k": [1, 8]}, seeds=(0, 1)).cells())
    lineage = Lineage("eval", {"num_samples": 8, "k": [1, 2, 8]}, {}, policy_version=2)
    for cell in planned.cells:
        folder = RunDir(place / cell.name).evaluation(2, cell.config.benchmarks[0])
        folder.mkdir(parents=True)
        with pytest.raises(UsageError, match="is there with eval"):
            planned.is_done(cell)
        write_table(folder / "summary.parquet", SUMMARY.schema.empty_table(), SUMMARY, lineage)
        planned.is_done(cell)  # without the other files it may be stale, but it is what was asked for
    more = Sweep(place, Grid(MADE | {"eval.num_samples": 8, "eval.k": [1, 4]}, seeds=(0, 1)).cells())
    with pytest.raises(UsageError, match="is there with eval"):
        more.is_done(more.cells[0])


def test_a_result_whose_run_is_gone_cannot_be_given_more(place: Path) -> None:
    folder = kept_result(place)
    shutil.rmtree(place / "seed0")
    assert hint(place, {"eval.num_samples": 8}, folder) == LEAVE


def test_a_setting_that_is_empty_is_told_in_words(place: Path) -> None:
    planned = Sweep(place, Grid(MADE | {"eval.benchmark": "toy-validation"}, seeds=(0, 1)).cells())
    with pytest.raises(UsageError, match=r"is there with the default eval\.benchmark, not toy-validation"):
        planned.jobs()
    assert difference("eval.benchmark", "toy", "") == "eval.benchmark toy, not the default"
    assert difference("advantage.k", None, 4) == "no advantage.k, not 4"
    assert difference("advantage.beta", 2, None) == "advantage.beta 2, not none"


def test_a_cell_that_was_trained_further_is_the_one_of_more_steps(place: Path) -> None:
    (cell, _) = Grid(MADE | {"train.steps": 3}, seeds=(0, 1)).cells()
    run = RunDir(place / cell.name)
    run.change_config(override(run.config(), {"train.steps": 3}))  # as `rsgrpo train --steps 3` does
    assert not Sweep(place, [cell]).is_done(cell)
