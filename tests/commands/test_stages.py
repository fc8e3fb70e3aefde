"""The six commands, alone and in a chain."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import SMALL, Cli

CHAIN = ("rollout", "score", "advantage", "update")


def artifacts(run: Path) -> dict[str, bytes]:
    """The files of the steps and checkpoints, by name."""
    files = [path for folder in ("steps", "checkpoints") for path in (run / folder).rglob("*") if path.is_file()]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(files)}


def test_a_chain_of_commands_leaves_the_same_bytes_as_train(cli: Cli, trained: Path) -> None:
    assert cli("prepare", "--run", "runs/chain", *SMALL).code == 0
    for _ in range(2):
        for command in CHAIN:
            result = cli(command, "--run", "runs/chain")
            assert result.code == 0, result.err
    assert artifacts(trained.parent / "chain") == artifacts(trained)
    assert len(artifacts(trained)) > 20


def test_a_stage_whose_inputs_and_settings_are_the_same_is_skipped(cli: Cli, trained: Path) -> None:
    before = artifacts(trained)
    times = {path: path.stat().st_mtime_ns for path in (trained / "steps").rglob("*.parquet")}
    for command in CHAIN:
        result = cli(command, "--run", trained, "--step", "1")
        assert (result.code, "nothing to do" in result.out) == (0, True), result.err
    assert artifacts(trained) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_another_beta_reruns_the_advantages_and_never_the_rollouts(cli: Cli) -> None:
    for command in ("prepare", *CHAIN[:3]):
        assert cli(command, "--run", "runs/x", *(SMALL if command == "prepare" else ())).code == 0
    part = Path("runs/x/steps/000000/rollouts/part-00000.parquet")
    made = part.stat().st_mtime_ns
    first = pq.read_table("runs/x/steps/000000/advantages.parquet")["advantage"]
    result = cli("advantage", "--run", "runs/x", "--beta", "8", "--json")
    assert (result.code, result.json["skipped"]) == (0, False)
    second = pq.read_table("runs/x/steps/000000/advantages.parquet")["advantage"]
    assert not first.equals(second)
    assert part.stat().st_mtime_ns == made


def test_what_others_were_made_from_is_not_replaced_without_being_asked(cli: Cli, trained: Path) -> None:
    before = artifacts(trained)
    result = cli("advantage", "--run", trained, "--step", "0", "--beta", "8")
    assert result.code == 1
    assert "was made with other settings, and update_metrics.parquet was made from it" in result.err
    for way_out in ("--tag NAME", "rsgrpo fork", "--force"):
        assert way_out in result.err
    assert artifacts(trained) == before


def test_prepare_takes_no_setting_that_it_would_drop(cli: Cli, trained: Path) -> None:
    refused = cli("prepare", "--run", trained, "--set", "advantage.beta=9")
    assert (refused.code, "beta" in refused.err, "rsgrpo fork" in refused.err) == (2, True, True)


def test_a_tag_writes_beside_and_disturbs_nothing(cli: Cli, trained: Path) -> None:
    before = artifacts(trained)
    assert cli("advantage", "--run", trained, "--step", "0", "--beta", "8", "--tag", "beta8").code == 0
    after = artifacts(trained)
    assert set(after) - set(before) == {"steps/000000/advantages.beta8.parquet"}
    assert {name: after[name] for name in before} == before
    assert "nothing is stale" in cli("status", "--run", trained).out


def test_tagged_advantages_are_not_made_of_tagged_rewards(cli: Cli, trained: Path) -> None:
    assert cli("score", "--run", trained, "--set", "score.format_weight=0.5", "--tag", "mine").code == 0
    told = cli("advantage", "--run", trained, "--tag", "mine")
    assert "from the run's own rewards, not of those tagged mine" in told.err.replace("\n", " ")
    assert "tagged" not in cli("advantage", "--run", trained, "--tag", "other").err


def test_forcing_makes_what_follows_stale_and_says_so(cli: Cli, trained: Path) -> None:
    assert cli("advantage", "--run", trained, "--step", "0", "--beta", "8", "--force").code == 0
    assert "stale: the updates of step 0 were made from other advantages" in cli("status", "--run", trained).out
    result = cli("train", "--run", trained, "--steps", "3")
    assert result.code == 1
    assert "the updates of step 0 were made from other advantages" in result.err
    assert "rsgrpo fork" in result.err


def test_a_stage_with_a_stale_input_is_refused(cli: Cli) -> None:
    for command in ("prepare", *CHAIN[:3]):
        assert cli(command, "--run", "runs/x", *(SMALL if command == "prepare" else ())).code == 0
    assert cli("rollout", "--run", "runs/x", "--temperature", "0.5", "--force").code == 0
    for command in ("advantage", "update"):
        result = cli(command, "--run", "runs/x")
        assert (result.code, "the rewards of step 0 were made from other rollouts" in result.err) == (1, True)
    # The stage that is stale itself refuses too, until told.
    assert "made from inputs that have been replaced" in cli("score", "--run", "runs/x").err
    for command in ("score", "advantage"):
        assert cli(command, "--run", "runs/x", "--force").code == 0
    assert cli("update", "--run", "runs/x").code == 0


def test_prompts_load_in_the_form_that_verl_reads(cli: Cli) -> None:
    assert cli("prepare", "--run", "runs/x", "--limit", "5").code == 0
    row = pq.read_table("runs/x/prompts.parquet").to_pylist()[0]
    assert row["prompt"][0].keys() == {"role", "content"}
    assert row["reward_model"] == {"ground_truth": row["ground_truth"], "style": "rule"}
    assert row["data_source"] == "toy"
    assert row["extra_info"]["index"] == 0


def test_numeric_answers_go_through_math_verify(cli: Cli) -> None:
    settings = [*SMALL, "--set", "rollout.prompts_per_step=16"]
    assert cli("prepare", "--run", "runs/sums", "--dataset", "sums", *settings).code == 0
    for command in CHAIN[:2]:
        assert cli(command, "--run", "runs/sums").code == 0
    statuses = pq.read_table("runs/sums/steps/000000/rewards")["reward_status"].to_pylist()
    assert {"ok", "wrong"} <= set(statuses)


def test_a_reward_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def shorter(completions, ground_truth, **columns):\n"
        "    return [None if '*' in text else -len(text) / 10 for text in completions]\n"
    )
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    assert cli("rollout", "--run", "runs/x").code == 0
    result = cli("score", "--run", "runs/x", "--reward", "mine:shorter", "--json")
    assert result.code == 0, result.err
    assert set(result.json["statuses"]) == {"scored", "skipped"}
    for command in ("advantage", "update"):
        result = cli(command, "--run", "runs/x")
        assert result.code == 0, result.err
    metrics = pq.read_table("runs/x/metrics.parquet").to_pylist()[0]
    assert metrics["reward_mean"] < 0
    assert metrics["pass@1"] is None  # a number is no verdict


@pytest.mark.parametrize("command", CHAIN)
def test_json_names_what_was_made(cli: Cli, trained: Path, command: str) -> None:
    result = cli(command, "--run", trained, "--step", "1", "--json")
    assert result.json["stage"] == command
    assert Path(result.json["path"]).exists()
    assert result.json["skipped"] is True


def test_prepare_checks_answers_with_the_reward_of_the_run(cli: Cli, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"problem": "Make 24 from 3 5 7 2.", "answer": "3 5 7 2 -> 24"}\n')
    settings = ("--dataset", str(mine), "--set", "prepare.decontaminate=off")
    assert cli("prepare", "--run", "runs/a", *settings, "--reward", "countdown").code == 0
    assert pq.read_table("runs/a/prompts.parquet")["ground_truth"].to_pylist() == ["3 5 7 2 -> 24"]
    mine.write_text('{"problem": "3+4?", "answer": "7"}\n')
    refused = cli("prepare", "--run", "runs/b", *settings, "--reward", "countdown")
    assert refused.code == 1
    assert 'mine.jsonl line 1: the answer "7" cannot be verified: a countdown puzzle is written like' in refused.err
