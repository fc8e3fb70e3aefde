"""The disk is full from the nth write until the process ends, also while it cleans up. Then there is space again."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL, Cli
from tests.faults.damages import LONG
from tests.integration.test_killed import content

TRAIN = ["train", "--run", "runs/x", "--steps", "3", "--eval-every", "3", "-n", "1", "--k", "1", *SMALL]
TRAIN += ["--set", "train.keep_checkpoints=1", "--benchmark", "few.jsonl"]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Disk:
    """Counts what needs space, and refuses it from a number on.

    Args:
        full_from: The first write that fails, from 1.
    """

    def __init__(self, patched: pytest.MonkeyPatch, full_from: int | None = None) -> None:
        self.writes, self.full_from = 0, full_from
        for module, name in (
            (os, "open"),
            (os, "mkdir"),
            (os, "link"),
            (os, "fsync"),
            (builtins, "open"),
            (io, "open"),
        ):
            patched.setattr(module, name, self._counting(getattr(module, name)))

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if _needs_space(function.__name__, arguments, options):
                self.writes += 1
                if self.full_from is not None and self.writes >= self.full_from:
                    raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))
            return function(*arguments, **options)

        return call


def _needs_space(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
    place = str(arguments[0])
    if "/dev/" in place or place.endswith((".lock", "/lock")):
        return False
    if name != "open":
        return True
    how = options.get("mode", options.get("flags", arguments[1] if len(arguments) > 1 else "r"))
    return bool(how & WRITING) if isinstance(how, int) else any(letter in how for letter in "wax+")


@pytest.fixture
def whole(cli: Cli, tmp_path: Path) -> dict[str, bytes]:
    """What a run leaves that always has space."""
    (tmp_path / "few.jsonl").write_text('{"problem": "What is 1+1?", "answer": 2}\n')
    assert cli(*TRAIN).code == 0
    made = content(tmp_path / "runs/x")
    shutil.rmtree(tmp_path / "runs")
    return made


def check_full(cli: Cli, tmp_path: Path, whole: dict[str, bytes], full_from: int) -> bool:
    """Run on a disk that fills up, then on one with space; whether it filled up."""
    with pytest.MonkeyPatch.context() as patched:
        disk = Disk(patched, full_from)
        result = cli(*TRAIN)
    where = f"full from write {full_from}: {result.err}"
    assert result.code in (0, 1), where
    assert "Traceback" not in result.err, where
    assert "this is a bug" not in result.err, where
    filled = disk.writes >= full_from
    if result.code:
        assert "no space left" in result.err.lower(), where
        assert "space" in result.err.splitlines()[-1], where
    again = cli(*TRAIN)
    assert again.code == 0, (where, again.err)
    found = content(tmp_path / "runs/x")
    leftovers = {name for name in found if any(part.startswith(".") for part in name.split("/"))}
    assert {name: found[name] for name in found.keys() - leftovers} == whole, where
    shutil.rmtree(tmp_path / "runs")
    return filled


@pytest.mark.parametrize("share", [0.4])
def test_a_full_disk(cli: Cli, tmp_path: Path, whole: dict[str, bytes], share: float) -> None:
    with pytest.MonkeyPatch.context() as patched:
        disk = Disk(patched)
        assert cli(*TRAIN).code == 0
    shutil.rmtree(tmp_path / "runs")
    assert disk.writes > 100
    assert check_full(cli, tmp_path, whole, max(1, int(disk.writes * share)))


@LONG
@pytest.mark.slow
def test_a_disk_that_is_full_at_every_point(cli: Cli, tmp_path: Path, whole: dict[str, bytes]) -> None:
    full_from = 1
    while check_full(cli, tmp_path, whole, full_from):
        full_from += 3 if full_from < 30 else 11
    assert full_from > 100
