"""`score --retry` and `score --audit-with`, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.report.html.collect import page
from tests.conftest import Cli

GRADERS = textwrap.dedent("""
    import os, pathlib, signal

    def flaky(completions, ground_truth, **columns):
        if any("4" in text or "5" in text for text in completions) and os.path.exists("busy"):
            raise RuntimeError("too busy")
        with open("called", "a") as file:
            file.writelines(text + "\\n" for text in completions)
        return [gold in text for gold, text in zip(ground_truth, completions)]

    def dies_once(completions, ground_truth, **columns):
        if os.path.exists("kill"):
            os.remove("kill")
            os.kill(os.getpid(), signal.SIGKILL)
        return [gold in text for gold, text in zip(ground_truth, completions)]

    def never(completions, **columns):
        return [0.0 for _ in completions]
""")
ROLLOUT = ["--engine", "dummy", "--set", "rollout.group_size=16", "--set", "rollout.prompts_per_step=2"]
SCORE = ["--set", "score.workers=1", "--reward"]


@pytest.fixture
def sampled(cli: Cli, tmp_path: Path) -> Path:
    """A run with completions of two problems."""
    (tmp_path / "graders.py").write_text(GRADERS)
    problems = [{"problem": f"Which number is {gold}?", "answer": str(gold)} for gold in (3, 4)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    assert cli("prepare", "--run", "runs/x", "--dataset", "problems.jsonl").code == 0
    assert cli("rollout", "--run", "runs/x", *ROLLOUT).code == 0
    return tmp_path / "runs" / "x"


def statuses(run: Path) -> list[str]:
    found = pq.read_table(run / "steps" / "000000" / "rewards").to_pylist()
    return [str(row["reward_status"]) for row in found]


def files(run: Path) -> dict[str, bytes]:
    folder = run / "steps" / "000000" / "rewards"
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def disagreements(run: Path, grader: str) -> list[dict[str, Any]]:
    return list(pq.read_table(run / "steps" / "000000" / f"audit.{grader}.parquet").to_pylist())


def test_only_what_failed_is_graded_again(cli: Cli, sampled: Path, tmp_path: Path) -> None:
    (tmp_path / "busy").touch()
    first = cli("score", "--run", sampled, *SCORE, "graders:flaky")
    failed = statuses(sampled).count("error")
    assert first.code == 0
    assert 0 < failed < 32
    assert f"no verdict on {failed} of 32 completions" in first.err
    hint = f"rsgrpo score --run {sampled} --step 0 --reward graders:flaky --retry error,timeout"
    assert hint in first.err.replace("\n", " ")
    (tmp_path / "called").unlink()
    (tmp_path / "busy").unlink()
    again = cli(*hint.split()[1:], "--json")
    assert again.code == 0, again.err
    assert again.json["tried_again"] == failed
    assert "error" not in statuses(sampled)
    assert len((tmp_path / "called").read_text().splitlines()) == failed
    retried = files(sampled)
    assert cli("score", "--run", sampled, *SCORE, "graders:flaky", "--force").code == 0
    assert files(sampled) == retried  # as if nothing had ever failed


def test_what_fails_again_is_a_share_of_all(cli: Cli, sampled: Path, tmp_path: Path) -> None:
    """Nothing of the few that are tried again can make most of the completions fail: what is saved is kept."""
    (tmp_path / "busy").touch()
    assert cli("score", "--run", sampled, *SCORE, "graders:flaky").code == 0
    before, failed = files(sampled), statuses(sampled).count("error")
    again = cli("score", "--run", sampled, *SCORE, "graders:flaky", "--retry", "error,timeout")
    assert (again.code, files(sampled)) == (0, before), again.err
    assert again.out.startswith(f"score: {failed} tried again, and no verdict changes; ")


def test_a_function_that_fails_on_most_of_all_is_refused_when_it_tries_again(
    cli: Cli, sampled: Path, tmp_path: Path
) -> None:
    (tmp_path / "graders.py").write_text(GRADERS.replace('"4" in text or "5" in text', '"busy"'))
    assert cli("score", "--run", sampled, *SCORE, "graders:flaky").code == 0
    (tmp_path / "busy").touch()
    before = files(sampled)
    refused = cli("score", "--run", sampled, *SCORE, "graders:flaky", "--retry", "scored")
    assert (refused.code, files(sampled)) == (1, before)
    assert "failed on every completion: it raised RuntimeError: too busy" in refused.err


def test_nothing_to_try_again(cli: Cli, sampled: Path) -> None:
    assert cli("score", "--run", sampled, *SCORE, "graders:flaky").code == 0
    before = files(sampled)
    result = cli("score", "--run", sampled, *SCORE, "graders:flaky", "--retry", "error", "--json")
    assert (result.code, result.json["skipped"], result.json["tried_again"]) == (0, True, 0)
    assert files(sampled) == before
    for asked, count in (("error", 0), ("scored", 32)):
        told = cli("score", "--run", sampled, *SCORE, "graders:flaky", "--retry", asked).out
        assert told.startswith(f"score: {count} tried again, and no verdict changes; ")


def test_what_failed_under_a_tag_is_graded_again_under_it(cli: Cli, sampled: Path, tmp_path: Path) -> None:
    assert cli("score", "--run", sampled, "--set", "score.workers=1").code == 0
    (tmp_path / "busy").touch()
    limit = ["--set", "score.format_weight=0.5", "--tag", "mine"]
    first = cli("score", "--run", sampled, *SCORE, "graders:flaky", *limit)
    (tmp_path / "busy").unlink()
    hint = first.err.replace("\n", " ").partition("again: rsgrpo ")[2].split()
    again = cli(*hint, "--json")
    assert again.code == 0, again.err
    assert again.json["tried_again"] > 0
    assert again.json["statuses"] == {"scored": 32}


def test_what_a_reward_raises_cannot_command_the_terminal(cli: Cli, sampled: Path, tmp_path: Path) -> None:
    (tmp_path / "rude.py").write_text("def rude(completions, **columns):\n    raise ValueError('\\x1b[31mred')\n")
    command = [sys.executable, "-m", "rsgrpo_cli", "score", "--run", "runs/x", *SCORE, "rude:rude"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "it raised ValueError: \\x1b[31mred" in done.stderr
    assert "\x1b" not in done.stderr


def test_what_depends_on_the_rewards_is_not_left_behind(cli: Cli, sampled: Path, tmp_path: Path) -> None:
    (tmp_path / "busy").touch()
    assert cli("score", "--run", sampled, *SCORE, "graders:flaky").code == 0
    assert cli("advantage", "--run", sampled).code == 0
    (tmp_path / "busy").unlink()
    before, command = files(sampled), ["score", "--run", sampled, *SCORE, "graders:flaky", "--retry", "error"]
    refused = cli(*command)
    assert refused.code == 1
    assert "--force" in refused.err
    assert files(sampled) == before
    assert cli(*command, "--force").code == 0
    assert "error" not in statuses(sampled)


def test_rewards_of_other_settings_are_not_mixed(cli: Cli, sampled: Path) -> None:
    assert cli("score", "--run", sampled, *SCORE, "graders:never").code == 0
    result = cli("score", "--run", sampled, *SCORE, "graders:flaky", "--retry", "error")
    assert result.code == 1
    assert "--force" in result.err


@pytest.mark.parametrize(
    "flags", [["--retry", "nothing"], ["--retry", ""], ["--retry", "error", "--audit-with", "bare"]]
)
def test_what_makes_no_sense_is_refused(cli: Cli, sampled: Path, flags: list[str]) -> None:
    result = cli("score", "--run", sampled, *flags)
    assert result.code == 2
    assert len(result.err.splitlines()) == 2


def test_a_worker_that_is_killed_leaves_no_trace(cli: Cli, sampled: Path, tmp_path: Path) -> None:
    command = ["score", "--run", sampled, *SCORE, "graders:dies_once"]
    assert cli(*command).code == 0
    undisturbed = files(sampled)
    (tmp_path / "kill").touch()
    assert cli(*command, "--force").code == 0
    assert not (tmp_path / "kill").exists()  # it was killed
    assert files(sampled) == undisturbed


def test_a_second_grader_of_ones_own(cli: Cli, sampled: Path) -> None:
    assert cli("score", "--run", sampled, *SCORE, "graders:flaky").code == 0
    right, before = statuses(sampled), files(sampled)
    result = cli("score", "--run", sampled, "--audit-with", "graders:never")
    rows = disagreements(sampled, "graders-never")
    assert len(rows) == sum(row["reward"] for row in rows)
    assert 0 < len(rows) < len(right)
    assert all((row["reward"], row["second_reward"]) == (1.0, 0.0) for row in rows)
    assert f"graders:never disagrees on {len(rows)} completion" in result.out
    assert files(sampled) == before
    assert cli("verify", sampled).code == 0
    shown = page([str(sampled)])
    assert b'"grader":"graders:never","compared":32,"current":true' in shown
    assert cli("score", "--run", sampled, *SCORE, "graders:never", "--force", "--accept-changes").code == 0
    assert b'"current":false' in page([str(sampled)])


def test_bare_math_verify_as_the_second_grader(cli: Cli, sampled: Path) -> None:
    assert cli("score", "--run", sampled, *SCORE, "graders:never").code == 0
    result = cli("score", "--run", sampled, "--audit-with", "bare", "--json")
    assert {row["second_status"] for row in result.json["disagreements"]} == {"ok"}
    assert {row["ground_truth"] for row in result.json["disagreements"]} <= {"3", "4"}
    assert disagreements(sampled, "bare") == result.json["disagreements"]


@pytest.mark.parametrize("grader", ["bare", "math"])
def test_a_grader_of_mathematics_is_not_asked_about_puzzles(cli: Cli, trained: Path, grader: str) -> None:
    result = cli("score", "--run", trained, "--audit-with", grader)
    assert result.code == 2
    assert f"{grader} grades the task math, and these prompts have the task countdown" in result.err
    assert cli("score", "--run", trained, "--audit-with", "countdown").code == 0


def test_a_second_grader_that_is_named_needs_no_trust(cli: Cli, sampled: Path, unasked: None) -> None:
    assert cli("score", "--run", sampled, *SCORE, "graders:flaky").code == 0
    assert cli("score", "--run", sampled, "--audit-with", "graders:never").code == 0


def test_a_second_grader_that_cannot_be_called_says_how_to_name_one(cli: Cli, sampled: Path) -> None:
    assert cli("score", "--run", sampled, *SCORE, "graders:never").code == 0
    result = cli("score", "--run", sampled, "--audit-with", "graders:nothing")
    assert result.code == 2
    assert "--audit-with graders:FUNCTION" in result.err
