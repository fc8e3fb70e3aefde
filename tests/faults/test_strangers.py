"""A run directory from a stranger: nothing in it is run, and nothing is written through it to somewhere else."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rsgrpo_cli import app
from rsgrpo_cli.config import override
from rsgrpo_cli.console import visible
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies.grid import Grid
from rsgrpo_cli.studies.sweep import Sweep
from tests.conftest import SMALL, Cli, run_quietly
from tests.faults.test_damage import follow

ESCAPES = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e[bold red]x[/bold red][/nothing]\r"
OWN = """
def length(completions, **columns):
    return [float(len(text) % 2) for text in completions]

def middle(rewards, *, level=0.5):
    return rewards - level
"""


@pytest.fixture(scope="module")
def own_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(OWN)
    run_quietly(folder, "train", "--run", "runs/x", "--steps", "1", "--reward", "mine:length", *SMALL)
    return folder


@pytest.fixture
def own(own_once: Path, tmp_path: Path, cli: Cli, unasked: None) -> Path:
    """A run with a reward function, which leaves a mark when it is imported."""
    shutil.copytree(own_once / "runs", tmp_path / "runs")
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n{OWN}")
    return tmp_path / "runs" / "x"


@pytest.fixture(scope="module")
def both_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    (folder / "mine.py").write_text(OWN)
    own = ["--reward", "mine:length", "--estimator", "mine:middle"]
    for name, seed in (("x", "0"), ("y", "1")):
        run_quietly(folder, "train", "--run", f"runs/{name}", "--steps", "1", "--seed", seed, *own, *SMALL)
        for policy in ("0", "1"):
            run_quietly(folder, "eval", "--run", f"runs/{name}", "--policy", policy, "-n", "2", "--k", "1,2")
    return folder


@pytest.fixture
def both(both_once: Path, tmp_path: Path, cli: Cli, unasked: None) -> Path:
    """A folder with two runs that have a reward and an estimator, which leave a mark when they are imported."""
    shutil.copytree(both_once / "runs", tmp_path / "runs")
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n{OWN}")
    return tmp_path


COMMANDS = (
    ["train", "--steps", "2"],
    ["score", "--step", "0", "--force"],
    ["rollout", "--step", "1"],
    ["prepare", "--force"],
    ["eval", "-n", "1", "--k", "1"],
    ["eval", "-n", "1", "--k", "1", "--interpolate", "0.5"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_function_that_only_the_run_names_is_not_called(cli: Cli, own: Path, command: list[str]) -> None:
    result = cli(*command, "--run", own)
    assert (result.code, "a run directory is data" in result.err) == (2, True), result.err
    assert "--trust, or with --reward mine:length" in result.err
    assert not (own.parents[1] / "mark").exists()


def test_it_is_called_when_asked_for(cli: Cli, own: Path) -> None:
    mark = own.parents[1] / "mark"
    for steps, flags in (("2", ["--trust"]), ("3", ["--reward", "mine:length"])):
        result = cli("train", "--run", own, "--steps", steps, *flags, "--accept-changes")
        assert result.code == 0, result.err
        assert mark.exists()
        mark.unlink()


LOOKING = (
    "status --run runs/x",
    "watch runs/x --once",
    "report runs/x",
    "report runs/x --html page.html",
    "show --run runs/x --prompt toy-train-000000",
    "verify runs/x",
    "verify runs/x --no-load",
    "compare runs/x runs/y",
    "compare runs/x@0 runs/x@1",
    "compare x=runs/x y=runs/y",
    "compare runs",
    "diff runs/x runs/y",
    "ls",
    "du",
    "plan --run runs/x",
    "train --run runs/x --dry-run",
    "sql runs/x 'SELECT step FROM metrics'",
    "advantage --run runs/x --compare grpo,rs_grpo:beta=8,fade",
    "fork runs/forked --run runs/x --step 0",
    "fork runs/otherwise --run runs/x --step 0 --reward auto",
    "export runs/x --out exported",
    "update --run runs/x --step 0 --tag again",
    "gc runs/x --dry-run",
    *(f"figure {kind} runs" for kind in ("passk", "training", "diversity", "frontier", "transitions", "weights")),
    "figure weights x=runs/x y=runs/y",
    "rm runs/x --yes",
)
"""Commands that call no function of the user's own, whatever the run says."""
REFUSED = ("figure weights", "figure diversity")
"""Without calling one the first has nothing to show; the second has no answers of what one has graded."""
NO_RUN = {"datasets", "recipes", "doctor", "demo", "bandit"}
ELSEWHERE = {"eval", "prepare", "rollout", "score", "sweep", "view"}
"""What `COMMANDS` has, what makes runs, and the page of `report --html` as a server."""


