"""A beta that changes while a run is trained."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.schemas import ADVANTAGES
from tests.conftest import SMALL, Cli

LINEAR = ["--set", "advantage.schedule=linear", "--set", "advantage.beta_end=8"]
BY_RATE = ["--set", "advantage.schedule=solve_rate", "--set", "advantage.beta_end=8"]


def betas(run: str) -> list[float]:
    found: list[float] = pq.read_table(f"runs/{run}/metrics.parquet")["beta"].to_pylist()
    return found


def recorded(run: str, step: int, name: str = "advantages") -> float:
    return float(read_lineage(Path(f"runs/{run}/steps/{step:06d}/{name}.parquet"), ADVANTAGES).outputs["beta"])


def content(run: str, step: int) -> bytes:
    return Path(f"runs/{run}/steps/{step:06d}/advantages.parquet").read_bytes()


def test_more_steps_later_do_not_change_the_first_ones(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "3", "--beta", "2", *LINEAR, *SMALL).code == 0
    assert betas("a") == [2.0, 5.0, 8.0]
    assert [recorded("a", step) for step in range(3)] == [2.0, 5.0, 8.0]
    assert cli("train", "--run", "runs/a", "--steps", "4").code == 0
    assert betas("a") == [2.0, 5.0, 8.0, 8.0]
    # A run that was meant to be longer takes the same way if told to.
    same = ["--set", "advantage.schedule_steps=3"]
    assert cli("train", "--run", "runs/b", "--steps", "4", "--beta", "2", *LINEAR, *same, *SMALL).code == 0
    assert [content("a", step) for step in range(4)] == [content("b", step) for step in range(4)]


@pytest.mark.parametrize("schedule", [LINEAR, BY_RATE], ids=["linear", "solve_rate"])
def test_a_single_command_leaves_the_same_bytes_as_train(cli: Cli, schedule: list[str]) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "2", *schedule, *SMALL).code == 0
    before = [content("a", step) for step in range(2)]
    for step in ("1", "0"):
        result = cli("advantage", "--run", "runs/a", "--step", step)
        assert "nothing to do" in result.out, result.err
        assert cli("advantage", "--run", "runs/a", "--step", step, "--force").code == 0
    assert [content("a", step) for step in range(2)] == before


def test_the_solve_rate_of_a_batch_decides_its_beta(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "2", "--beta", "0", *BY_RATE, *SMALL).code == 0
    metrics = pq.read_table("runs/a/metrics.parquet")
    assert metrics["beta"].to_pylist() == [8 * rate for rate in metrics["pass@1"].to_pylist()]
    assert len(set(betas("a"))) == 2


def test_a_step_with_another_schedule_beside(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "2", *LINEAR, *SMALL).code == 0
    constant = ["--set", "advantage.schedule=constant", "--beta", "3"]
    result = cli("advantage", "--run", "runs/a", "--step", "1", "--tag", "three", *constant, "--json")
    assert result.code == 0, result.err
    assert "beta" not in result.json
    cosine = ["--set", "advantage.schedule=cosine", "--set", "advantage.beta_end=1"]
    result = cli("advantage", "--run", "runs/a", "--step", "1", "--tag", "cosine", *cosine, "--json")
    assert result.json["beta"] == 1.0  # the last of the run's two steps
    assert recorded("a", 1, "advantages.cosine") == 1.0
    assert "schedule linear, beta_end 8.0, schedule_steps 2" in cli("status", "--run", "runs/a").out


def test_a_metric_says_which_beta_was_used_not_which_was_meant(cli: Cli) -> None:
    assert cli("prepare", "--run", "runs/a", *SMALL).code == 0
    for command in (["rollout"], ["score"], ["advantage", "--beta", "5"], ["update"]):
        assert cli(*command, "--run", "runs/a").code == 0
    assert betas("a") == [5.0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "advantage.schedule=linear"], "schedule linear needs a beta to go to: --set advantage.beta_end=8"),
        (["--set", "advantage.beta_end=8"], "beta_end needs a schedule"),
        ([*BY_RATE, "--set", "advantage.schedule_steps=5"], "belongs to a linear or cosine schedule"),
        (["--estimator", "grpo", *LINEAR], "advantage.schedule is not a setting of estimator grpo"),
        (["--set", "advantage.schedule=square"], "must be 'constant', 'linear', 'cosine' or 'solve_rate'"),
    ],
)
def test_what_does_not_fit_is_one_line(cli: Cli, flags: list[str], message: str) -> None:
    result = cli("train", "--run", "runs/x", *flags)
    assert result.code == 2
    assert message in result.err
