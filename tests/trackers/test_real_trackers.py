"""The real wandb, Trackio and MLflow on this machine, read back from their own stores (make test-trackers)."""

from pathlib import Path

import pytest

from rsgrpo_cli.run.run_dir import RunDir
from tests.run_on_disk import write_evaluation
from tests.trackers.written import follow_once, tracked_run, write_steps

pytestmark = [pytest.mark.trackers, pytest.mark.filterwarnings("default")]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.chdir(tmp_path)
    return tracked_run(tmp_path / "run")


def follow_resumed(run: RunDir, name: str) -> None:
    """Two steps and an evaluation; then, in another life, two steps and an evaluation more."""
    follow_once(run, name)
    write_steps(run, range(4))
    write_evaluation(run, 3, {"p-000001": [1, 1]})
    follow_once(run, name)


def test_mlflow_has_one_run_with_every_step_once(run: RunDir) -> None:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{run.path.parent}/store.db")
    follow_resumed(run, "mlflow")
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("rsgrpo").experiment_id])
    history = client.get_metric_history(found.info.run_id, "train/reward_mean")
    assert sorted((one.step, one.value) for one in history) == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]
    evaluated = client.get_metric_history(found.info.run_id, "eval/toy/pass_at_1/ci_low")
    assert sorted(one.step for one in evaluated) == [0, 3]
    assert found.data.params["rollout.group_size"] == "16"
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")


def test_wandb_writes_two_parts_of_one_run_offline(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    follow_resumed(run, "wandb")
    folders = sorted((run.path / "trackers" / "wandb").glob("offline-run-*"))
    # offline-run-DATE_TIME-NAME, and -1 after it where two parts start in the same second.
    (name,) = {folder.name.split("-")[3] for folder in folders}
    files = [path.read_bytes() for folder in folders for path in folder.glob(f"run-{name}*.wandb")]
    assert len(files) >= 1
    assert all(b"train/reward_mean" in text for text in files)
    assert any(b"eval/toy/pass@1/ci_low" in text for text in files)
    assert any(b"rollout.group_size" in text for text in files)


def test_trackio_has_one_run_with_every_step_once(run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trackio import sqlite_storage, utils

    for module in (utils, sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    follow_resumed(run, "trackio")
    store = sqlite_storage.SQLiteStorage
    (name,) = store.get_runs("rsgrpo")
    logs = store.get_logs("rsgrpo", name)
    rewards = [(row["step"], row["train/reward_mean"]) for row in logs if "train/reward_mean" in row]
    assert sorted(rewards) == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]
    assert sorted(row["step"] for row in logs if "eval/toy/pass@1" in row) == [0, 3]
    assert store.get_run_config("rsgrpo", name)["rollout.group_size"] == 16