def test_looking_calls_nothing(cli: Cli, both: Path) -> None:
    assert {name for name, *_ in app.COMMANDS} == {line.split()[0] for line in LOOKING} | NO_RUN | ELSEWHERE
    for line in LOOKING:
        result = cli(*shlex.split(line))
        assert result.code == (2 if line.startswith(REFUSED) else 0), (line, result.err)
        assert not (both / "mark").exists(), line


def test_what_an_estimator_gives_is_drawn_on_demand_and_as_it_was(cli: Cli, both: Path) -> None:
    pytest.importorskip("matplotlib")
    refused = cli("figure", "weights", "runs/x")
    assert (refused.code, "to call the estimator function mine:middle" in refused.err) == (2, True), refused.err
    assert refused.err.rstrip().endswith("the same command with --trust")
    changed = cli("figure", "weights", "runs/x", "--trust")
    assert (changed.code, "mine:middle is not the one that run x was made with" in changed.err) == (1, True)
    (both / "mine.py").write_text(OWN)
    assert cli("figure", "weights", "runs/x", "--trust").code == 0
    assert cli("figure", "training", "runs/x").code == 0


def test_a_sweep_calls_only_what_it_names_itself(cli: Cli, tmp_path: Path, unasked: None) -> None:
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n{OWN}")
    settings = {"train.steps": 1, "rollout.group_size": 4}
    ((name, config),) = Sweep(tmp_path / "runs/s", Grid(settings).cells()).bases.items()
    RunDir.create(tmp_path / "runs/s" / name, override(config, {"score.reward": "mine:length"}))
    result = cli("sweep", "--name", "s", "--steps", "1", "--group-size", "4")
    assert (result.code, f"{name} of s is there with score.reward mine:length, not auto" in result.err) == (2, True)
    assert f"rsgrpo rm {Path('runs/s') / name}" in result.err
    assert not (tmp_path / "mark").exists()
    for reward, trusts in (("mine:length", True), ("auto", False)):
        jobs = Sweep(tmp_path / "runs/t", Grid(settings | {"score.reward": reward}).cells()).jobs()
        assert all(("--trust" in command) == trusts for job in jobs for command in job.commands)


def test_modules_in_a_run_directory_are_not_imported(own: Path) -> None:
    for name in ("json", "torch", "pyarrow", "sitecustomize", "mine", "numpy"):
        (own / f"{name}.py").write_text(f"open({str(own / 'mark')!r}, 'w').close()\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RSGRPO")}
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "rsgrpo_cli", "score", "--run", ".", "--step", "0", "--force", "--trust"]
    code = (
        f"import sys; sys.path.insert(0, {root!r}); import runpy; runpy.run_module('rsgrpo_cli', run_name='__main__')"
    )
    for words in (command, [sys.executable, "-P", "-c", code, *command[3:]]):
        done = subprocess.run(words, cwd=own, env=environment | {"PYTHONPATH": root}, capture_output=True, text=True)
        assert not (own / "mark").exists(), (words, done.stderr)
        assert "run directory is data" in done.stderr, done.stderr


# -- links -------------------------------------------------------------------------------------------------------------

WRITTEN = ("lock", "events.jsonl", "run.log", "metrics.parquet", "solved.parquet", "checked.parquet", "identity.json")


