"""What a fork shares with its source, on a run made of a few small files."""

import json
from pathlib import Path

import pytest

from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import MissingError, StaleError, UsageError
from rsgrpo_cli.pipeline.forking import fork, require_whole
from rsgrpo_cli.run.run_dir import RunDir
from tests.run_on_disk import VALUES, write_prompts, write_rewards, write_rollouts, write_step


@pytest.fixture
def source(tmp_path: Path) -> RunDir:
    """A run of three steps with checkpoints 2 and 3, an evaluation of each, and a user's notes everywhere."""
    made = RunDir.create(tmp_path / "source", resolve({"advantage.beta": 2.0}))
    names = ["prompts.parquet", "benchmarks/sums.parquet"]
    for step in range(3):
        parts = ("rollouts/part-00000.parquet", "rollouts/manifest.json", "rewards/part-00000.parquet")
        names += [f"steps/{step:06d}/{name}" for name in (*parts, "advantages.parquet", "update_metrics.parquet")]
    for version in (2, 3):
        names += [f"checkpoints/{version:06d}/model.safetensors", f"evals/{version:06d}/sums/summary.parquet"]
    for name in names:
        path = made.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        (path.parent / "notes.txt").write_text("a user's")
    for version in (2, 3):
        manifest = {"policy_id": str(version), "files": {"model.safetensors": 1}}
        (made.checkpoint(version) / "manifest.json").write_text(json.dumps(manifest))
    write_prompts(made, ("p-000001", "p-000002"))
    write_step(made, 1, made="2")
    write_step(made, 2, policy="2", made="3")
    return made


def shared(run: RunDir) -> set[str]:
    """The files of a run but its settings."""
    files = (path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file())
    return {name for name in files if name != "config.json"}


def of_step(step: int) -> set[str]:
    names = ("rollouts/part-00000.parquet", "rollouts/manifest.json", "rewards/part-00000.parquet")
    return {f"steps/{step:06d}/{name}" for name in (*names, "advantages.parquet", "update_metrics.parquet")}


POLICY_2 = {"checkpoints/000002/model.safetensors", "checkpoints/000002/manifest.json"}
PROBLEMS = {"prompts.parquet", "benchmarks/sums.parquet"}


def test_everything_before_the_step_is_shared_and_its_rollouts(source: RunDir, tmp_path: Path) -> None:
    made = fork(source, 2, tmp_path / "fork", {"advantage.beta": 8.0})
    sampled = {name for name in of_step(2) if "rollouts/" in name or "rewards" in name}
    expected = PROBLEMS | of_step(0) | of_step(1) | sampled | POLICY_2 | {"evals/000002/sums/summary.parquet"}
    assert shared(made) == expected
    for name in expected:
        assert (made.path / name).samefile(source.path / name)
    assert (made.config().advantage.model_dump()["beta"], made.origin()) == (8.0, {"run": "source", "step": 2})


def test_what_is_stale_in_the_step_is_not_shared(source: RunDir, tmp_path: Path) -> None:
    write_rollouts(source, 2, {"p-000001": [4, 4], "p-000002": [4, 4]}, policy="2")  # the rewards are of others
    made = fork(source, 2, tmp_path / "one", {})
    assert {path.name for path in made.step(2).iterdir() if path.is_dir()} == {"rollouts"}
    write_rewards(source, 2, VALUES)
    made = fork(source, 2, tmp_path / "two", {})
    assert {path.name for path in made.step(2).iterdir() if path.is_dir()} == {"rollouts", "rewards"}
    write_rollouts(source, 2, {"p-000001": [4, 4], "p-000002": [4, 4]}, policy="another")
    assert not fork(source, 2, tmp_path / "three", {}).step(2).exists()


def test_what_is_damaged_in_the_step_is_not_shared(source: RunDir, tmp_path: Path) -> None:
    part = source.rollouts(2) / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-200])
    assert not fork(source, 2, tmp_path / "fork", {}).step(2).exists()


def test_rollouts_of_other_sampling_are_not_shared(source: RunDir, tmp_path: Path) -> None:
    made = fork(source, 2, tmp_path / "fork", {"rollout.group_size": 8})
    assert not {name for name in shared(made) if name.startswith("steps/000002")}


def test_other_weights_than_the_base_model_share_no_evaluation(source: RunDir, tmp_path: Path) -> None:
    made = fork(source, 0, tmp_path / "fork", {"model.dtype": "bfloat16"})
    assert shared(made) == PROBLEMS


def test_a_step_without_a_checkpoint_cannot_be_forked_from(source: RunDir, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no checkpoint 1 to fork from") as error:
        fork(source, 1, tmp_path / "fork", {})
    assert (error.value.hint or "").startswith("checkpoints: 2, 3, or 0")
    assert not (tmp_path / "fork").exists()


@pytest.mark.parametrize(
    "change", [{"model.name": "other"}, {"prepare.dataset": "other.jsonl"}, {"model.lora_rank": 4}]
)
def test_a_trained_policy_keeps_its_past(source: RunDir, tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"was trained with {next(iter(change))}"):
        fork(source, 2, tmp_path / "fork", change)
    assert not (tmp_path / "fork").exists()


def test_nothing_is_written_over(source: RunDir, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a run already"):
        fork(source, 2, source.path, {})
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("...")
    with pytest.raises(UsageError, match="exists and is not a run"):
        fork(source, 2, tmp_path / "thesis", {})


def test_a_fork_without_the_policy_it_starts_from_does_not_go_on(source: RunDir, tmp_path: Path) -> None:
    made = fork(source, 2, tmp_path / "fork", {})
    require_whole(made)
    require_whole(source)  # a run that is no fork has nothing to lack
    (made.checkpoint(2) / "manifest.json").unlink()
    with pytest.raises(StaleError, match="was forked from source at step 2, and policy 2 is not in it"):
        require_whole(made)
