"""Which checkpoints stay, and that nothing of a user's goes with those that do not."""

import json
from pathlib import Path

import pytest

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.pipeline.keeping import prune, remove_checkpoint
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import SUMMARY
from tests.tables import summary

FILES = ("model.safetensors", "trainer/optimizer.safetensors")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with checkpoints 1 to 5."""
    made = RunDir.create(tmp_path / "run", resolve({}))
    for version in range(1, 6):
        folder = made.checkpoint(version)
        (folder / "trainer").mkdir(parents=True)
        for name in FILES:
            (folder / name).write_bytes(b"weights")
        manifest = {"policy_id": str(version), "files": dict.fromkeys(FILES, 7)}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return made


def pruned(run: RunDir, keep: int) -> list[str]:
    said: list[str] = []
    prune(run, keep=keep, warn=said.append)
    return said


def test_the_newest_stay(run: RunDir) -> None:
    assert pruned(run, 2) == []
    assert run.checkpoint_folders() == [4, 5]
    assert pruned(run, 2) == []
    assert run.versions() == [4, 5]


def test_the_best_of_those_evaluated_on_the_same_benchmarks_stays(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsgrpo_cli.pipeline.keeping.why_stale", lambda *_: None)
    easy, both = {"easy": 0.9}, {"easy": 0.5, "hard": 0.1}
    for version, scores in enumerate(({"easy": 0.8}, easy, both, {"easy": 0.5, "hard": 0.0}), start=1):
        for name, score in scores.items():
            table = summary(2, {("pass", 1): score})
            write_table(run.evaluation(version, name) / "summary.parquet", table, SUMMARY, Lineage("eval", {}, {}))
    assert pruned(run, 1) == []
    assert run.versions() == [2, 3, 5]  # 2 is best at the easy one; 3 at both, on which it was not measured


def test_a_users_file_stays_where_the_checkpoint_was(run: RunDir) -> None:
    (run.checkpoint(1) / "notes.txt").write_text("mine")
    (run.checkpoint(2) / "trainer" / "notes.txt").write_text("mine")
    pruned(run, 1)
    left = sorted(path.relative_to(run.path / "checkpoints") for path in (run.path / "checkpoints").rglob("*.txt"))
    assert left == [Path("000001/notes.txt"), Path("000002/trainer/notes.txt")]
    assert run.versions() == [5]
    assert not list(run.checkpoint(1).rglob("*.safetensors"))


def test_a_removal_that_was_cut_short_is_finished(run: RunDir) -> None:
    folder = run.checkpoint(1)
    (folder / "manifest.json").rename(folder / "removed.json")
    (folder / FILES[0]).unlink()
    assert run.versions() == [2, 3, 4, 5]  # it counts no more
    pruned(run, 9)
    assert run.checkpoint_folders() == [2, 3, 4, 5]


def test_without_a_readable_manifest_nothing_tells_what_to_remove(run: RunDir) -> None:
    (run.checkpoint(2) / "manifest.json").write_text("{")
    (said,) = pruned(run, 1)
    assert "checkpoint 2 stays where it is" in said
    assert run.checkpoint_folders() == [2, 5]
    with pytest.raises(ArtifactError):
        remove_checkpoint(run.checkpoint(2))
    assert (run.checkpoint(2) / FILES[0]).is_file()


def test_what_never_became_a_checkpoint_is_left_alone(run: RunDir) -> None:
    (run.checkpoint(1) / "manifest.json").unlink()
    pruned(run, 1)
    assert run.checkpoint_folders() == [1, 5]


def test_a_manifest_that_names_a_file_elsewhere_removes_nothing(run: RunDir) -> None:
    outside = run.path / "prompts.parquet"
    outside.write_bytes(b"problems")
    manifest = {"policy_id": "1", "files": {"../../prompts.parquet": 8}}
    (run.checkpoint(1) / "manifest.json").write_text(json.dumps(manifest))
    (said,) = pruned(run, 1)
    assert "checkpoint 1 stays" in said
    assert outside.is_file()
