"""`train --tracker`: trackers in processes of their own, whatever these do."""

import csv
import hashlib
import json
from pathlib import Path

import pytest

from rsgrpo_cli.bundled import bundled_data
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies.grid import Grid, split_axes
from rsgrpo_cli.studies.sweep import Sweep
from rsgrpo_cli.trackers import registry, tracking
from tests.conftest import SMALL, Cli

FAKE = {
    "says no": "def init(**settings):\n    raise ConnectionError('no way to the server')",
    "ends its process": "import os\ndef init(**settings):\n    os._exit(3)",
    "hangs": "import time\ndef init(**settings):\n    time.sleep(3600)",
    "cannot be imported": "import a_package_that_is_not_there",
}
WORKING = """
import json, os
class Run:
    def __init__(self, settings): self.put("init", settings)
    def put(self, what, values, step=None):
        with open(os.environ["FAKE_LOG"], "a") as file: print(json.dumps([what, step, values]), file=file)
    def define_metric(self, name, **more): pass
    def log(self, values, step): self.put("log", values, step)
    def finish(self): print("printed by the tracker"); self.put("finish", {})
def init(**settings): return Run(settings)
def teardown(): pass
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is."""
    monkeypatch.setattr(tracking, "END_SECONDS", 500.0)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A package called wandb that this process and those that it starts find first."""
    folder.mkdir()
    (folder / "wandb.py").write_text(source)
    monkeypatch.syspath_prepend(folder)


def tables(run: Path) -> dict[str, str]:
    """Hash of every artifact and weight of a run's steps; the times are in metrics.parquet alone."""
    files = [*run.glob("steps/**/*.parquet"), *run.glob("checkpoints/**/*.safetensors")]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def test_a_run_is_tracked_resumed_and_the_same_as_without(cli: Cli, trained: Path, tmp_path: Path) -> None:
    assert cli("train", "--run", "tracked", "--steps", "1", *SMALL, "--tracker", "csv,csv").code == 0
    assert cli("train", "--run", "tracked", "--steps", "2").code == 0
    run = tmp_path / "runs" / "tracked"
    with open(run / "trackers" / "csv" / "metrics.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "1"]
    assert tables(run) == tables(trained)
    assert tables(run)


def test_a_finished_run_can_be_sent_later(cli: Cli, trained: Path) -> None:
    assert cli("train", "--run", trained, "--tracker", "csv", "--tracker", "csv").code == 0
    assert len((trained / "trackers" / "csv" / "metrics.csv").read_text().splitlines()) == 3


def test_what_wandb_gets(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "fake", monkeypatch, WORKING)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    few = (bundled_data() / "puzzles_test.jsonl").read_text().splitlines()[:4]
    (tmp_path / "few.jsonl").write_text("\n".join(few))
    evaluated = ["--eval-every", "1", "--benchmark", "few.jsonl", "--reward", "countdown", "-n", "2", "--k", "1,2"]
    result = cli("train", "--run", "a", "--steps", "1", *SMALL, *evaluated, "--tracker", "wandb", "--json")
    assert "printed by" not in result.out
    assert result.json["steps"] == 1
    assert cli("train", "--run", "a", "--steps", "2").code == 0
    said = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    first, second = (values for what, _, values in said if what == "init")
    assert (first["id"], first["resume"], first["name"], first["project"]) == (second["id"], "allow", "a", "rsgrpo")
    assert first["config"]["rollout.group_size"] == 4
    logged = [(step, "train/reward_mean" in values, "eval/few/pass@2/ci_low" in values) for what, step, values in said]
    assert sorted(entry for entry in logged if entry[1] or entry[2]) == [
        *((0, False, True), (0, True, False), (1, False, True), (1, True, False), (2, False, True))
    ]


@pytest.mark.parametrize("kind", FAKE)
def test_a_tracker_that_fails_does_not_stop_the_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    install(tmp_path / "fake", monkeypatch, FAKE[kind])
    if kind == "hangs":
        monkeypatch.setattr(tracking, "END_SECONDS", 0.5)
    result = cli("train", "--run", "a", "--steps", "2", *SMALL, "--tracker", "wandb")
    assert result.code == 0
    assert "2 steps done" in result.out
    assert result.err.count("the tracker wandb failed") == 1
    assert "rsgrpo train --run runs/a --tracker wandb" in " ".join(result.err.split())


def test_nothing_stays_open_of_a_tracker_that_ends_early(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "fake", monkeypatch, FAKE["ends its process"])
    said: list[str] = []
    watched = tracking.Tracking(RunDir(trained), ["wandb"], said.append)
    watched.look()
    assert watched._processes is not None
    (process,) = watched._processes.values()
    process.wait()
    watched.look()
    assert process.stdin is not None
    assert process.stdout is not None
    assert (process.stdin.closed, process.stdout.closed, len(said)) == (True, True, 1)


def test_a_folder_that_cannot_be_written_does_not_stop_the_run(cli: Cli, trained: Path) -> None:
    (trained / "trackers").write_text("a file where a folder should be")
    result = cli("train", "--run", trained, "--steps", "3", "--tracker", "csv")
    assert (result.code, result.err.count("the tracker csv failed")) == (0, 1)


def test_a_package_that_is_missing_is_named_before_there_is_a_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda package: None)
    for command in (["train", "--run", "a"], ["sweep", "--name", "a", "--seeds", "0,1"]):
        result = cli(*command, "--tracker", "mlflow")
        assert result.code == 1
        assert result.err.splitlines()[-2:] == [
            "error: the tracker mlflow needs the package mlflow",
            "  pip install mlflow",
        ]
    assert not (tmp_path / "runs").exists()


def test_a_name_that_is_no_tracker_is_refused(cli: Cli) -> None:
    result = cli("train", "--run", "a", "--tracker", "csv,neptune")
    assert result.code == 2
    assert "neptune" in result.err


def test_a_run_that_fails_at_once_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "--run", "a", "--dataset", "nowhere.jsonl", "--tracker", "csv").code != 0
    assert not (tmp_path / "runs" / "a").exists()


def test_a_sweep_hands_its_trackers_to_every_run(tmp_path: Path) -> None:
    cells = Grid({"train.tracker": "csv,wandb"}, {"advantage.beta": [0, 2]}, seeds=(0,)).cells()
    jobs = [job for job in Sweep(tmp_path / "s", cells).jobs() if not job.name.startswith("base")]
    assert [job.commands[0][-2:] for job in jobs] == [["--tracker", "csv,wandb"]] * 2


def test_several_trackers_are_no_axis_and_no_other_sweep(tmp_path: Path) -> None:
    settings, axes = split_axes({"train.tracker": "csv,wandb", "advantage.beta": "0,2"})
    assert (list(settings), list(axes)) == (["train.tracker"], ["advantage.beta"])
    (cell,) = Grid({"train.steps": 1}).cells()
    RunDir.create(tmp_path / "s" / cell.name, cell.config)
    (tracked,) = Grid({"train.steps": 1, "train.tracker": "csv"}).cells()
    assert not Sweep(tmp_path / "s", [tracked]).is_done(tracked)  # and it is not refused as another run


def test_a_removed_run_takes_what_its_trackers_wrote(cli: Cli, trained: Path) -> None:
    assert cli("train", "--run", trained, "--tracker", "csv").code == 0
    links = trained / "trackers" / "wandb"
    links.mkdir()
    (links / "latest-run").symlink_to("offline-run-1")
    assert cli("rm", trained, "--yes").code == 0
    assert not trained.exists()
