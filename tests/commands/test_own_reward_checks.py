"""What is wrong with a reward function of the user's own is said before anything is sampled, or stops the run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.schemas import PROMPTS
from tests.conftest import Cli

SMALL = ["--steps", "1", "--group-size", "2", "--prompts-per-step", "2", "--max-tokens", "6", "--workers", "1"]
START = ["--set", "rollout.group_size=2", "--set", "rollout.prompts_per_step=2", "--set", "rollout.max_tokens=6"]
FUNCTIONS = """
import time, zlib

CONSTANT = 1

def length(completions, **columns):
    return [float(len(text)) for text in completions]

def hard(completions, difficulty):
    return [float(level) for level in difficulty]

def tagged(completions, answer, tags):
    return [float(number) + len(tags[0]) for number in answer]

def own_task(completions, task):
    return [float(len(name)) for name in task]

def small(completions, **columns):
    assert "story" not in columns, sorted(columns)
    return [float(level) for level in columns["difficulty"]]

def slow(completions, **columns):
    time.sleep(9)
"""
ROWS = [
    {"problem": "What is 3+4?", "answer": 7, "difficulty": 1, "task": "sum", "tags": ["x", 1], "story": "s" * 2000},
    {"problem": "What is 2+6?", "answer": 8, "difficulty": 3, "task": "sum", "tags": ["x", 1], "story": "s"},
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def sampled(cli: Cli, *flags: str) -> None:
    result = cli("prepare", "--run", "runs/x", "--dataset", "rows.jsonl", *START, *flags)
    assert result.code == 0, result.err
    assert cli("rollout", "--run", "runs/x").code == 0


@pytest.mark.parametrize(
    ("function", "expected"), [("own_task", {3.0}), ("tagged", {9.0, 10.0}), ("small", {1.0, 3.0})]
)
def test_columns_of_every_kind_reach_the_function(cli: Cli, function: str, expected: set[float]) -> None:
    sampled(cli, "--reward", f"mine:{function}")
    result = cli("score", "--run", "runs/x")
    assert result.code == 0, result.err
    assert set(pq.read_table("runs/x/steps/000000/rewards")["reward"].to_pylist()) == expected


def test_prompts_that_get_more_columns_stay_the_same_artifact(cli: Cli) -> None:
    sampled(cli)
    before = read_lineage(Path("runs/x/prompts.parquet"), PROMPTS).id
    for function in ("hard", "tagged"):
        assert cli("score", "--run", "runs/x", "--reward", f"mine:{function}", "--force").code == 0
    # A verifier goes by our task, not by the data set's.
    assert cli("score", "--run", "runs/x", "--reward", "auto", "--force").code == 0
    assert read_lineage(Path("runs/x/prompts.parquet"), PROMPTS).id == before
    stored = json.loads(pq.read_table("runs/x/prompts.parquet")["extra_columns"][0].as_py())
    assert stored == {"answer": 7, "difficulty": 1, "tags": ["x", 1]}


def test_rollout_and_eval_look_at_the_columns_first(cli: Cli) -> None:
    sampled(cli, "--reward", "mine:hard")
    Path("mine.py").write_text(FUNCTIONS.replace("completions, difficulty", "completions, level"))
    refused = cli("rollout", "--run", "runs/x", "--force")
    assert (refused.code, "mine:hard needs level" in refused.err) == (2, True)
    Path("mine.py").write_text(FUNCTIONS)
    Path("test.jsonl").write_text(json.dumps({"problem": "What is 1+1?", "answer": 2}))
    refused = cli("eval", "--run", "runs/x", "--benchmark", "test.jsonl", "-n", "1", "--k", "1")
    assert (refused.code, "mine:hard needs difficulty; data set test has" in refused.err) == (2, True)
    assert not list(Path("runs/x").glob("evals/**/*.parquet"))


@pytest.mark.parametrize("reward", ["nosuch:f", "mine:missing", "mine:CONSTANT"])
@pytest.mark.parametrize("command", [["train", *SMALL], ["prepare"], ["eval", "--model", "toy", "-n", "1", "--k", "1"]])
def test_a_reward_that_cannot_be_loaded_is_found_out_at_once(cli: Cli, command: list[str], reward: str) -> None:
    result = cli(*command, "--run", "runs/x", "--reward", reward)
    assert (result.code, f"the reward function {reward} cannot be loaded" in result.err) == (2, True)
    assert not Path("runs/x").exists()


def test_a_run_directory_is_no_program(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("train", "--run", "runs/x", "--reward", "mine:length", *SMALL).code == 0
    run, mark = tmp_path / "runs" / "x", tmp_path / "imported"
    (run / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\n{FUNCTIONS}")
    monkeypatch.chdir(run)
    refused = cli("train", "--run", ".", "--steps", "2")
    assert (refused.code, "a run directory is data" in refused.err) == (2, True)
    assert not mark.exists()


def test_a_time_limit_that_nothing_meets_stops_the_run(cli: Cli) -> None:
    result = cli("train", "--run", "runs/x", "--reward", "mine:slow", "--timeout", "0.1", *SMALL)
    assert (result.code, "it took longer than 0.1 s" in result.err, "--timeout" in result.err) == (1, True, True)
    assert not list(Path("runs/x").glob("steps/*/rewards"))
