"""What is only a statistic is not needed to resume: old steps that are gone or damaged, copied runs, finished ones."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.commands.test_stages import artifacts
from tests.conftest import SMALL, Cli, run_quietly

EVAL = ["-n", "1", "--k", "1"]
pytestmark = pytest.mark.usefixtures("unasked")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of three steps."""
    folder = tmp_path_factory.mktemp("whole")
    run_quietly(folder, "train", "--run", "runs/whole", "--steps", "3", "--keep-checkpoints", "9", *SMALL)
    return folder / "runs/whole"


@pytest.fixture(scope="module")
def three(whole: Path) -> dict[str, bytes]:
    """What three steps leave in an undisturbed run."""
    return artifacts(whole)


def remove_rollouts(run: Path) -> None:
    shutil.rmtree(run / "steps/000000/rollouts")


def remove_a_part(run: Path) -> None:
    (run / "steps/000000/rollouts/part-00000.parquet").unlink()


def remove_rewards(run: Path) -> None:
    (run / "steps/000000/rewards/part-00000.parquet").unlink()


def remove_step(run: Path) -> None:
    shutil.rmtree(run / "steps/000000")


def cut_a_part(run: Path) -> None:
    part = run / "steps/000000/rollouts/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-30])


def flip_a_part(run: Path) -> None:
    part = run / "steps/000000/rollouts/part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[60] ^= 0xFF
    part.write_bytes(data)


def cut_metrics(run: Path) -> None:
    (run / "metrics.parquet").write_bytes(b"short")


