"""show and status: what a person looks at."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq

from tests.conftest import SMALL, Cli


def test_show_follows_a_prompt_through_the_stages(cli: Cli, trained: Path) -> None:
    rollouts = pq.read_table(trained / "steps/000001/rollouts/part-00000.parquet").to_pylist()
    advantages = pq.read_table(trained / "steps/000001/advantages.parquet").to_pylist()
    wanted = rollouts[0]["prompt_id"]
    found = cli("show", "--run", trained, "--prompt", wanted, "--json").json
    assert (found["prompt_id"], found["step"], found["steps"]) == (wanted, 1, [1])
    assert [row["completion"] for row in found["completions"]] == [row["completion"] for row in rollouts[:4]]
    assert [row["advantage"] for row in found["completions"]] == [row["advantage"] for row in advantages[:4]]
    assert all(row["reward_status"] for row in found["completions"])
    text = cli("show", "--run", trained, "--prompt", wanted.rpartition("-")[2]).out
    for part in ("user: Make", "ground truth:", "in steps: 1", "step 1:", rollouts[0]["completion"]):
        assert part in text


def test_show_before_anything_happened(cli: Cli) -> None:
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    assert "in steps: none yet" in cli("show", "--run", "runs/x", "--prompt", "0").out
    assert cli("rollout", "--run", "runs/x").code == 0
    wanted = pq.read_table("runs/x/steps/000000/rollouts/part-00000.parquet")["prompt_id"][0].as_py()
    assert "not compared yet" in cli("show", "--run", "runs/x", "--prompt", wanted).out
    result = cli("show", "--run", "runs/x", "--prompt", wanted, "--step", "4")
    assert (result.code, "has no step 4" in result.err) == (1, True)


def test_status_says_what_is_done(cli: Cli) -> None:
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    assert "0 of 120 steps done; checkpoints none" in cli("status", "--run", "runs/x").out
    for command in ("rollout", "score"):
        assert cli(command, "--run", "runs/x").code == 0
    out = cli("status", "--run", "runs/x").out
    assert "step 0 has rollouts, rewards" in out
    assert "nothing is stale" in out
    for stage in ("prepare", "rollout", "score"):
        assert stage in out.partition("time")[2]


def test_status_misses_a_step_that_was_removed(cli: Cli, trained: Path) -> None:
    assert cli("status", "--run", trained, "--json").json["steps_gone"] == []
    shutil.rmtree(trained / "steps/000000")
    assert cli("status", "--run", trained, "--json").json["steps_gone"] == [0]
    assert f"step 0 is gone; what to do: rsgrpo verify {trained}" in cli("status", "--run", trained).out
