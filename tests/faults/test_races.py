"""Two processes that start a run under one name, twenty times: neither overwrites the other. A fork in its source."""

from __future__ import annotations

import json
import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.run.run_dir import RunDir
from tests.conftest import Cli
from tests.faults.damages import files_of

RACES = 20


def start_many(folder: Path, seed: int, together: Barrier) -> None:
    """Start runs at the same moments as the other process; leave a list of what became of each."""
    os.chdir(folder)
    became = []
    for race in range(RACES):
        together.wait(timeout=120)
        try:
            RunDir.create(Path(f"runs/named-{race}"), resolve({"seed": seed}))
            named = "made"
        except UsageError as error:
            named = error.message
        became.append((named, RunDir.create(None, resolve({"seed": seed})).path.name))
    Path(f"{seed}.json").write_text(json.dumps(became))


def test_two_processes_want_one_name(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=start_many, args=(tmp_path, seed, together)) for seed in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=240)
        assert process.exitcode == 0
    both = [json.loads((tmp_path / f"{seed}.json").read_text()) for seed in (0, 1)]
    for race, named in enumerate(zip(*([one[0] for one in of_seed] for of_seed in both), strict=True)):
        assert sorted(named) == ["made", f"runs/named-{race} is a run already"]
        config = json.loads((tmp_path / f"runs/named-{race}/config.json").read_text())["config"]
        assert named[config["seed"]] == "made"
    unnamed = [one[1] for of_seed in both for one in of_seed]
    assert len(set(unnamed)) == 2 * RACES
    for seed, of_seed in enumerate(both):
        for _, name in of_seed:
            assert json.loads((tmp_path / f"runs/{name}/config.json").read_text())["config"]["seed"] == seed


@pytest.mark.parametrize("place", ["", "inner", "steps/000009", "link/inner"])
def test_a_fork_into_its_own_source_is_refused(cli: Cli, trained: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to(trained, target_is_directory=True)
    before = {name: (trained / name).read_bytes() for name in files_of(trained)}
    target = tmp_path / place if place.startswith("link") else trained / place
    result = cli("fork", target, "--run", trained, "--step", "1")
    assert (result.code, result.out) == (2, "")
    assert "is a run already" in result.err or f"lies inside run {trained.name}" in result.err
    assert {name: (trained / name).read_bytes() for name in files_of(trained)} == before
