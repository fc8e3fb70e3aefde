"""`rsgrpo sweep` and `rsgrpo compare` over its groups, as a user calls them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rsgrpo_cli.commands.sweep_display import SweepDisplay
from rsgrpo_cli.console import Output
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.grid import Grid
from rsgrpo_cli.studies.jobs import Job
from rsgrpo_cli.studies.sweep import Sweep
from tests.commands.test_stages import artifacts
from tests.conftest import SMALL, Cli

CELLS = ("--name", "s", "--set", "advantage.beta=0,4", "--steps", "2", "-n", "2", "--k", "1,2", *SMALL)


@pytest.mark.parametrize(
    ("arguments", "told", "hint"),
    [
        (
            ["--name", "s", "--set", "advantage.betta=1,2"],
            "cell betta1-seed0: advantage.betta is not",
            "advantage.beta",
        ),
        (["--set", "advantage.beta=1,2"], "the sweep has no name", "--name"),
        (["--name", "a/b"], "--name 'a/b' cannot be part of a file name", "A-Z, a-z"),
        (["--name", "s", "--seeds", "0,1,0"], "seed 0 is there twice in '0,1,0'", "give each seed once"),
        (["--name", "s", "--seeds", "0-2,2-3"], "seed 2 is there twice", "give each seed once"),
        (["--name", "s", "--seeds", "x"], "seeds 'x' cannot be read", "0-7"),
        (["--name", "s", "--seeds", "7-0"], "seeds '7-0' cannot be read", "0-7"),
        (
            ["--name", "s", "--seeds", "0-1000000", "--dry-run"],
            "'0-1000000' are 1,000,001 seeds, more than 10,000 runs",
            "0-7",
        ),
        (["--name", "s", "--config", "none.toml"], "no configuration file at none.toml", "check the path given"),
        (
            ["--name", "s", "--set", "advantage.beta=0,x"],
            "advantage.beta: must be a number, not 'x'",
            "for example advantage.beta=2.0",
        ),
        (
            ["--name", "s", "--beta", "x"],
            "cell seed0: advantage.beta: must be a number, not 'x'",
            "for example advantage.beta=2.0",
        ),
        (["--name", "s", "--set", "advantage.beta=0,0.0"], "cell beta0-seed0 is there twice", "once"),
        (
            ["--name", "s", "--set", "advantage.beta=1,2", "--beta", "3"],
            "advantage.beta is given twice: 1,2 with --set, and 3 with its flag",
            "give it once",
        ),
        (
            ["--name", "s", "--set", "advantage.beta=1,2", "--set", "advantage.beta=3"],
            "advantage.beta is given twice: 1,2 with --set, and 3 with --set",
            "give it once",
        ),
        (
            ["--name", "s", "--beta", "2", "--beta", "4", "--dry-run"],
            "--beta is given twice: 2 and 4",
            "once, with commas: --beta 2,4",
        ),
        (
            ["--name", "s", "--steps", "2", "--steps", "1,2", "--dry-run"],
            "--steps is given twice: 2 and 1,2",
            "give it once, with commas: --steps 2,1\n",
        ),
        (["--name", "s", "-n", "8", "-n", "4", "--dry-run"], "--num-samples is given twice: 8 and 4", "give it once\n"),
        (
            ["--name", "s", "--estimator", "grpo", "--estimator", "rloo", "--dry-run"],
            "--estimator is given twice",
            "grpo,rloo",
        ),
        (["--name", "s", "--reward", "nowhere:fn"], "nowhere", ""),
        (["--name", "s", "--estimator", "nowhere:fn", "--dry-run"], "nowhere", ""),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_is_made(
    cli: Cli, tmp_path: Path, arguments: list[str], told: str, hint: str
) -> None:
    result = cli("sweep", *arguments)
    assert result.code in (1, 2)
    assert told in result.err
    assert hint in result.err
    assert not list(tmp_path.rglob("config.json"))


def test_a_dry_run_lists_the_cells_and_makes_nothing(cli: Cli, tmp_path: Path) -> None:
    listed = cli("sweep", *CELLS, "--seeds", "0-1", "--dry-run", "--json").json
    assert [cell["cell"] for cell in listed["cells"]] == ["beta0-seed0", "beta4-seed0", "beta0-seed1", "beta4-seed1"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "flag", [["--beta", "0,4"], ["--beta", "0,4", "--beta", "0,4"], ["--set", "advantage.beta=0,4"]]
)
def test_several_values_make_an_axis_with_a_flag_too(cli: Cli, flag: list[str]) -> None:
    listed = cli("sweep", "--name", "s", *flag, "--steps", "3", "--lr", "1e-4", "--dry-run", "--json").json
    assert [cell["cell"] for cell in listed["cells"]] == ["beta0-seed0", "beta4-seed0"]
    assert cli("train", "--beta", "0,4").code == 2


@pytest.mark.parametrize(
    "flags",
    [
        ["--benchmark", "toy,toy-hard"],
        ["--set", "eval.benchmark=toy,toy-hard"],
        ["--set", "eval.k=1,8"],
        ["--set", "eval.k=8"],
        ["--set", "prepare.instruction=Think, then answer."],
        ["--prompt-template", "template.txt"],
    ],
)
def test_a_value_with_commas_of_its_own_is_no_axis(cli: Cli, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "template.txt").write_text("Well, {{ problem }}")
    listed = cli("sweep", "--name", "s", *flags, "--dry-run", "--json")
    assert listed.code == 0, listed.err
    assert [cell["cell"] for cell in listed.json["cells"]] == ["seed0"]


def test_what_an_earlier_try_left_is_no_part_of_a_sweep(cli: Cli, tmp_path: Path) -> None:
    sweep = tmp_path / "runs/mine"
    base, cell = ["--run", sweep / "base-seed0-1111"], ["--run", sweep / "cell-seed0"]
    for command in (["prepare", *base, *SMALL], ["rollout", *base, "--step", "0"], ["score", *base, "--step", "0"]):
        assert cli(*command).code == 0
    assert cli("eval", *base, "--policy", "0", "-n", "2", "--k", "1,2").code == 0
    shutil.copytree(sweep / "base-seed0-1111", sweep / "base-seed0-2222")
    for name in ("cell-seed0", "not-begun-seed0"):
        assert cli("fork", sweep / name, *base, "--step", "0").code == 0
    assert cli("train", *cell, "--steps", "1").code == 0
    assert cli("eval", *cell, "--policy", "1", "-n", "2", "--k", "1,2").code == 0
    told = cli("compare", "mine", "--json")
    assert told.code == 0, told.err
    runs = {label: group["runs"] for label, group in told.json["groups"].items()}
    assert runs == {"base": ["base-seed0-1111"], "cell": ["cell-seed0"]}
    assert cli("compare", "base=mine@0", "new=mine@1").code == 0


def test_the_runs_of_a_sweep_are_named_by_it(cli: Cli, trained: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "runs/mine"
    sweep.mkdir()
    shutil.move(trained, sweep / "one")
    assert cli("status", "--run", "mine/one", "--json").json["steps_done"] == 2
    assert cli("status", "mine/one").code == 0
    for command in (["status"], ["status", "mine"], ["status", "nothing"]):
        result = cli(*command)
        assert result.code == 1
        assert "rsgrpo ls mine" in result.err


def test_a_base_model_that_fails_is_told_with_what_to_do_about_it(cli: Cli, tmp_path: Path) -> None:
    result = cli("sweep", *CELLS, "--model", tmp_path / "nowhere")
    assert result.code == 1
    (base,) = (path.stem for path in (tmp_path / "runs/s/logs").glob("*.log"))
    assert f"2 runs skipped: {base} failed: no model at '{tmp_path}/nowhere'" in result.out
    first, hint = result.err.splitlines()[-2:]
    assert first == f"error: 1 run failed: {base}: no model at '{tmp_path}/nowhere'"
    assert hint.startswith("  give a directory that save_pretrained() wrote")
    assert hint.endswith(f"; see runs/s/logs/{base}.log; the same command again repeats only what is not done")


@pytest.mark.parametrize(("done", "told"), [(1, "1 of 2 runs is done already"), (2, "2 of 2 runs are done already")])
def test_how_many_runs_are_done_is_said_in_english(
    done: int, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = Sweep(Path("runs/s"), Grid(seeds=(0, 1)).cells())
    monkeypatch.setattr(Sweep, "is_done", lambda _, cell: cell.config.seed < done)
    with SweepDisplay(Output(), planned, [], 1):
        assert told in capsys.readouterr().err


def test_a_warning_of_its_runs_is_said_once_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    planned = Sweep(Path("runs/s"), Grid(seeds=(0, 1)).cells())
    jobs = [Job(f"seed{n}", [], Path("log"), warnings=[f"{n} of 8 prompts of runs/s/seed{n} are odd"]) for n in (0, 1)]
    jobs[1].warnings.append("the disk is slow")
    with SweepDisplay(Output(), planned, jobs, 1) as display:
        for job in jobs:
            job.state = "done"
            display.say(job)
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
        assert told == ["warning: seed0: 0 of 8 prompts of runs/s/seed0 are odd", "warning: seed1: the disk is slow"]
    ended = "warning: 2 runs with a warning like that of seed0: 0 of 8 prompts of runs/s/seed0 are odd"
    assert ended in capsys.readouterr().err
    assert display.warnings == {
        "0 of 8 prompts of runs/s/seed0 are odd": ["seed0", "seed1"],
        "the disk is slow": ["seed1"],
    }


@pytest.mark.parametrize("form", ["csv", "terminal"])
def test_json_has_no_other_format(cli: Cli, form: str) -> None:
    refused = cli("compare", "one", "--json", "--format", form)
    assert refused.code == 2
    assert "--json and --format are two ways to print the same" in refused.err


def test_two_places_that_are_no_runs_are_looked_for_as_runs(cli: Cli) -> None:
    assert "no run at runs/one" in cli("compare", "one", "two").err


@pytest.mark.slow
def test_a_sweep_that_is_killed_is_completed_by_the_same_command(cli: Cli, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rsgrpo_cli", "sweep", *CELLS, "--keep", "kept"]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    while not list(tmp_path.glob("runs/s/beta0-seed0/steps/000001/rollouts/part-*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)  # its children have sessions of their own and live on, as after a lost login
    process.wait()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "runs/s: 2 of 2 runs done" in done.stdout
    whole = cli("sweep", *(part if part != "s" else "whole" for part in CELLS))
    assert whole.code == 0, whole.err
    for cell in ("beta0-seed0", "beta4-seed0"):
        assert artifacts(tmp_path / "runs/s" / cell) == artifacts(tmp_path / "runs/whole" / cell)
    found = {one.name: one for path in sorted((tmp_path / "kept/s").iterdir()) for one in results.read(path)}
    assert [one.is_base for one in found.values()] == [True, False, False]
    assert found["beta4-seed0"].varied == {"advantage.beta": 4}
    assert cli("sweep", *CELLS, "--keep", "kept").out.count("2 of 2 runs done") == 1
    table = cli("compare", "kept/s", "--baseline", "beta0", "--json").json
    assert list(table["groups"]) == ["base", "beta0", "beta4"]
    other = cli("sweep", *CELLS, "--lr", "3e-3")
    assert (other.code, "is there with update.learning_rate 0.001, not 0.003" in other.err) == (2, True)


@pytest.mark.slow
def test_a_cell_that_fails_stops_no_other(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "arms.toml"
    (tmp_path / "lossy.py").write_text("def f(rewards):\n    raise ValueError('lost on the way')\n")
    file.write_text('[arms]\nlost = { advantage.estimator = "lossy:f" }\nfine = { advantage.beta = 2 }\n')
    command = ["sweep", "--config", file, "--name", "s", "--steps", "1", "-n", "2", "--k", "1", *SMALL]
    result = cli(*command)
    assert result.code == 1
    assert "1 run failed: lost-seed0: " in result.err
    assert "runs/s: 1 of 2 runs done" in result.out
    assert "lost on the way" in result.err
    told = json.loads(cli(*command, "--json").out)  # one object
    assert (told["cells"], told["done"], list(told["failed"])) == (2, 1, ["lost-seed0"])
    assert told["error"].startswith("1 run failed: lost-seed0: ")
    # A sweep has no --run.
    assert told["hint"] == "fix it and run the same command again; see runs/s/logs/lost-seed0.log"
