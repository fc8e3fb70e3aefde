"""`verify` on runs in which something of another kind stands in a file's or a directory's place."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rsgrpo_cli.run_dir import RunDir
from tests.conftest import Cli


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("x")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("place", "change", "told"),
    [
        ("checkpoints/000002", a_file, "is a file where a directory belongs"),
        ("prompts.parquet", a_directory, "is a directory where a file belongs"),
        ("solved.parquet", a_pipe, "is neither a file nor a directory"),
        ("identity.json", a_directory, "is a directory where a file belongs"),
    ],
)
def test_what_is_of_another_kind_is_named_and_then_what_is_gone(
    cli: Cli, trained: Path, tmp_path: Path, place: str, change: Callable[[Path], None], told: str
) -> None:
    assert cli("verify", trained).code == 0
    change(trained / place)
    result = cli("verify", trained)
    assert result.code == 1
    assert f"{place} {told}: move it away, then: rsgrpo verify" in result.out
    (trained / place).rename(tmp_path / "away")
    gone = cli("verify", trained)
    if gone.code:
        hint = gone.out.partition("make it again: rsgrpo ")[2].split()
        assert cli(*hint).code == 0
    assert cli("verify", trained).code == 0


def test_a_checkpoint_that_was_the_newest_is_missed(cli: Cli, trained: Path, tmp_path: Path) -> None:
    (trained / "checkpoints/000002").rename(tmp_path / "away")
    told = cli("verify", trained).out
    assert "checkpoints/000002 is gone: no checkpoint of the newest policy is left: make it again: rsgrpo train" in told
    result = cli("eval", "--run", trained, "-n", "1", "--k", "1")
    newest = RunDir(trained).newest_version()
    assert f"policy 2 has no checkpoint; taking policy {newest}. To have it made again: --policy 2" in result.err


def test_a_step_beyond_the_run_is_moved_away(cli: Cli, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "steps/000001", trained / "steps/000007")
    told = cli("verify", trained).out
    assert "steps/000007 is of policy 7, which the run does not have: move it away, then: rsgrpo verify" in told
    (trained / "steps/000007").rename(tmp_path / "away")
    assert cli("verify", trained).code == 0
