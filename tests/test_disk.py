import errno
import os
from pathlib import Path

import pytest

from rsgrpo_cli import disk
from rsgrpo_cli.errors import ArtifactError


def test_only_what_this_process_made_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("precious")
    since = disk.mark()
    for name in ("there/a", "there/deep/b", "new/c"):
        disk.write_atomically(tmp_path / name, lambda file: file.write(b"x"))
    (tmp_path / "there/deep/mine.txt").write_text("precious")
    disk.take_back(tmp_path, since)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["there", "there/deep", "there/deep/mine.txt", "there/mine.txt"]


def test_what_was_there_before_is_not_taken_back(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    since = disk.mark()
    disk.write_atomically(tmp_path / "a", lambda file: file.write(b"new"))
    disk.take_back(tmp_path, since)
    assert (tmp_path / "a").read_text() == "new"


def test_an_exclusive_file_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    disk.write_exclusively(tmp_path / "a", lambda file: file.write(b"first"))
    with pytest.raises(FileExistsError):
        disk.write_exclusively(tmp_path / "a", lambda file: file.write(b"second"))
    monkeypatch.setattr(os, "link", unsupported)
    with pytest.raises(FileExistsError):
        disk.write_exclusively(tmp_path / "a", lambda file: file.write(b"third"))
    disk.write_exclusively(tmp_path / "b", lambda file: file.write(b"first"))
    assert [(path.name, path.read_bytes()) for path in sorted(tmp_path.iterdir())] == [("a", b"first"), ("b", b"first")]


@pytest.mark.parametrize("name", ["a", "dangling"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / name)
    with pytest.raises(ArtifactError, match="is a symbolic link"):
        disk.open_own(tmp_path / "link", os.O_WRONLY)
    disk.write_atomically(tmp_path / "link", lambda file: file.write(b"new"))  # the link itself is replaced
    assert (tmp_path / "a").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "link"]


def test_a_workshop_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with disk.workshop(tmp_path / "out") as folder:
            (folder / "half").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())


def test_leftovers_go_by_their_names_and_not_while_somebody_builds(tmp_path: Path) -> None:
    dead = tmp_path / ".out.0123abcd.partial"
    for name in ("weights", "deep/a", "deep/mine.txt"):
        (dead / name).parent.mkdir(parents=True, exist_ok=True)
        (dead / name).write_text("x")
    (tmp_path / ".out.partial").mkdir()  # not a name that a workshop has
    with disk.workshop(tmp_path / "out") as alive:
        (alive / "weights").write_text("x")
        disk.clear_leftovers(tmp_path / "out", ["weights", "deep/a"])
        assert (alive / "weights").is_file()
    left = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))]
    kept = [".out.0123abcd.partial", ".out.0123abcd.partial/deep", ".out.0123abcd.partial/deep/mine.txt"]
    assert left == [*kept, ".out.partial"]
