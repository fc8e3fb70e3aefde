"""A run directory: where things are, what is counted as there, which run a name means."""

import json
import os
from pathlib import Path

import pytest

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import ArtifactError, MissingError, UsageError
from rsgrpo_cli.pipeline.forking import fork
from rsgrpo_cli.run.run_dir import RunDir, numbered
from rsgrpo_cli.schemas import UPDATE_METRICS
from tests.tables import update_metrics


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A new run under runs/ of an empty directory, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return RunDir.create(Path("runs/mine"), resolve({"advantage.beta": 3.0}))


def checkpoint(run: RunDir, version: int, policy: str = "policy") -> Path:
    folder = run.checkpoint(version)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"policy_id": policy, "files": {}}))
    return folder


def test_only_numbers_as_we_write_them_are_steps(tmp_path: Path) -> None:
    for name in ("000002", "000010", "1000000", "0000001", "2", "12345", "copy", "000003.bak", "٠٠٠٠٠٤"):
        (tmp_path / name).mkdir()
    (tmp_path / "000005").write_text("a file")
    assert numbered(tmp_path) == [2, 10, 1_000_000]
    assert numbered(tmp_path / "nowhere") == []


def test_a_new_run_has_its_settings_and_nothing_else(run: RunDir) -> None:
    assert run.config().advantage.model_dump()["beta"] == 3.0
    assert (run.name, run.steps(), run.versions(), run.newest_version(), run.origin()) == ("mine", [], [], 0, None)
    assert not run.has_results()


def test_a_run_is_created_once_and_only_in_an_empty_place(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a run already"):
        RunDir.create(run.path, resolve({}))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("...")
    with pytest.raises(UsageError, match="exists and is not a run"):
        RunDir.create(tmp_path / "thesis", resolve({}))
    (tmp_path / "empty").mkdir()
    assert RunDir.create(tmp_path / "empty", resolve({})).config() == resolve({})


@pytest.mark.parametrize("name", ["x*", "runs/s/x?", "run[1]"])
def test_no_run_is_called_as_a_pattern(run: RunDir, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is a pattern, and no name for a run"):
        RunDir.create(tmp_path / name, resolve({}))
    with pytest.raises(UsageError, match="is a pattern, and no name for a run"):
        fork(run, 0, tmp_path / name, {})
    assert RunDir.create(tmp_path / "in [brackets]" / "x", resolve({})).name == "x"


def test_a_checkpoint_counts_once_its_manifest_is_there(run: RunDir) -> None:
    checkpoint(run, 1)
    checkpoint(run, 3)
    run.checkpoint(4).mkdir()
    assert (run.versions(), run.newest_version(), run.checkpoint_folders()) == ([1, 3], 3, [1, 3, 4])
    assert run.has_results()


def test_who_a_policy_is(run: RunDir) -> None:
    checkpoint(run, 2, "second")
    made = Lineage("update", {}, {}, outputs={"policy": "first"})
    write_table(run.update_metrics(0), update_metrics({"loss": 1.0}), UPDATE_METRICS, made)
    assert run.policy_id(0, "base") == "base"
    assert run.policy_id(1, "base") == "first"  # its checkpoint was removed, what its update recorded stays
    assert run.policy_id(2, "base") == "second"
    with pytest.raises(MissingError, match="has no policy 3") as error:
        run.policy_id(3, "base")
    assert error.value.hint == "checkpoints: 2; 0 is the base model"


def test_names_and_paths(run: RunDir) -> None:
    assert RunDir.locate("mine") == Path("runs/mine")
    assert RunDir.locate("runs/mine") == Path("runs/mine")
    run.prompts.touch()
    assert RunDir.locate(None) == run.path
    assert RunDir.open("mine").path == run.path
    with pytest.raises(UsageError, match="the name of a run is empty"):
        RunDir.locate(" ")
    with pytest.raises(MissingError, match="no run at runs/yours") as error:
        RunDir.open("yours")
    assert error.value.hint == "runs here: mine"


def test_the_newest_run_is_the_one_created_last(run: RunDir) -> None:
    other = RunDir.create(Path("runs/another"), resolve({}))
    for made in (run, other):
        made.prompts.touch()
    os.utime(run.path / "config.json", ns=(1, 1))
    assert RunDir.newest().path == other.path
    os.utime(other.path / "config.json", ns=(0, 0))
    assert RunDir.newest().path == run.path


def test_a_run_without_problems_is_the_newest_only_while_it_is_being_started(run: RunDir) -> None:
    run.prompts.touch()
    other = RunDir.create(Path("runs/another"), resolve({}))
    os.utime(run.path / "config.json", ns=(1, 1))
    assert RunDir.newest().path == run.path
    with other.lock(print):
        assert RunDir.newest().path == other.path
    assert RunDir.newest().path == run.path
    run.prompts.unlink()
    with pytest.raises(MissingError, match="no run under runs/ has problems to train on") as error:
        RunDir.newest()
    assert "name one: --run (mine, another)" in (error.value.hint or "")


def test_no_run_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingError, match="no run under runs/ yet"):
        RunDir.newest()


def test_settings_change_only_in_the_file(run: RunDir) -> None:
    run.change_config(resolve({"advantage.beta": 5.0}))
    assert RunDir.open("mine").config().advantage.model_dump()["beta"] == 5.0


def test_a_run_is_taken_back_by_the_process_that_created_it_until_something_was_sampled(run: RunDir) -> None:
    assert not RunDir(run.path).take_back()  # opened, not created: it was there before
    (run.step(0) / "rollouts").mkdir(parents=True)
    (run.step(0) / "rollouts/part-00000.parquet").write_bytes(b"")
    assert not run.take_back()
    (run.step(0) / "rollouts/part-00000.parquet").unlink()
    assert run.take_back()
    assert not (run.path / "config.json").exists()


def test_evaluations_with_a_summary(run: RunDir) -> None:
    for name in ("sums", "puzzles"):
        run.evaluation(2, name).mkdir(parents=True)
        (run.evaluation(2, name) / "summary.parquet").write_bytes(b"")
    (run.evaluation(2, "begun")).mkdir()
    assert (run.benchmarks_of(2), run.benchmarks_of(1)) == (["puzzles", "sums"], [])


MODEL = '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'


def test_a_folder_with_a_models_config_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A run is easily called after the model beside it: --model ./qwen --run qwen.
    monkeypatch.chdir(tmp_path)
    Path("qwen").mkdir()
    Path("qwen/config.json").write_text(MODEL)
    assert RunDir.locate("qwen") == Path("runs/qwen")
    with pytest.raises(MissingError, match="no run at qwen"):
        RunDir.open("./qwen")
    with pytest.raises(UsageError, match="qwen exists and is not a run"):
        RunDir.create(RunDir.locate("./qwen"), resolve({}))
    assert Path("qwen/config.json").read_text() == MODEL


def test_what_has_a_slash_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunDir.locate("./mine") == Path("mine")
    assert RunDir.locate("mine") == Path("runs/mine")
    RunDir.create(Path("mine"), resolve({}))
    assert RunDir.locate("mine") == Path("mine")


def test_a_run_whose_configuration_is_damaged_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/config.json").write_text("{")
    assert RunDir.locate("mine") == Path("mine")
    with pytest.raises(ArtifactError, match="is not valid JSON"):
        RunDir.open("mine").config()
