"""The cells of a sweep."""

from pathlib import Path

import pytest

from rsgrpo_cli.config import Overrides, override
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies.grid import Grid, read_grid, read_seeds, split_axes
from rsgrpo_cli.studies.jobs import Job
from rsgrpo_cli.studies.results import Result, read, write
from rsgrpo_cli.studies.sweep import Sweep, as_begun, hint_of


def names(grid: Grid) -> list[str]:
    return [cell.name for cell in grid.cells()]


def test_every_value_meets_every_seed() -> None:
    grid = Grid({"train.steps": 3}, {"advantage.beta": [0, 2.5]}, {}, [0, 1])
    assert names(grid) == ["beta0-seed0", "beta2.5-seed0", "beta0-seed1", "beta2.5-seed1"]
    cell = grid.cells()[1]
    assert cell.config.advantage.model_dump()["beta"] == 2.5
    assert (cell.config.seed, cell.config.train.steps) == (0, 3)


def test_a_cell_that_went_on_for_more_steps_is_still_the_cell(tmp_path: Path) -> None:
    (cell,) = Grid({"train.steps": 3}, {}, {}, [0]).cells()
    longer, shorter = (override(cell.config, {"train.steps": steps}) for steps in (5, 2))
    RunDir.create(tmp_path / "longer" / cell.name, longer)
    RunDir.create(tmp_path / "shorter" / cell.name, shorter)
    assert not Sweep(tmp_path / "longer", [cell]).is_done(cell)  # nothing was trained; and it is not refused
    with pytest.raises(UsageError, match=r"is there with train\.steps 2, not 3"):
        Sweep(tmp_path / "shorter", [cell]).is_done(cell)


def test_a_cell_that_another_sweep_begins_at_the_same_moment_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = Grid({"train.steps": 3}, {}, {}, [0]).cells()
    *_, job = Sweep(tmp_path / "s", [cell]).jobs()

    def another_was_first(run: RunDir, *_: object) -> None:
        RunDir.create(run.path, cell.config)
        RunDir.create(run.path, cell.config)

    monkeypatch.setattr("rsgrpo_cli.studies.sweep.start", another_was_first)
    job.begin()
    monkeypatch.setattr("rsgrpo_cli.studies.sweep.start", lambda *_: RunDir.create(tmp_path / "s", cell.config))
    (tmp_path / "s" / cell.name / "config.json").rename(tmp_path / "gone")
    with pytest.raises(UsageError, match="exists and is not a run"):  # nobody has begun it
        job.begin()


def test_arms_are_crossed_with_axes() -> None:
    arms: dict[str, Overrides] = {"grpo": {"advantage.estimator": "grpo"}, "beta4": {"advantage.beta": 4}}
    grid = Grid({}, {"update.learning_rate": [1e-4, 3e-4]}, arms, [7])
    assert names(grid) == [
        "grpo-learning_rate0.0001-seed7",
        "grpo-learning_rate0.0003-seed7",
        "beta4-learning_rate0.0001-seed7",
        "beta4-learning_rate0.0003-seed7",
    ]


def test_a_word_is_told_from_its_setting_in_the_name_of_a_cell() -> None:
    grid = Grid({}, {"model.name": ["toy", "toy-hard"], "advantage.beta": [2], "model.compile": [False]})
    assert names(grid) == [
        "name-toy-beta2-compile-False-seed0",
        "name-toy-hard-beta2-compile-False-seed0",
    ]


def test_a_sweep_that_an_earlier_version_began_keeps_the_names_of_its_cells(tmp_path: Path) -> None:
    cells = Grid({}, {"advantage.scale": ["rms", "none"]}, {}, [0, 1]).cells()
    former = ["scalerms-seed0", "scalenone-seed0", "scalerms-seed1", "scalenone-seed1"]
    assert as_begun(tmp_path / "new", cells, tmp_path / "kept") == cells
    RunDir.create(tmp_path / "s" / former[1], cells[1].config)
    assert [cell.name for cell in as_begun(tmp_path / "s", cells, None)] == former
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / f"{former[0]}.parquet").touch()
    assert [cell.name for cell in as_begun(tmp_path / "new", cells, tmp_path / "kept")] == former


