"""Which steps need not be read again: those of which no file was touched."""

import os
import re
import shutil
from pathlib import Path

import pytest

from rsgrpo_cli import artifacts
from rsgrpo_cli.report.inspect import state
from rsgrpo_cli.run.checked_steps import CheckedSteps
from rsgrpo_cli.run.run_dir import RunDir
from tests import run_on_disk


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Four steps, all checked."""
    made = run_on_disk.new_run(tmp_path / "run")
    for step in range(4):
        run_on_disk.write_step(made, step, policy=f"policy {step}", made=f"policy {step + 1}")
    checked = CheckedSteps(made)
    for step in range(4):
        assert checked.note(step) == []
    checked.write()
    return made


def untouched(run: RunDir) -> set[int]:
    return CheckedSteps.read(run).untouched()


def test_nothing_of_an_untouched_step_is_read(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    assert untouched(run) == {0, 1, 2, 3}
    read = []
    footer = artifacts._footer

    def noted(path: Path, signature: tuple[int, int, int]) -> object:
        read.append(path)
        return footer(path, signature)

    monkeypatch.setattr(artifacts, "_footer", noted)
    assert state(str(run.path))["stale"] == []
    assert read
    assert not [path for path in read if "steps" in path.parts and "000003" not in path.parts]


@pytest.mark.parametrize(
    "name",
    ["rollouts/part-00000.parquet", "rewards/part-00000.parquet", "advantages.parquet", "rollouts/manifest.json"],
)
def test_a_touched_file_is_noticed_and_the_step_after_it_too(run: RunDir, name: str) -> None:
    path = run.step(1) / name
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert untouched(run) == {0, 3}
    path.unlink()
    assert untouched(run) == {0, 3}


def test_a_step_that_was_made_again_is_found_stale_by_its_content(run: RunDir) -> None:
    run_on_disk.write_update(run, 1, "another policy")
    assert untouched(run) == {0, 3}
    assert state(str(run.path))["stale"] == ["the rollouts of step 2 were made from another policy"]
    checked = CheckedSteps.read(run)
    assert checked.note(1) == []
    assert checked.note(2)
    checked.write()
    assert untouched(run) == {0, 1}


def test_a_step_with_settings_of_its_own_is_looked_at_every_time(run: RunDir) -> None:
    run_on_disk.write_advantages(run, 3, beta=7.0)
    run_on_disk.write_update(run, 3, "policy 4")
    checked = CheckedSteps.read(run)
    assert checked.note(3) == []
    checked.write()
    assert untouched(run) == {0, 1, 2}
    assert len(state(str(run.path))["departures"]) == 1


def test_other_settings_or_prompts_make_the_list_worthless(run: RunDir) -> None:
    config = re.sub(r',\n *"check".*', "", (run.path / "config.json").read_text())  # not sealed
    (run.path / "config.json").write_text(config.replace('"beta": 2.0', '"beta": 3.0'))
    assert untouched(run) == set()
    (run.path / "config.json").write_text(config.replace('"seed": 0', '"seed": 5'))
    assert untouched(run) == set()
    (run.path / "config.json").write_text(config)
    assert untouched(run) == {0, 1, 2, 3}
    run_on_disk.write_prompts(run, ["p-000001"])
    assert untouched(run) == set()


def test_a_copy_is_checked_anew(run: RunDir, tmp_path: Path) -> None:
    copy = shutil.copytree(run.path, tmp_path / "copy", copy_function=shutil.copy)
    assert untouched(RunDir(copy)) == set()
    assert state(str(copy))["stale"] == []


def test_a_damaged_list_is_named_and_no_step_is_trusted(run: RunDir) -> None:
    run.checked.write_bytes(b"PAR1 no")
    found = state(str(run.path))["stale"]
    assert len(found) == 1
    assert "checked.parquet is damaged" in found[0]