def keep_checkpoints_alone(run: Path) -> None:
    for path in [path for path in run.iterdir() if path.name not in ("config.json", "checkpoints")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


CHANGES = [remove_rollouts, remove_a_part, remove_rewards, remove_step, cut_a_part, flip_a_part, cut_metrics]


@pytest.mark.parametrize("change", [*CHANGES, keep_checkpoints_alone], ids=lambda change: change.__name__)
def test_a_run_goes_on_bit_for_bit(
    cli: Cli, trained: Path, three: dict[str, bytes], change: Callable[[Path], None]
) -> None:
    change(trained)
    assert cli("status", "--run", trained).code == 0
    result = cli("train", "--run", trained, "--steps", "3")
    assert result.code == 0, result.err
    made = artifacts(trained)
    new = {name for name in three if name.startswith(("steps/000002", "checkpoints/000003"))}
    assert {name: made[name] for name in new} == {name: three[name] for name in new}
    assert pq.read_table(trained / "metrics.parquet")["step"].to_pylist()[-1] == 2
    for command in (["eval", *EVAL], ["export", "--out", "out"]):
        place = [trained] if command[0] == "export" else ["--run", trained]
        assert cli(*command, *place).code == 0


def test_the_solve_rate_is_known_without_the_rollouts(cli: Cli, trained: Path, whole: Path) -> None:
    remove_step(trained)
    result = cli("train", "--run", trained, "--steps", "3")
    assert "warning" not in result.err
    rates = [pq.read_table(run / "metrics.parquet")["cumulative_solve_rate"].to_pylist() for run in (trained, whole)]
    assert rates[0] == rates[1]


def test_what_cannot_be_known_is_empty_and_said_once(cli: Cli, trained: Path) -> None:
    keep_checkpoints_alone(trained)
    result = cli("train", "--run", trained, "--steps", "4")
    assert result.code == 0, result.err
    assert result.err.count("warning") == 1
    assert "cumulative_solve_rate stays empty" in result.err
    rows = pq.read_table(trained / "metrics.parquet").to_pylist()
    assert [(row["step"], row["cumulative_solve_rate"]) for row in rows] == [(2, None), (3, None)]


def test_a_damaged_statistic_is_kept_beside_the_new_one(cli: Cli, trained: Path) -> None:
    cut_metrics(trained)
    result = cli("train", "--run", trained)
    assert result.code == 0, result.err
    assert (trained / "metrics.parquet.aside-1").read_bytes() == b"short"
    assert len(pq.read_table(trained / "metrics.parquet")) == 2


def test_a_finished_run_needs_no_dataset(cli: Cli, tmp_path: Path) -> None:
    rows = "".join(f'{{"problem": "what is {n} + 1?", "answer": "{n + 1}"}}\n' for n in range(40))
    (tmp_path / "own.jsonl").write_text(rows)
    train = ["train", "--run", "runs/x", "--steps", "1", *SMALL, "--dataset", "own.jsonl"]
    result = cli(*train)
    assert result.code == 0, result.err
    (tmp_path / "own.jsonl").unlink()
    (tmp_path / "runs/x/prompts.parquet").unlink()
    for command in (
        ["train", "--run", "runs/x"],
        ["eval", "--run", "runs/x", "--benchmark", "toy", *EVAL],
        ["export", "runs/x", "--out", "out"],
    ):
        result = cli(*command)
        assert result.code == 0, result.err


def test_a_users_file_in_a_checkpoint_stays(cli: Cli, trained: Path) -> None:
    for version in (1, 2):
        (trained / f"checkpoints/{version:06d}/NOTES.txt").write_text("precious")
    (trained / "checkpoints/000003").mkdir()
    (trained / "checkpoints/000003/model.safetensors").write_text("somebody's own")
    assert cli("train", "--run", trained, "--steps", "3").code == 0
    assert cli("update", "--run", trained, "--step", "2", "--force").code == 0
    assert [path.name for path in (trained / "checkpoints/000001").iterdir()] == ["NOTES.txt"]
    assert (trained / "checkpoints/000002/NOTES.txt").read_text() == "precious"
    assert (trained / "checkpoints/000003.aside-1/model.safetensors").read_text() == "somebody's own"
    assert cli("status", "--run", trained, "--json").json["checkpoints"] == [2, 3]


def test_steps_have_the_numbers_that_are_on_disk(cli: Cli, trained: Path) -> None:
    result = cli("train", "--run", trained, "--steps", "3")
    lines = [line.split() for line in result.err.splitlines()]
    assert "2" in [line[0] for line in lines if line]
    assert "3" not in [line[0] for line in lines if line]
    result = cli("train", "--run", trained, "--steps", "2")
    assert "3 steps done, policy 3, more than the 2 that are asked for" in result.out


def test_a_run_left_in_a_step_beyond_those_it_was_made_for_is_not_done(cli: Cli, trained: Path) -> None:
    lines = cli("status", "--run", trained).out.splitlines()
    assert any(line.startswith("2 of 2 steps done") for line in lines)
    assert "done" in lines
    assert cli("rollout", "--run", trained, "--step", "2").code == 0
    told = cli("status", "--run", trained)
    assert "2 of 3 steps done" in told.out
    assert any(line.startswith("stopped") for line in told.out.splitlines())
    assert " 2/3 " in cli("ls").out


def test_a_sound_checkpoint_is_kept_beside_a_foreign_update(cli: Cli, trained: Path) -> None:
    assert cli("train", "--run", "runs/other", "--steps", "2", "--seed", "7", *SMALL).code == 0
    name = "steps/000001/update_metrics.parquet"
    whole = (trained / name).read_bytes()
    shutil.copy(f"runs/other/{name}", trained / name)
    told = cli("verify", trained)
    assert told.code == 1
    hint = f"move it away, then: rsgrpo update --run {trained} --step 1"
    assert told.out.splitlines() == [
        f"{trained / name} is from a different update than the one that made policy 2: {hint}"
    ]
    (trained / name).unlink()
    assert cli(*hint.partition("rsgrpo ")[2].split()).code == 0
    assert (trained / name).read_bytes() == whole
    assert cli("verify", trained).code == 0


def test_a_damaged_checkpoint_beyond_the_configured_steps_is_made_again(
    cli: Cli, trained: Path, tmp_path: Path
) -> None:
    for stage in ("rollout", "score", "advantage", "update"):  # by hand: a train would remember its steps
        assert cli(stage, "--run", trained, "--step", "2").code == 0
    folder = trained / "checkpoints/000003"
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    told = cli("verify", trained).out.replace("\n", " ")
    hint = f"remove {folder}, then: rsgrpo update --run {trained} --step 2"
    assert hint in told
    folder.rename(tmp_path / "removed")
    assert cli(*hint.partition("rsgrpo ")[2].split()).code == 0
    assert (folder / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("damaged", [False, True])
def test_a_part_that_is_gone_is_sampled_again(cli: Cli, tmp_path: Path, damaged: bool) -> None:
    sizes = ("rollout.prompts_per_step=40", "rollout.group_size=16")  # more than one part a step
    several = [*SMALL, *(word for size in sizes for word in ("--set", size))]
    assert cli("prepare", "--run", "runs/x", *several).code == 0
    assert cli("rollout", "--run", "runs/x").code == 0
    parts = sorted((tmp_path / "runs/x/steps/000000/rollouts").glob("part-*"))
    assert len(parts) > 1
    made = parts[1].read_bytes()
    parts[1].unlink()
    if damaged:
        parts[1].write_bytes(made[:-30])
        result = cli("train", "--run", "runs/x", "--steps", "1")
        assert (result.code, "move it away" in result.err) == (1, True)
        parts[1].rename(tmp_path / "away")  # as it says
    result = cli("train", "--run", "runs/x", "--steps", "1")
    assert result.code == 0, result.err
    assert parts[1].read_bytes() == made
