"""`--config` on a run that is there: read, checked and compared as flags are."""

import json
from pathlib import Path

import pytest

from tests.conftest import Cli

FILE = """
seed = 0
[rollout]
group_size = 4
prompts_per_step = 8
[score]
workers = 1
[advantage]
beta = 2.0
[train]
steps = 2
checkpoint_every = 1
[eval]
k = [1, 4]
"""


@pytest.fixture
def run(cli: Cli, tmp_path: Path) -> Path:
    Path("a.toml").write_text(FILE)
    result = cli("train", "--run", "runs/x", "--config", "a.toml", "--steps", "1", "--lr", "0.001")
    assert result.code == 0, result.err
    return tmp_path / "runs/x"


def test_the_same_file_goes_on(cli: Cli, run: Path) -> None:
    result = cli("train", "--run", run, "--config", "a.toml", "--json")
    assert (result.code, result.json["steps"]) == (0, 2), result.err  # what may change is taken from the file
    assert json.loads((run / "config.json").read_text())["config"]["update"]["learning_rate"] == 0.001


def test_flags_win_over_the_file(cli: Cli, run: Path) -> None:
    assert cli("train", "--run", run, "--config", "a.toml", "--steps", "1", "--json").json["steps"] == 1


@pytest.mark.parametrize("command", ["train", "plan", "prepare"])
@pytest.mark.parametrize(
    ("old", "new", "code", "text"),
    [
        ("beta = 2.0", "beta = 8.0", 2, "was created with beta 2.0, not 8.0"),
        ("seed = 0", "seed = 3", 2, "was created with seed 0, not 3"),
        ("group_size = 4", "group_size = 1", 2, "rollout.group_size: must be at least 2"),
        ("beta = 2.0", "bita = 2.0", 2, "advantage.bita is not a setting"),
        ("[score]", "[scores]", 2, "scores"),
        ("[score]\nworkers = 1", "", 0, ""),
        ("seed = 0", "seed =", 2, "other.toml is not valid TOML"),
        ("seed = 0", "train = 5", 2, ""),
    ],
)
def test_another_file(cli: Cli, run: Path, command: str, old: str, new: str, code: int, text: str) -> None:
    assert old in FILE
    Path("other.toml").write_text(FILE.replace(old, new))
    result = cli(command, "--run", run, "--config", "other.toml")
    assert (result.code, text in result.err) == (code, True), result.err
    assert "bug" not in result.err
    missing = cli(command, "--run", run, "--config", "none.toml")
    assert (missing.code, "no configuration file at none.toml" in missing.err) == (1, True)


def test_a_section_that_is_none(cli: Cli, run: Path) -> None:
    Path("other.toml").write_text("train = 5\n")
    result = cli("train", "--run", run, "--config", "other.toml")
    assert (result.code, "train is a section of settings" in result.err) == (2, True), result.err


def test_another_runs_settings(cli: Cli, run: Path) -> None:
    result = cli("prepare", "--run", "runs/y", "--config", run / "config.json", "--set", "advantage.beta=8")
    assert result.code == 0, result.err
    first, second = (json.loads((path / "config.json").read_text())["config"] for path in (run, run.parent / "y"))
    assert second["advantage"].pop("beta") == 8.0
    assert first["advantage"].pop("beta") == 2.0
    assert first == second


@pytest.mark.parametrize("text", ["{", '{"config": 3}', "[]"])
def test_json_that_is_no_runs_configuration(cli: Cli, text: str) -> None:
    Path("other.json").write_text(text)
    result = cli("prepare", "--run", "runs/y", "--config", "other.json")
    assert result.code == 2
    assert "other.json is not" in result.err
    assert not Path("runs/y").exists()


@pytest.mark.parametrize(
    ("content", "hint"),
    [(b"[train", "rsgrpo recipes toy"), (b"seed = 1\nseed = 2\n", "rsgrpo recipes toy"), (b"# \xe9\n", "as UTF-8")],
)
def test_a_file_that_cannot_be_parsed_has_a_next_step(cli: Cli, content: bytes, hint: str) -> None:
    Path("bad.toml").write_bytes(content)
    result = cli("train", "--config", "bad.toml", "--json")
    assert (result.code, hint in result.json["hint"]) == (2, True), result.err


def test_a_folder_is_not_a_file_of_settings(cli: Cli) -> None:
    Path("settings").mkdir()
    (Path("settings") / "mine.toml").touch()
    result = cli("train", "--config", "settings")
    told = "error: settings is a folder, not a configuration file\n  there: settings/mine.toml\n"
    assert (result.code, result.err) == (2, told)
