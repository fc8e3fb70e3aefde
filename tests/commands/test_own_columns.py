"""What a data set has beside problem and answer reaches a reward function, and what it needs is checked first."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Cli

ROWS = [
    {"problem": "Make 5 from 2 3.", "answer": "5", "difficulty": 3, "source": {"name": "a"}},
    {"problem": "Make 7 from 3 4.", "answer": "7", "difficulty": 4, "source": {"name": "b"}},
]
SMALL = ["--group-size", "2", "--prompts-per-step", "2", "--max-tokens", "8", "--workers", "1", "--steps", "1"]
START = ["--set", "rollout.group_size=2", "--set", "rollout.prompts_per_step=2", "--set", "rollout.max_tokens=8"]
OWN = ["--run", "runs/x", "--dataset", "mine.jsonl", "--set", "prepare.decontaminate=off"]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "own.py").write_text(
        "from beside import weight\n"
        "def hard(completions, difficulty, **columns): return [weight * d for d in difficulty]\n"
        "def like_trl(prompts, completions, completion_ids, **columns):\n"
        "    return [len(p) + 10 * len(ids) for p, ids in zip(prompts, completion_ids)]\n"
        "def nested(completions, source): return [float(s['name'] == 'b') for s in source]\n"
        "def all_of_them(completions, **columns): return [float(columns['difficulty'][0]) for c in completions]\n"
        "def unmet(completions, level): return [0.0 for c in completions]\n"
    )
    (tmp_path / "beside.py").write_text("weight = 1.0\n")


def rewards(run: str = "runs/x") -> list[float]:
    made: list[float] = pq.read_table(f"{run}/steps/000000/rewards")["reward"].to_pylist()
    return made


@pytest.mark.parametrize(
    ("function", "expected"), [("hard", {3.0, 4.0}), ("nested", {0.0, 1.0}), ("all_of_them", {3.0, 4.0})]
)
def test_columns_of_the_data_set_reach_the_function(cli: Cli, function: str, expected: set[float]) -> None:
    result = cli("train", *OWN, *SMALL, "--reward", f"own:{function}")
    assert result.code == 0, result.err
    assert set(rewards()) == expected


def test_trls_arguments_are_there(cli: Cli) -> None:
    result = cli("train", *OWN, *SMALL, "--reward", "own:like_trl")
    assert result.code == 0, result.err
    tokens = pq.read_table("runs/x/steps/000000/rollouts/part-00000.parquet")["completion_ids"].to_pylist()
    assert rewards() == [1 + 10 * len(ids) for ids in tokens]  # a chat of one message


def test_what_the_function_lacks_is_said_before_anything_is_sampled(cli: Cli, tmp_path: Path) -> None:
    for command in (["train", *SMALL], ["prepare"]):
        result = cli(*command, *OWN, "--reward", "own:unmet")
        assert result.code == 2
        assert "own:unmet needs level" in result.err
        assert "difficulty" in result.err  # what there is
        assert not list((tmp_path / "runs").glob("x/steps/*/rollouts*"))
    # The same command with another function starts again.
    assert cli("train", *OWN, *SMALL, "--reward", "own:hard").code == 0


def test_another_function_for_one_stage_gets_its_columns_too(cli: Cli) -> None:
    assert cli("train", *OWN, *SMALL, "--reward", "own:nested").code == 0
    prompts = pq.read_table("runs/x/prompts.parquet")
    assert cli("score", "--run", "runs/x", "--reward", "own:hard", "--tag", "hard").code == 0
    tagged = pq.read_table("runs/x/steps/000000/rewards.hard")["reward"].to_pylist()
    assert set(tagged) == {3.0, 4.0}
    assert pq.read_table("runs/x/prompts.parquet")["prompt_id"] == prompts["prompt_id"]
    assert cli("status", "--run", "runs/x", "--json").json["stale"] == []


def test_a_module_that_the_function_imports_belongs_to_it(cli: Cli, tmp_path: Path) -> None:
    assert cli("prepare", *OWN, "--reward", "own:hard", *START).code == 0
    for command in ("rollout", "score"):
        assert cli(command, "--run", "runs/x").code == 0
    before = rewards()
    (tmp_path / "beside.py").write_text("weight = 5.0\n")
    assert cli("score", "--run", "runs/x").code == 0
    assert rewards() == [5 * reward for reward in before]


def test_prompts_without_own_columns_are_as_they_always_were(cli: Cli) -> None:
    assert cli("prepare", *OWN).code == 0
    assert "extra_columns" not in pq.read_schema("runs/x/prompts.parquet").names
