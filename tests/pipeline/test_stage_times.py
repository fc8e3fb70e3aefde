"""What the log says that a stage took."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli import activity
from rsgrpo_cli.config import resolve
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import Interrupted
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import carry_out
from rsgrpo_cli.pipeline.stopping import StopSignal
from rsgrpo_cli.run.run_dir import RunDir
from tests import run_on_disk
from tests.conftest import Cli


def test_what_is_loaded_on_the_way_is_no_time_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
    monkeypatch.setattr("rsgrpo_cli.activity.time", clock)
    monkeypatch.setattr("rsgrpo_cli.pipeline.stage.time", clock)

    def work() -> dict[str, Any]:
        now[0] += 2.0
        with activity.starting("loading a policy"):
            now[0] += 30.0
            with activity.starting("loading its tokenizer"):  # counts once
                now[0] += 5.0
        now[0] += 1.0
        return {}

    run = run_on_disk.new_run(tmp_path / "run")
    with Session(run, resolve({}), Output(), StopSignal(), trust=False) as session:
        outcome = carry_out(session, "update", tmp_path, work, {"step": 0})
        assert outcome.seconds == 3.0
        assert session.timings == {0: {"update": 3.0}}
        carry_out(session, "update", tmp_path, dict, {"step": 1})
    told = [(event["stage"], event["seconds"]) for event in run.recorded()]
    assert told == [("start", 35.0), ("update", 3.0), ("update", 0.0)]


@pytest.mark.parametrize("stopped", [Interrupted("stopped"), KeyboardInterrupt()])
def test_what_was_stopped_in_the_middle_has_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: BaseException
) -> None:
    now = [100.0]
    monkeypatch.setattr("rsgrpo_cli.pipeline.stage.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def work() -> dict[str, Any]:
        now[0] += 4.0
        raise stopped

    run = run_on_disk.new_run(tmp_path / "run")
    with Session(run, resolve({}), Output(), StopSignal(), trust=False) as session:
        with pytest.raises(type(stopped)):
            carry_out(session, "update", tmp_path, work, {"step": 0})
        assert session.timings == {}  # it is no time of the step, which is done again
    assert [(event["stage"], event["seconds"]) for event in run.recorded()] == [("interrupted", 4.0)]


def test_an_experiment_with_a_tag_is_no_time_of_the_run(cli: Cli, trained: Path) -> None:
    def seconds() -> dict[str, float]:
        found = cli("status", "--run", trained, "--json").json["seconds"]
        return {stage: found[stage] for stage in ("rollout", "score", "advantage", "update")}

    before = seconds()
    where = ("--run", trained, "--step", "1")
    assert cli("rollout", *where, "--temperature", "0.5", "--tag", "x").code == 0
    assert cli("advantage", *where, "--beta", "8", "--tag", "x").code == 0
    assert cli("update", *where, "--advantages", "x", "--tag", "x").code == 0
    assert cli("eval", "--run", trained, "--policy", "2.x", "-n", "1", "--k", "1").code == 0
    assert seconds() == before
    assert "eval" not in cli("status", "--run", trained, "--json").json["seconds"]
    told = cli("status", trained).out
    assert "more for what has a tag, beside the run: x " in told
    assert cli("score", *where, "--tag", "y", "--retry", "wrong").code != 0  # there is nothing to try again yet
    assert cli("score", *where, "--tag", "y").code == 0
    logged = [(event["stage"], event.get("tag")) for event in RunDir(trained).recorded()]
    assert logged[-1] == ("score", "y")
    assert {tag for stage, tag in logged if stage in ("eval", "prepare")} >= {"x"}
    # Nor does a step take as long as its experiments.
    assert cli("train", "--run", trained, "--steps", "3").code == 0
    taken = pq.read_table(trained / "metrics.parquet")["seconds_advantage"].to_pylist()
    events = [e for e in RunDir(trained).recorded() if e["stage"] == "advantage" and "tag" not in e]
    assert taken == pytest.approx([event["seconds"] for event in events], abs=1e-3)
