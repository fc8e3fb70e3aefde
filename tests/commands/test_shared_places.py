"""Other people's files, other commands and other file systems around a run."""

import errno
import fcntl
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rsgrpo_cli.config import resolve
from rsgrpo_cli.run.run_dir import RunDir
from tests.conftest import SMALL, Cli

EVAL = ["-n", "1", "--k", "1"]


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--run", ""],
        ["train", "--run", " ", "--dry-run"],
        ["prepare", "--run", ""],
        ["rollout", "--run", ""],
        ["eval", "--run", ""],
        ["status", "--run", ""],
        ["export", ""],
        ["fork", "", "--run", "runs/trained"],
        ["fork", "x", "--run", ""],
        ["compare", "", "runs/trained"],
        ["report", "", "@0"],
    ],
    ids=" ".join,
)
def test_an_empty_name_is_no_name(cli: Cli, trained: Path, command: list[str]) -> None:
    result = cli(*command)
    assert (result.code, "empty" in result.err) == (2, True), result.err
    assert [path.name for path in trained.parent.iterdir()] == ["trained"]


def test_an_empty_variable_is_no_name(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSGRPO_RUN", "")
    for command in (["train"], ["status"], ["export"], ["rollout"]):
        result = cli(*command)
        assert (result.code, "RSGRPO_RUN is set and empty" in result.err) == (2, True)
    assert cli("status", "--run", trained).code == 0


def test_foreign_files_are_ignored(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, *EVAL).code == 0
    part = next((trained / "evals/000002/toy/rollouts").glob("part-*"))
    shutil.copy(part, part.with_name(f"{part.stem} (copy).parquet"))
    first = trained / "steps/000000/rollouts/part-00000.parquet"
    shutil.copy(first, first.with_name("part-00000 (1).parquet"))
    for name in ("evals/.DS_Store", "steps/Thumbs.db", "evals/000002/.DS_Store", "checkpoints/000002/.DS_Store", "._x"):
        (trained / name).write_text("foreign")
    for name in ("evals/notes", "steps/foo", "checkpoints/best", "steps/²", "evals/000002/notes", "steps/7"):
        (trained / name).mkdir()
    for command in (
        ["status", "--run", trained],
        ["eval", "--run", trained, *EVAL],
        ["report", trained],
        ["fork", "runs/y", "--run", trained],
        ["train", "--run", trained, "--steps", "3"],
        ["export", trained, "--out", "out"],
        ["train", "--run", "runs/y", "--steps", "3"],
    ):
        result = cli(*command)
        assert result.code == 0, (command, result.err)
    assert (trained / "checkpoints/000002/.DS_Store").is_file()
    assert not list(Path("runs/y").rglob("*DS_Store")) + list(Path("out").rglob("*DS_Store"))


def test_half_a_fork_is_not_trained(cli: Cli, trained: Path) -> None:
    assert cli("fork", "runs/half", "--run", trained, "--step", "1", "--beta", "8").code == 0
    shutil.rmtree("runs/half/checkpoints")  # as versions that linked one file after another left it
    for command in ("train", "rollout", "eval"):
        result = cli(command, "--run", "runs/half")
        assert (result.code, "forked from trained at step 1, and policy 1 is not in it" in result.err) == (1, True)


def test_a_fork_that_fails_leaves_nothing(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("rsgrpo_cli.pipeline.forking.os.link", full)
    result = cli("fork", "runs/y", "--run", trained)
    assert (result.code, "no space left to write runs/y" in result.err) == (1, True)
    assert [path.name for path in trained.parent.iterdir()] == ["trained"]


def test_a_manifest_cannot_name_what_lies_outside(cli: Cli, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = trained / "checkpoints/000002/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] |= {"../../../../secret": 6}
    del manifest["check"]
    path.write_text(json.dumps(manifest))
    for command in (["fork", "runs/y", "--run", trained], ["export", trained, "--out", "out"]):
        result = cli(*command)
        assert (result.code, "outside its directory" in result.err) == (1, True), result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "secret"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(number, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    result = cli("train", "--run", trained, "--steps", "3")
    assert result.code == 0, result.err
    assert result.err.count("has no locks") == 1
    assert "one at a time" in result.err
    for command in (["fork", "runs/y", "--run", trained], ["export", trained, "--out", "out"]):
        assert cli(*command).code == 0


@pytest.mark.parametrize("name", ["lock", "events.jsonl"])
def test_a_link_in_a_run_directory_is_not_written_through(cli: Cli, trained: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (trained / name).unlink()
    (trained / name).symlink_to(tmp_path / "precious")
    result = cli("train", "--run", trained, "--steps", "3")
    assert (result.code, f"{name} is a symbolic link" in result.err) == (1, True), result.err
    assert (tmp_path / "precious").read_text() == "precious"


def test_two_starts_at_once_get_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = resolve({})
    start: Callable[[int], Path] = lambda _: RunDir.create(None, config).path  # noqa: E731
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(start, range(24)))
    assert len(set(paths)) == 24


def test_a_fork_copies_where_it_cannot_link(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_file_system(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("rsgrpo_cli.pipeline.forking.os.link", other_file_system)
    result = cli("fork", "runs/y", "--run", trained, "--step", "1")
    assert result.code == 0, result.err
    assert cli("train", "--run", "runs/y", "--steps", "2", *SMALL).code == 0