def test_the_last_policy_is_evaluated_unless_told_otherwise() -> None:
    assert Grid({"train.steps": 30}).cells()[0].config.train.eval_every == 30
    assert Grid({"train.steps": 30, "train.eval_every": 10}).cells()[0].config.train.eval_every == 10


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        (Grid({}, {"advantage.betta": [1, 2]}), "cell betta1-seed0: advantage.betta is not a setting"),
        (Grid({}, {"advantage.beta": [1, "x"]}), "cell beta-x-seed0: advantage.beta"),
        (
            Grid({"eval.benchmark": "a.jsonl", "eval.num_samples": {"b": 2}}),
            "cell seed0: --num-samples names b, which is not evaluated",
        ),
        (Grid({}, {"advantage.beta": [2, 2.0]}), "cell beta2-seed0 is there twice"),
        (Grid({}, {"prepare.instruction": ["a?", "a!"]}), "two cells are called instruction-a_-seed0"),
        (Grid({}, {}, {"a": {"advantage.beta": 2}, "b": {"advantage.beta": 2.0}}), "do not differ in any setting"),
        (Grid({}, {"seed": list(range(101)), "rollout.group_size": list(range(2, 120))}), "cells, more than"),
        (Grid({}, {"seed": [0, 1]}), "a sweep makes every cell with every seed"),
        (Grid({"seed": 3}), "a sweep makes every cell with every seed"),
        (Grid(seeds=[]), "no cells"),
        (Grid({}, {}, {"base": {"advantage.beta": 2}}), "an arm is called base"),
        (
            Grid({}, {"advantage.beta": [1, 2]}, {"a": {"advantage.beta": 4}}),
            "arm a sets advantage.beta, which is an axis",
        ),
        (
            Grid({"advantage.beta": 2}, {}, {"a": {"advantage.beta": 4}}, flags=["advantage.beta"]),
            "arm a sets advantage.beta, which is given as a flag too",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused_with_its_cell(grid: Grid, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        grid.cells()


def test_a_file_has_settings_axes_and_arms(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(
        'name = "s"\nseeds = "0-1,5"\n[settings]\ntrain.steps = 4\neval = { k = [1, 2], num_samples = 2 }\n'
        '[axes]\n"update.learning_rate" = [1e-4]\n[arms.grpo]\nadvantage.estimator = "grpo"\n'
    )
    name, grid = read_grid(file)
    assert name == "s"
    assert grid.seeds == [0, 1, 5]
    assert grid.settings == {"train.steps": 4, "eval.k": [1, 2], "eval.num_samples": 2}
    assert grid.axes == {"update.learning_rate": [1e-4]}
    assert grid.arms == {"grpo": {"advantage.estimator": "grpo"}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps = 3", "steps is not part of a sweep"),
        ("arms = 3", "arms is a table"),
        ("[arms]\ngrpo = 1", "arm grpo is not a table"),
        ('[axes]\n"advantage.beta" = 2', "needs a list of values"),
        ("name = 3", "name is text"),
        ('seeds = "a"', "seeds 'a' cannot be read"),
        ("seeds = [", "not valid TOML"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        read_grid(file)


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-3", [0, 1, 2, 3]), ("5", [5]), ("1,3-4, 9", [1, 3, 4, 9]), ("2,0-1", [2, 0, 1])]
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "3-1", "-1", "0..3", "1.5"])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_seeds(text)


def test_several_values_make_an_axis() -> None:
    given = {"advantage.beta": "0,2,4", "advantage.estimator": "grpo,rs_grpo", "update.learning_rate": 1e-4}
    settings, axes = split_axes(given)
    assert settings == {"update.learning_rate": 1e-4}
    assert axes == {"advantage.beta": [0, 2, 4], "advantage.estimator": ["grpo", "rs_grpo"]}


def test_dates_are_text_so_that_results_can_be_written(tmp_path: Path) -> None:
    days = ["2024-01-01", "2024-01-02"]
    assert split_axes({"model.template_date": ",".join(days)})[1] == {"model.template_date": days}
    file = tmp_path / "sweep.toml"
    file.write_text(
        '[axes]\n"model.template_date" = [2024-01-01, 2024-01-02]\n[arms.later]\nmodel.template_date = 2024-01-02'
    )
    grid = read_grid(file)[1]
    assert (grid.axes, grid.arms) == ({"model.template_date": days}, {"later": {"model.template_date": days[1]}})
    cell = Grid(axes=grid.axes).cells()[0]
    write(tmp_path / "kept.parquet", Result(cell.name, "s", cell.config, cell.varied, [], [], 0))
    assert read(tmp_path / "kept.parquet")[0].varied == {"model.template_date": days[0]}


def test_places_on_the_line_are_between_the_ends(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text("line = [0.75, 0.5]")
    assert read_grid(file)[1].line == (0.5, 0.75)
    file.write_text("line = [0, 1]")
    with pytest.raises(UsageError, match="line is a list of numbers between 0 and 1"):
        read_grid(file)


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("fix it and run the same command again with --run runs/s/cell", "fix it and run the same command again"),
        (
            "put it back; or branch off: rsgrpo fork NEW --run runs/s/cell; to continue on purpose: --accept-changes",
            "put it back; or branch off: rsgrpo fork NEW --run runs/s/cell; to continue on purpose: "
            "rsgrpo train --run runs/s/cell --accept-changes",
        ),
        (
            "measure again: rsgrpo eval --run runs/s/cell --force",
            "measure again: rsgrpo eval --run runs/s/cell --force",
        ),
        (
            "keep both: --tag NAME; make it again: the same command with --force",
            "make it again: rsgrpo train --run runs/s/cell --force",
        ),
    ],
)
def test_the_hint_of_a_run_that_failed_is_one_for_the_sweep(hint: str, told: str) -> None:
    job = Job("cell", [["train", "--run", "runs/s/cell"]], Path("log"), hint=hint)
    assert hint_of(job) == told
