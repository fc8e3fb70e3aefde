"""A policy whose checkpoint was removed is rebuilt from what is on disk, bit for bit."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from rsgrpo_cli.artifacts import read_lineage, read_table, write_table
from rsgrpo_cli.schemas import ROLLOUTS, UPDATE_METRICS
from tests.conftest import SMALL, Cli, run_quietly

KINDS = {
    "full": [],
    "lora": ["--lora-rank", "4", "--kl-coef", "0.01"],
    "minibatches": ["--minibatches", "2", "--zero-variance", "drop", "--set", "update.lr_schedule=cosine"],
}
EVAL = ["-n", "2", "--k", "1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind with all of its checkpoints."""
    folder = tmp_path_factory.mktemp("whole")
    for name, flags in KINDS.items():
        run_quietly(folder, "train", "--run", f"runs/{name}", "--steps", "4", "--keep-checkpoints", "9", *SMALL, *flags)
    return folder / "runs"


@pytest.fixture
def pruned(cli: Cli, runs: Path, tmp_path: Path) -> Path:
    """The plain run without the checkpoints 2 and 3."""
    made = shutil.copytree(runs / "full", tmp_path / "runs/pruned")
    for version in (2, 3):
        shutil.rmtree(made / f"checkpoints/00000{version}")
    return Path(made)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def own_files(run: Path) -> dict[str, bytes]:
    """What training made, which nothing here may touch."""
    return {name: data for name, data in content(run).items() if name.startswith(("steps/", "checkpoints/"))}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 1], ids=["from the base model", "from a checkpoint"])
def test_a_fork_starts_from_the_same_bits(cli: Cli, runs: Path, tmp_path: Path, kind: str, first: int) -> None:
    pruned = Path(shutil.copytree(runs / kind, tmp_path / "runs/pruned"))
    for version in range(first + 1, 4):
        shutil.rmtree(pruned / f"checkpoints/00000{version}")
    before = own_files(pruned)
    result = cli("fork", "runs/fork", "--run", pruned, "--step", "3", "--beta", "8")
    assert result.code == 0, result.err
    origin = f"checkpoint {first}" if first else "the base model"
    assert f"rebuilding it from {origin} with {3 - first} updates, about " in result.err
    assert content(tmp_path / "runs/fork/checkpoints/000003") == content(runs / kind / "checkpoints/000003")
    assert own_files(pruned) == before
    assert not list(tmp_path.rglob("*.partial"))
    assert cli("train", "--run", "runs/fork", "--steps", "4").code == 0


def test_an_evaluation_is_that_of_the_checkpoint(cli: Cli, runs: Path, pruned: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(runs / "full", tmp_path / "runs/whole")
    before = own_files(pruned)
    for run in (whole, pruned):
        assert cli("eval", "--run", run, "--policy", "3", *EVAL).code == 0
    first, second = (content(Path(run) / "evals/000003/toy") for run in (whole, pruned))
    assert first == second
    assert own_files(pruned) == before


def test_an_export_is_that_of_the_checkpoint(cli: Cli, runs: Path, pruned: Path, tmp_path: Path) -> None:
    assert cli("export", pruned, "--policy", "2", "--out", "out").code == 0
    checkpoint = runs / "full/checkpoints/000002"
    assert (tmp_path / "out/model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    assert not (tmp_path / "out/trainer").exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_rollouts_of_an_old_policy_can_be_drawn_beside_the_runs_own(cli: Cli, pruned: Path) -> None:
    result = cli("rollout", "--run", pruned, "--step", "3", "--temperature", "0.5", "--tag", "cool")
    assert (result.code, (pruned / "steps/000003/rollouts.cool").is_dir()) == (0, True), result.err


@pytest.mark.parametrize("command", [["eval", *EVAL, "--policy"], ["fork", "runs/f", "--step"], ["export", "--policy"]])
def test_what_is_missing_names_its_step(cli: Cli, pruned: Path, command: list[str]) -> None:
    (pruned / "steps/000002/advantages.parquet").unlink()
    result = cli(*command, "3", "--run", pruned)
    assert result.code == 1
    assert "no checkpoint 3, and it cannot be rebuilt: the advantages of step 2 are not all there" in result.err
    assert "it has policies 0-2, 4; 0 is the base model" in result.err
    assert cli(*command, "2", "--run", pruned).code == 0  # for which that step is not needed


def change_a_number(run: Path) -> None:
    """As if the update of step 1 had been made on another machine."""
    path = run / "steps/000001/update_metrics.parquet"
    lineage, table = read_lineage(path, UPDATE_METRICS), read_table(path, UPDATE_METRICS)
    at = table.schema.get_field_index("grad_norm")
    write_table(path, table.set_column(at, "grad_norm", pa.array([1.25])), UPDATE_METRICS, lineage)


@pytest.mark.parametrize("command", [["eval", *EVAL, "--policy"], ["fork", "runs/f", "--step"], ["export", "--policy"]])
def test_what_is_not_the_same_is_refused_or_recorded(cli: Cli, pruned: Path, command: list[str]) -> None:
    change_a_number(pruned)
    refused = cli(*command, "3", "--run", pruned)
    assert refused.code == 1
    told = "policy 3 of run pruned cannot be rebuilt bit for bit: the update of step 1 has grad_norm "
    assert told in refused.err
    assert "now, and had 1.25" in refused.err
    accepted = cli(*command, "3", "--run", pruned, "--accept-inexact")
    assert (accepted.code, "was not rebuilt bit for bit" in accepted.err) == (0, True), accepted.err
    if command[0] == "eval":
        parts = (pruned / "evals/000003/toy/rollouts").glob("part-*.parquet")
        assert {read_lineage(path, ROLLOUTS).inputs["rebuilt"] for path in parts} == {"not bit for bit"}
    elif command[0] == "fork":
        assert '"inexact": "the update of step 1' in Path("runs/f/config.json").read_text()
    else:
        assert "not bit for bit" in (pruned / "exports/000003/README.md").read_text()
