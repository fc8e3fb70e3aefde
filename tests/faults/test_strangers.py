"""A run directory from a stranger: nothing in it is run, and nothing is written through it to somewhere else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rsgrpo_cli.console import visible
from tests.conftest import SMALL, Cli, run_quietly
from tests.faults.test_damage import follow

ESCAPES = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e[bold red]x[/bold red][/nothing]\r"
OWN = "def length(completions, **columns):\n    return [float(len(text) % 2) for text in completions]\n"


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As outside the tests, where nobody trusts a run."""
    monkeypatch.delenv("RSGRPO_TRUST")


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


COMMANDS = (
    ["train", "--steps", "2"],
    ["score", "--step", "0", "--force"],
    ["rollout", "--step", "1"],
    ["prepare", "--force"],
    ["eval", "-n", "1", "--k", "1"],
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


def test_looking_calls_nothing(cli: Cli, own: Path) -> None:
    for command in (
        ["status", "--run", own],
        ["report", own],
        ["show", "--run", own, "--prompt", "0"],
        ["verify", own],
    ):
        cli(*command)
    assert not (own.parents[1] / "mark").exists()


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
