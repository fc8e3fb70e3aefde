"""Folders of steps that hold the files of another step: one finding, whose one line puts it right."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import Cli


def exchange(steps: Path) -> str:
    os.rename(steps / "000000", steps / "other")
    os.rename(steps / "000001", steps / "000000")
    os.rename(steps / "other", steps / "000001")
    return "has the files of step 1, {steps}/000001 has the files of step 0"


def shift(steps: Path) -> str:
    shutil.rmtree(steps / "000000")
    os.rename(steps / "000001", steps / "000000")
    return "has the files of step 1"


def copy(steps: Path) -> str:
    shutil.rmtree(steps / "000000")
    shutil.copytree(steps / "000001", steps / "000000")
    return "has the files of step 1"


def copy_beyond(steps: Path) -> str:
    shutil.copytree(steps / "000001", steps / "000007")
    return "{steps}/000007 has the files of step 1"


def do(cli: Cli, line: str) -> None:
    """Run a line of commands, as a shell would."""
    for command in line.split(" && "):
        name, *arguments = shlex.split(command)
        if name == "mv":
            place, to = arguments
            assert not Path(to).exists()
            os.rename(place, to)
        else:
            assert name == "rsgrpo"
            result = cli(*arguments)
            assert result.code == 0, (command, result.err)


@pytest.mark.parametrize("mistake", [exchange, shift, copy, copy_beyond])
def test_one_line_puts_folders_right(cli: Cli, trained: Path, mistake: object) -> None:
    assert callable(mistake)
    what = mistake(trained / "steps").format(steps=trained / "steps")
    found = cli("verify", trained, "--json")
    assert found.code == 1
    (finding,) = found.json["runs"][0]["findings"]
    assert finding["what"].endswith(what)
    start, _, line = finding["hint"].partition(": ")
    assert start == "put it right"
    assert ("rsgrpo" in line) == (mistake in (shift, copy)), line
    do(cli, line)
    assert cli("verify", trained).code == 0


def test_the_files_of_another_run_are_not_put_anywhere(cli: Cli, trained: Path, tmp_path: Path) -> None:
    """They have the number of a step whose folder is gone, but are of another policy."""
    steps = trained / "steps"
    forked = cli("fork", "branch", "--run", trained, "--step", "0", "--set", "update.learning_rate=0.002")
    assert forked.code == 0, forked.err
    assert cli("train", "--run", "branch", "--steps", "2").code == 0
    for number in (0, 1):
        shutil.rmtree(steps / f"00000{number}")
        shutil.copytree(tmp_path / "runs/branch/steps" / f"00000{1 - number}", steps / f"00000{number}")
    (finding,) = cli("verify", trained, "--json").json["runs"][0]["findings"]
    line = finding["hint"].partition(": ")[2]
    moves = [shlex.split(command)[2] for command in line.split(" && ") if command.startswith("mv ")]
    assert moves == [f"{steps}/00000{number}.aside" for number in (0, 1)]
    do(cli, line)
    assert cli("verify", trained).code == 0


def test_one_file_of_another_step_is_no_folder_of_it(cli: Cli, trained: Path) -> None:
    name = "rollouts/part-00000.parquet"
    shutil.copyfile(trained / "steps/000001" / name, trained / "steps/000000" / name)
    assert "has the files of" not in cli("verify", trained).out
