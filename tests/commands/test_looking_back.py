"""Estimators that look at earlier steps, from the command line: run again alone, resumed, forked, copied, compared."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.schemas import ADVANTAGES
from tests.conftest import SMALL, Cli, weights

FRONTIER = ["--estimator", "rs_grpo_moving"]
PROMPTS = ["--estimator", "rs_grpo_moving", "--set", "advantage.law=per_prompt"]
FADE = ["--estimator", "fade", "--advantage-scale", "rms"]


def files(run: str, step: int) -> dict[str, bytes]:
    folder = Path(f"runs/{run}/steps/{step:06d}")
    return {name: (folder / name).read_bytes() for name in ("advantages.parquet", "history.parquet")}


def recorded(run: str, step: int, name: str = "advantages") -> dict[str, float]:
    lineage = read_lineage(Path(f"runs/{run}/steps/{step:06d}/{name}.parquet"), ADVANTAGES)
    return {key: float(value) for key, value in lineage.outputs.items()}


@pytest.mark.parametrize("flags", [[*PROMPTS, "--minibatches", "2"], FADE], ids=["per prompt", "fade"])
def test_run_again_alone_and_resumed_it_is_the_same(cli: Cli, flags: list[str]) -> None:
    assert cli("train", "--run", "runs/whole", "--steps", "3", *flags, *SMALL).code == 0
    before = [files("whole", step) for step in range(3)]
    result = cli("advantage", "--run", "runs/whole", "--step", "1")
    assert "nothing to do" in result.out, result.err
    for step in ("2", "1"):
        assert cli("advantage", "--run", "runs/whole", "--step", step, "--force").code == 0
    assert [files("whole", step) for step in range(3)] == before
    # One step and then two, instead of three.
    for steps in ("1", "3"):
        assert cli("train", "--run", "runs/parts", "--steps", steps, *flags, *SMALL).code == 0
    assert [files("parts", step) for step in range(3)] == before
    assert weights("parts") == weights("whole")


def test_an_estimator_that_does_not_look_back_is_another_setting(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "2", *FRONTIER, *SMALL).code == 0
    on = ("advantage", "--run", "runs/a", "--step", "1")
    for other in (("--estimator", "grpo"), ("--estimator", "fade")):
        refused = cli(*on, *other)
        assert "was made with other settings, and update_metrics.parquet was made from it" in refused.err
    assert cli(*on, "--estimator", "grpo", "--force").code == 0
    assert "was made with other settings" in cli(*on).err


def test_the_beta_that_was_used_is_recorded(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "3", *FRONTIER, *SMALL).code == 0
    betas = pq.read_table("runs/a/metrics.parquet")["beta"].to_pylist()
    assert betas[0] == 2.0
    assert betas[1] != 2.0
    assert betas == [recorded("a", step)["beta"] for step in range(3)]
    assert cli("train", "--run", "runs/b", "--steps", "2", *FADE, *SMALL).code == 0
    assert recorded("b", 1).keys() == {"alpha", "delta"}
    assert pq.read_table("runs/b/metrics.parquet")["advantage_rms"].to_pylist() == [pytest.approx(1)] * 2


def test_a_fork_and_a_copy_know_what_the_run_knew(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "3", *FADE, *SMALL, "--keep-checkpoints", "9").code == 0
    assert cli("fork", "b", "--run", "runs/a", "--step", "2").code == 0
    shutil.copytree("runs/b", "runs/c")
    shutil.rmtree("runs/a/steps/000000/rollouts")  # what the copy needs is its own
    assert cli("train", "--run", "runs/c").code == 0
    assert [files("c", step) for step in range(3)] == [files("a", step) for step in range(3)]
    # From a run that has no history: made from its steps, and the same as if it had been there from the start.
    assert cli("train", "--run", "runs/plain", "--steps", "2", *SMALL).code == 0
    assert cli("fork", "d", "--run", "runs/plain", "--estimator", "fade").code == 0
    assert cli("train", "--run", "runs/d", "--steps", "3").code == 0
    assert not Path("runs/d/steps/000001/history.parquet").exists()
    assert recorded("d", 2)["alpha"] != 1.5


def test_beside_a_run_and_only_compared(cli: Cli, trained: Path) -> None:
    untouched = {path: path.read_bytes() for path in trained.rglob("*.parquet")}
    result = cli("advantage", "--run", trained, "--compare", "fade,curve_rl,rs_grpo_moving:law=shrunk:beta=4", "--json")
    assert result.code == 0, result.err
    assert [method["estimator"] for method in result.json["methods"]] == ["fade", "curve_rl", "rs_grpo_moving"]
    assert result.json["methods"][0]["alpha"] != 1.5
    assert {path: path.read_bytes() for path in trained.rglob("*.parquet")} == untouched
    assert cli("advantage", "--run", trained, "--tag", "fade", *FADE).code == 0
    assert recorded("trained", 1, "advantages.fade")["alpha"] == result.json["methods"][0]["alpha"]
    assert cli("status", "--run", trained, "--json").json["stale"] == []


def test_what_follows_a_replaced_step_is_refused(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "3", *FADE, *SMALL).code == 0
    assert cli("score", "--run", "runs/a", "--step", "0", "--force", "--set", "score.format_weight=0.1").code == 0
    stale = cli("status", "--run", "runs/a", "--json").json["stale"]
    assert "the history of step 1 was made from other rewards of step 0" in stale
    result = cli("advantage", "--run", "runs/a", "--step", "2")
    assert result.code == 1
    assert "advantages.parquet was made from inputs that have been replaced since" in result.err
    result = cli("train", "--run", "runs/a", "--steps", "4")
    assert result.code == 1
    assert "step 0 were made from other rewards" in result.err


def test_a_step_that_is_gone_is_named(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "3", *SMALL).code == 0
    shutil.rmtree("runs/a/steps/000001/rewards")
    result = cli("advantage", "--run", "runs/a", "--step", "2", "--tag", "x", *FADE)
    assert result.code == 1
    assert "an estimator that looks at earlier steps needs step 1, and there are no rewards at" in result.err
    assert "copy that step's files back" in result.err
    assert not Path("runs/a/steps/000002/history.parquet").exists()


def test_rewards_that_are_no_verdicts(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def long(completions, **rest):\n    return [len(c) / 9 for c in completions]\n")
    result = cli("train", "--run", "runs/a", "--steps", "2", *FADE, *SMALL, "--reward", "mine:long")
    assert result.code == 1
    assert "fade needs 0/1 rewards; got " in result.err