@pytest.mark.parametrize("name", [*WRITTEN, "steps/000002", "steps", "checkpoints", "evals", "benchmarks"])
def test_nothing_is_written_through_a_link(cli: Cli, trained: Path, tmp_path: Path, unasked: None, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place = trained / name
    if name.endswith((".parquet", ".json", ".jsonl", ".log")) or name == "lock":
        (outside / "precious").write_text("precious")
        place.unlink(missing_ok=True)
        place.symlink_to(outside / "precious")
    elif place.exists():
        shutil.move(place, outside / "moved")
        place.symlink_to(outside / "moved")
    else:
        place.symlink_to(outside)
    before = content(outside)
    for command in (["train", "--steps", "3"], ["eval", "-n", "1", "--k", "1"]):
        cli(*command, "--run", trained)
    assert content(outside) == before


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_link_that_leads_out_is_named_and_can_be_trusted(
    cli: Cli, trained: Path, tmp_path: Path, unasked: None
) -> None:
    shutil.move(trained / "checkpoints", tmp_path / "large")
    (trained / "checkpoints").symlink_to(tmp_path / "large")
    refused = cli("train", "--run", trained, "--steps", "3")
    assert (refused.code, "is a symbolic link out of the run" in refused.err) == (1, True), refused.err
    assert "symbolic link out of the run" in cli("verify", trained, "--no-load").out
    followed = cli("train", "--run", trained, "--steps", "3", "--trust")
    assert followed.code == 0, followed.err


@pytest.mark.parametrize(
    "name", ["checkpoints/000001", "steps/000001/advantages.parquet", "metrics.parquet", "run.log"]
)
@pytest.mark.parametrize("there", [True, False])
def test_all_say_the_same_of_a_link_and_it_works(
    cli: Cli, trained: Path, tmp_path: Path, unasked: None, name: str, there: bool
) -> None:
    link, target = trained / name, tmp_path / "elsewhere"
    link.rename(target)
    link.symlink_to(target if there else tmp_path / "nowhere")
    told = cli("verify", trained, "--no-load").out.splitlines()
    what, _, hint = told[0].partition(": remove it" if name == "run.log" or not there else ": if you made it: ")
    refused = " ".join(cli("train", "--run", trained, "--steps", "3").err.splitlines())
    assert what in refused
    assert hint.strip() in refused
    link.unlink()
    if there and name != "run.log":
        assert hint.startswith("put a copy of that in its place")
        assert len(told) == 1
        target.rename(link)
    else:
        for line in told[1:]:
            follow(cli, trained, line)
    assert cli("verify", trained).code == 0
    assert cli("train", "--run", trained, "--steps", "3").code == 0


# -- the terminal ------------------------------------------------------------------------------------------------------


def test_nothing_of_a_run_reaches_the_terminal_as_a_command(cli: Cli, trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    del config["check"]
    config["config"]["model"]["name"] = config["config"]["prepare"]["dataset"] = f"m{ESCAPES}"
    config["forked_from"] = {"run": f"r{ESCAPES}", "step": 0}
    (trained / "config.json").write_text(json.dumps(config))
    odd = trained.rename(trained.with_name(f"odd{ESCAPES.replace('/', '')}"))
    commands = (
        *(["status", "--run", odd], ["show", "--run", odd, "--prompt", "0"], ["report", odd], ["du", odd], ["ls"]),
        *(["diff", odd, odd], ["compare", odd, odd], ["verify", odd], ["fork", "runs/new", "--run", odd]),
        *(["train", "--run", odd], ["eval", "--run", odd], ["export", odd, "--out", "out"], ["plan", "--run", odd]),
        *(["gc", odd], ["rm", odd], ["watch", odd, "--once"], ["sql", odd, "SELECT 1"]),
    )
    for command in commands:
        result = cli(*command)
        shown = result.out + result.err
        assert visible(shown.replace("\n", "")) == shown.replace("\n", ""), (command, shown)
        assert "this is a bug" not in shown, (command, shown)
        if "odd" in shown and command[0] != "ls":
            assert not re.search(r"odd[^\n]*\x1b", shown)
