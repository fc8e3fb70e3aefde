"""`status` and `show` on runs of a few completions: what is stale, what is damaged, what a prompt came to."""

from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.report.inspect import follow, state
from rsgrpo_cli.run.run_dir import RunDir
from tests import run_on_disk


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run of two finished steps, without a checkpoint."""
    made = run_on_disk.new_run(tmp_path / "run", advantage__beta=3.0)
    run_on_disk.write_step(made, 0, made="first")
    run_on_disk.write_step(made, 1, policy="first", made="second")
    return made


def seen(run: RunDir) -> dict[str, Any]:
    return state(str(run.path))


def test_a_run_that_is_as_it_was_made(run: RunDir) -> None:
    found = seen(run)
    assert (found["stale"], found["departures"], found["forked_from"]) == ([], [], None)
    assert (found["steps_done"], found["checkpoints"], found["evaluations"]) == (0, [], [])
    assert (found["estimator"]["estimator"], found["estimator"]["beta"]) == ("rs_grpo", 3.0)
    assert [step["step"] for step in found["at_work"]] == [0, 1]
    first = found["at_work"][0]
    assert {name: first[name] for name in ("rollouts", "rewards", "advantages", "update")} == {
        "rollouts": True,
        "rewards": True,
        "advantages": True,
        "update": True,  # its table is there; the checkpoint was not kept
    }


def test_what_was_made_from_something_replaced_is_stale(run: RunDir) -> None:
    run_on_disk.write_rewards(run, 0, {"p-000001": [0, 0], "p-000002": [1, 1]})
    assert seen(run)["stale"] == ["the advantages of step 0 were made from other rewards"]
    run_on_disk.write_advantages(run, 0)
    assert seen(run)["stale"] == ["the updates of step 0 were made from other advantages"]
    run_on_disk.write_update(run, 0, "first")
    assert seen(run)["stale"] == []


def test_rollouts_belong_to_their_problems_and_their_policy(run: RunDir) -> None:
    run_on_disk.write_update(run, 0, "another")
    assert seen(run)["stale"] == ["the rollouts of step 1 were made from another policy"]
    run_on_disk.write_update(run, 0, "first")
    run_on_disk.write_prompts(run, ["p-000001", "p-000002", "p-000003"])
    assert seen(run)["stale"] == [f"the rollouts of step {step} were made from other prompts" for step in (0, 1)]


def test_other_rollouts_make_the_rewards_stale(run: RunDir) -> None:
    run_on_disk.write_rollouts(run, 1, {"p-000001": [4, 4], "p-000002": [4, 4]}, "first")
    assert seen(run)["stale"] == ["the rewards of step 1 were made from other rollouts"]


def test_a_damaged_file_is_listed_and_ends_nothing(run: RunDir) -> None:
    run.advantages(1).write_bytes(b"PAR1")
    (problem,) = seen(run)["stale"]
    assert "advantages.parquet" in problem


def test_settings_of_a_steps_own_are_told(run: RunDir) -> None:
    run_on_disk.write_advantages(run, 1, beta=8.0)
    run_on_disk.write_update(run, 1, "second")
    found = seen(run)
    assert found["stale"] == []
    assert found["departures"] == ["the advantages of step 1 have beta 8.0; the run's own is 3.0"]


def test_where_the_time_went(run: RunDir) -> None:
    for stage, seconds in (("rollout", 2.0), ("score", 0.5), ("rollout", 1.0)):
        run.record({"stage": stage, "step": 0, "seconds": seconds})
    run.record({"stage": "update", "step": 0, "tag": "b8", "seconds": 9.0})  # an experiment beside the run
    found = seen(run)
    assert (found["seconds"], found["seconds_with_tags"]) == ({"rollout": 3.0, "score": 0.5}, 9.0)


def test_one_prompt_through_its_stages(run: RunDir) -> None:
    found = follow(str(run.path), "p-000001", 0)
    assert (found["prompt_id"], found["steps"], found["step"]) == ("p-000001", [0, 1], 0)
    first, second = found["completions"]
    assert (first["sample_index"], first["tokens"], first["logprob"], first["finish_reason"]) == (0, 1, -1.0, "stop")
    assert (first["reward"], first["reward_status"], first["advantage"]) == (1.0, "ok", 0.5)
    assert (second["reward"], second["reward_status"], second["advantage"]) == (0.0, "wrong", -0.5)
    assert (second["group_status"], second["policy_version"]) == ("mixed", 0)


def test_a_prompt_by_its_number_in_the_newest_step(run: RunDir) -> None:
    found = follow(str(run.path), "2", None)
    assert (found["prompt_id"], found["step"]) == ("p-000002", 1)
    assert [row["finish_reason"] for row in found["completions"]] == ["stop", "length"]


def test_what_a_step_does_not_have_yet_is_empty(run: RunDir) -> None:
    (run.step(1) / "rewards/part-00000.parquet").unlink()
    run.advantages(1).unlink()
    first, _ = follow(str(run.path), "1", 1)["completions"]
    assert (first["tokens"], first["reward"], first["advantage"]) == (1, None, None)


def test_prompts_that_are_not_there(run: RunDir) -> None:
    with pytest.raises(MissingError, match="has no prompt '7'") as error:
        follow(str(run.path), "7", None)
    assert error.value.hint == "prompts go from p-000001 to p-000002"
    with pytest.raises(MissingError, match="run run has no step 5") as error:
        follow(str(run.path), "1", 5)
    assert error.value.hint == "it has steps 0 to 1"
    run_on_disk.write_rollouts(run, 2, {"p-000002": [1]})
    with pytest.raises(MissingError, match="prompt p-000001 was not in step 2") as error:
        follow(str(run.path), "1", 2)
    assert error.value.hint == "it was in steps: 0, 1"
