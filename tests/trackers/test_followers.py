"""What trackers are sent of a run: every step and evaluation once, also after a restart."""

import csv
import errno
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.trackers.csv_files import CsvFiles
from rsgrpo_cli.trackers.follower import Follower
from rsgrpo_cli.trackers.ledger import Ledger
from tests.run_on_disk import write_evaluation
from tests.trackers.written import follow_once, tracked_run, write_steps


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return tracked_run(tmp_path / "run")


def rows(run: RunDir, name: str) -> list[dict[str, str]]:
    with open(run.path / "trackers" / "csv" / name, newline="") as file:
        return list(csv.DictReader(file))


def events(run: RunDir) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run.path / "trackers" / "tensorboard"), size_guidance={"tensors": 0})
    found.Reload()
    return found


def series(found: Any, name: str) -> list[tuple[int, Any]]:
    from tensorboard.util.tensor_util import make_ndarray

    return [(event.step, pytest.approx(make_ndarray(event.tensor_proto).item())) for event in found.Tensors(name)]


def test_csv_files_have_a_row_per_step_and_per_number_of_an_evaluation(run: RunDir) -> None:
    follow_once(run, "csv")
    assert [(row["step"], row["reward_mean"], row["pass@G"]) for row in rows(run, "metrics.csv")] == [
        ("0", "0.0", "0.5"),
        ("1", "0.1", "0.5"),
    ]
    first = rows(run, "evaluations.csv")[0]
    assert (first["policy"], first["benchmark"], first["metric"], first["k"]) == ("0", "toy", "pass", "1")
    assert float(first["ci_low"]) <= float(first["value"]) <= float(first["ci_high"])


def test_where_there_are_no_locks_a_tracker_follows_all_the_same(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    follow_once(run, "csv")
    assert [row["step"] for row in rows(run, "metrics.csv")] == ["0", "1"]


@pytest.mark.parametrize("name", ["csv", "tensorboard"])
def test_a_run_that_goes_on_continues_its_series(run: RunDir, name: str) -> None:
    follow_once(run, name)
    before = Ledger(run.path / "trackers" / f"{name}.json").sent
    write_steps(run, range(4))
    write_evaluation(run, 2, {"p-000001": [1, 1]})
    follow_once(run, name)
    follow_once(run, name)
    assert Ledger(run.path / "trackers" / f"{name}.json").sent.id == before.id
    if name == "csv":
        assert [row["step"] for row in rows(run, "metrics.csv")] == ["0", "1", "2", "3"]
        policies = [row["policy"] for row in rows(run, "evaluations.csv") if row["metric"] == "pass"]
        assert policies == sorted(policies)
        assert set(policies) == {"0", "2"}
    else:
        found = events(run)
        assert series(found, "train/reward_mean") == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]
        assert [step for step, _ in series(found, "eval/toy/pass@1/ci_low")] == [0, 2]
        assert [step for step, _ in series(found, "train/status/ok")] == [0, 1, 2, 3]
        assert len(found.Tensors("settings")) == 1
        assert b"| rollout.group_size | 16 |" in found.Tensors("settings")[0].tensor_proto.string_val[0]
        assert "train/grad_norm" not in found.Tags()["tensors"]  # which was not a number


def test_a_larger_evaluation_is_sent_again(run: RunDir) -> None:
    follow_once(run, "csv")
    known = len(rows(run, "evaluations.csv"))
    write_evaluation(run, 0, {"p-000001": [1, 1]})
    follow_once(run, "csv")
    assert len(rows(run, "evaluations.csv")) == 2 * known


def test_what_a_tracker_failed_on_is_sent_the_next_time(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    step = CsvFiles.step

    def fail(files: Any, number: int, row: Any) -> None:
        if number == 1:
            raise ConnectionError("gone")
        step(files, number, row)

    monkeypatch.setattr(CsvFiles, "step", fail)
    follower = Follower(run, "csv")
    with pytest.raises(ConnectionError):
        follower.look()
    follower.release()
    assert follower.ledger.sent.step == 0
    monkeypatch.setattr(CsvFiles, "step", step)
    follow_once(run, "csv")
    assert [row["step"] for row in rows(run, "metrics.csv")] == ["0", "1"]


def test_a_line_that_was_cut_short_is_written_whole_again(run: RunDir) -> None:
    follow_once(run, "csv")
    path = run.path / "trackers" / "csv" / "metrics.csv"
    path.write_text(path.read_text()[:-9])
    ledger = Ledger(run.path / "trackers" / "csv.json")
    with ledger.noting(step=0):
        pass
    follow_once(run, "csv")
    assert [(row["step"], row["pass@G"]) for row in rows(run, "metrics.csv")] == [("0", "0.5"), ("1", "0.5")]


def test_nothing_is_written_through_a_link(run: RunDir, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.path / "trackers").symlink_to(elsewhere)
    with pytest.raises(ArtifactError, match="symbolic link"):
        Follower(run, "csv")
    assert not list(elsewhere.rglob("*"))
