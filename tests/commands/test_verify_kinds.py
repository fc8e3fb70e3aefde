"""`verify` on runs in which something of another kind stands in a file's or a directory's place."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rsgrpo_cli.artifacts import Lineage, read_table, write_table
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import METRICS
from tests.conftest import SMALL, Cli

pytestmark = pytest.mark.usefixtures("unasked")


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


def test_findings_end_with_how_many_there_are_and_the_command_that_looks_again(cli: Cli, trained: Path) -> None:
    a_directory(trained / "identity.json")
    a_directory(trained / "solved.parquet")
    again = f"do what each says, then: rsgrpo verify {trained}"
    assert cli("verify", trained).err.splitlines() == [f"error: 2 findings in {trained}", f"  {again}"]
    copied = shutil.copytree(trained, trained.with_name("copied"))
    told = cli("verify", trained, copied, "--json")
    assert (told.code, told.json["error"]) == (1, "4 findings in 2 runs")
    assert len(told.json["runs"][0]["findings"]) == 2


@pytest.mark.parametrize("place", ["steps/000001", "metrics.parquet", "solved.parquet", "identity.json", "checkpoints"])
def test_what_was_deleted_is_missed_and_made_again_as_told(cli: Cli, trained: Path, tmp_path: Path, place: str) -> None:
    (trained / place).rename(tmp_path / "away")
    told = cli("verify", trained)
    assert told.code == 1
    assert place in told.out or "of step 1 are gone" in told.out
    for line in told.out.splitlines():
        assert cli(*line.partition("make it again: rsgrpo ")[2].split()).code == 0
    assert cli("verify", trained).code == 0


def test_a_policy_that_was_not_to_be_saved_yet_is_not_missed(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "runs/a"
    few = ("--steps", "3", "--checkpoint-every", "3", *SMALL)
    assert cli("train", "--run", "a", *few).code == 0
    shutil.rmtree(run / "checkpoints")
    metrics = read_table(run / "metrics.parquet", METRICS)
    write_table(run / "metrics.parquet", metrics.slice(0, 2), METRICS, Lineage("train", {}, {}))
    shutil.rmtree(run / "steps/000002")
    assert "is gone" not in cli("verify", "a").out


def test_a_checkpoint_that_was_the_newest_is_missed(cli: Cli, trained: Path, tmp_path: Path) -> None:
    (trained / "checkpoints/000002").rename(tmp_path / "away")
    told = cli("verify", trained).out
    assert (
        "checkpoints/000002 is gone: policy 2 was made, and neither it nor a later one has a checkpoint: make" in told
    )
    result = cli("eval", "--run", trained, "-n", "1", "--k", "1")
    newest = RunDir(trained).newest_version()
    assert f"policy 2 has no checkpoint; taking policy {newest}. To have it made again: --policy 2" in result.err


def test_a_step_beyond_the_run_is_moved_away(cli: Cli, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "steps/000001", trained / "steps/000007")
    told = cli("verify", trained).out
    assert "steps/000007 has the files of step 1: put it right: mv" in told
    (trained / "steps/000007").rename(tmp_path / "away")
    assert cli("verify", trained).code == 0
