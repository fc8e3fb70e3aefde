"""`rsgrpo gc`: what may go, and that nothing goes that resuming needs."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.console import Output
from rsgrpo_cli.pipeline.tidying import candidates, remove
from rsgrpo_cli.run.run_dir import RunDir
from tests.conftest import SMALL, Cli


@pytest.fixture
def run(trained: Path) -> RunDir:
    """Two steps and both of their checkpoints."""
    return RunDir(trained)


def test_only_what_can_be_made_again_is_offered(run: RunDir) -> None:
    (found,) = candidates(run, Output())
    files = [path for path in run.checkpoint(1).rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert (found.kind, found.what, list(found.paths)) == ("checkpoints", "checkpoint 1", [run.checkpoint(1)])
    assert "rebuild it from the base model: 1 update" in found.lost
    assert found.bytes == sum(path.stat().st_size for path in files)


def test_a_checkpoint_that_cannot_be_rebuilt_stays(run: RunDir) -> None:
    next(run.rollouts(0).glob("part-*")).unlink()
    assert candidates(run, Output()) == []


def test_what_a_tagged_update_made_may_go_while_it_can_be_made_again(cli: Cli, run: RunDir) -> None:
    where = ("--run", run.path, "--step", "1")
    assert cli("advantage", *where, "--beta", "8", "--tag", "b8").code == 0
    assert cli("update", *where, "--advantages", "b8", "--tag", "b8").code == 0
    weights = run.path / "checkpoints/000002.b8/model.safetensors"
    made = weights.read_bytes()
    data = cli("gc", run.path, "--dry-run", "--json").json
    assert [one["what"] for one in data["candidates"]] == ["checkpoint 1", "checkpoint 2.b8"]
    assert "rebuild it from the base model: 2 updates" in data["candidates"][1]["lost"]
    assert data["candidates"][1]["bytes"] > len(made)
    assert list(cli("gc", run.path, "--dry-run", "--rollouts", "--json").json["kept"]) == ["2.b8"]
    advantages = run.advantages(1, "b8")
    hidden = advantages.rename(advantages.with_name("hidden"))
    assert "policy 2.b8 stays" in cli("gc", run.path, "--dry-run").out
    hidden.rename(advantages)
    assert cli("gc", run.path, "--yes").code == 0
    assert not weights.exists()
    assert cli("verify", run.path).code == 0
    assert cli("export", "--run", run.path, "--policy", "2.b8", "--out", "again").code == 0
    assert Path("again/model.safetensors").read_bytes() == made


def test_with_the_rollouts_the_checkpoints_stay(run: RunDir) -> None:
    said, found = candidates(run, Output(), rollouts=True)
    assert found.kind == "rollouts"
    assert {path.parent for path in found.paths} == {run.rollouts(0), run.rollouts(1)}
    assert said.paths == [run.policy_logprobs(0), run.policy_logprobs(1)]  # of completions that go


def test_a_step_that_is_not_done_keeps_all(cli: Cli, run: RunDir) -> None:
    assert cli("rollout", "--run", run.path).code == 0
    _, found = candidates(run, Output(), rollouts=True)
    assert run.rollouts(2) not in {path.parent for path in found.paths}


def test_what_is_not_ours_or_shared_is_not_counted(run: RunDir, tmp_path: Path) -> None:
    ours = next(run.rollouts(0).glob("part-*"))
    (run.rollouts(0) / "part-00009.parquet").write_text("a user's own")
    os.link(ours, tmp_path / "shared")
    _, found = candidates(run, Output(), rollouts=True)
    assert "part-00009.parquet" not in {path.name for path in found.paths}
    assert found.bytes == next(run.rollouts(1).glob("part-*")).stat().st_size


@pytest.mark.parametrize("flags", [[], ["--minibatches", "2"]])
def test_log_probabilities_of_finished_updates_go_if_asked_for(cli: Cli, flags: list[str]) -> None:
    assert cli("train", "--run", "runs/m", "--steps", "2", *SMALL, *flags).code == 0
    run = RunDir(Path("runs/m"))
    assert [one.kind for one in candidates(run, Output())] == ["checkpoints"]
    listed = cli("gc", run.path, "--logprobs", "--dry-run").out
    assert "token log-probabilities of 2 finished steps" in listed
    found = candidates(run, Output(), logprobs=True)
    assert [one.kind for one in found] == ["log-probabilities", "checkpoints"]
    assert remove(found) == sum(one.bytes for one in found)
    assert cli("verify", run.path).code == 0
    assert (run.policy_logprobs(0).exists(), run.versions()) == (False, [2])
    assert cli("status", "--run", run.path, "--json").json["stale"] == []
    assert cli("eval", "--run", run.path, "--policy", "1", "-n", "1", "--k", "1").code == 0  # rebuilt


@pytest.mark.parametrize("flags", [["--rollouts"], ["--logprobs"], []])
def test_a_run_goes_on_as_if_nothing_had_gone(cli: Cli, run: RunDir, flags: list[str], tmp_path: Path) -> None:
    whole = tmp_path / "runs" / "whole"
    assert cli("train", "--run", whole, "--steps", "3", *SMALL).code == 0
    assert cli("gc", run.path, *flags, "--yes", "--json").json["removed"] is True
    result = cli("train", "--run", run.path, "--steps", "3")
    assert (result.code, "warning" in result.err) == (0, False), result.err
    for name in ("steps/000002/rollouts/part-00000.parquet", "steps/000002/update_metrics.parquet"):
        assert pq.read_table(run.path / name).equals(pq.read_table(whole / name))
    metrics = [pq.read_table(path / "metrics.parquet")["cumulative_solve_rate"] for path in (run.path, whole)]
    assert metrics[0].equals(metrics[1])


def test_nobody_to_ask_removes_nothing(cli: Cli, run: RunDir) -> None:
    for flags in ([], ["--dry-run"], ["--dry-run", "--yes"], ["--json"]):
        result = cli("gc", run.path, *flags)
        assert result.code == 0
        assert "nothing was removed" in result.out or '"removed": false' in result.out
    assert run.versions() == [1, 2]


def test_a_run_at_work_is_left_alone(cli: Cli, run: RunDir) -> None:
    with run.lock(print):
        result = cli("gc", run.path, "--yes")
    assert (result.code, "is in use by process" in result.err) == (1, True)
    assert run.versions() == [1, 2]
