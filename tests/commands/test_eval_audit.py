"""`eval --audit-with`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.report.html.collect import page
from tests.conftest import Cli

GRADERS = """
def contains(completions, ground_truth, **columns):
    return [gold in text for gold, text in zip(ground_truth, completions)]

def never(completions, **columns):
    return [0.0 for _ in completions]

def by_hint(completions, hint, **columns):
    return [float(wanted in text) for wanted, text in zip(hint, completions)]
"""
EVAL = ["--benchmark", "held.jsonl", "--engine", "dummy", "--set", "score.workers=1"]
JUDGED = ["--benchmark", "held", "--policy", "0"]


@pytest.fixture
def evaluated(cli: Cli, tmp_path: Path) -> Path:
    """A run whose base model was evaluated on two problems, eight samples each."""
    (tmp_path / "graders.py").write_text(GRADERS)
    problems = [{"problem": f"Which number is {gold}?", "answer": str(gold), "hint": "9"} for gold in (3, 4)]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    assert cli("prepare", "--run", "runs/x", "--model", "toy").code == 0
    made = cli("eval", "--run", "runs/x", *EVAL, "--reward", "graders:contains", "-n", "8", "--k", "1,8")
    assert made.code == 0, made.err
    return tmp_path / "runs" / "x"


def folder(run: Path) -> Path:
    return run / "evals" / "000000" / "held"


def files(run: Path) -> dict[str, bytes]:
    found = [path for path in folder(run).rglob("*.parquet") if not path.name.startswith("audit.")]
    return {str(path): path.read_bytes() for path in found}


def earned(run: Path) -> int:
    return int(sum(pq.read_table(folder(run) / "rewards")["reward"].to_pylist()))


def disagreements(run: Path, grader: str) -> list[dict[str, Any]]:
    return list(pq.read_table(folder(run) / f"audit.{grader}.parquet").to_pylist())


def test_a_second_grader_of_an_evaluation(cli: Cli, evaluated: Path) -> None:
    before = files(evaluated)
    result = cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:never")
    rows = disagreements(evaluated, "graders-never")
    assert result.code == 0, result.err
    assert 0 < len(rows) == earned(evaluated) < 16
    assert all((row["reward"], row["second_reward"]) == (1.0, 0.0) for row in rows)
    assert f"policy 0 on held: graders:never disagrees on {len(rows)} completion" in result.out
    assert files(evaluated) == before
    assert cli("verify", evaluated).code == 0


def test_the_page_shows_it_and_says_when_it_is_of_other_verdicts(cli: Cli, evaluated: Path) -> None:
    assert cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:never").code == 0
    shown = page([str(evaluated)])
    assert b'"of":"policy 0 on held"' in shown
    assert b'"grader":"graders:never","compared":16,"current":true' in shown
    assert b"--audit-with graders:never" in shown
    more = cli("eval", "--run", evaluated, *EVAL, "--reward", "graders:contains", "-n", "16", "--k", "1,16")
    assert more.code == 0, more.err
    assert b'"grader":"graders:never","compared":16,"current":false' in page([str(evaluated)])
    assert cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:never").code == 0
    assert b'"grader":"graders:never","compared":32,"current":true' in page([str(evaluated)])


def test_json_has_every_completion(cli: Cli, evaluated: Path) -> None:
    result = cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:never", "--json")
    (one,) = result.json["evaluations"]
    assert (one["policy"], one["benchmark"]) == (0, "held")
    assert one["disagreements"] == disagreements(evaluated, "graders-never")
    agrees = cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:contains", "--json")
    assert agrees.json["evaluations"][0]["disagreements"] == []


def test_bare_math_verify_as_the_second_grader(cli: Cli, evaluated: Path) -> None:
    result = cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "bare", "--json")
    assert result.code == 0, result.err
    assert {row["ground_truth"] for row in disagreements(evaluated, "bare")} <= {"3", "4"}


def test_a_column_that_the_first_grader_did_not_take_is_read(cli: Cli, evaluated: Path) -> None:
    command = ["eval", "--run", evaluated, "--policy", "0", "--audit-with", "graders:by_hint", "--json"]
    result = cli(*command, "--benchmark", "held.jsonl")
    assert result.code == 0, result.err
    completions = pq.read_table(folder(evaluated) / "rollouts")["completion"].to_pylist()
    judged = pq.read_table(folder(evaluated) / "rewards")["reward"].to_pylist()
    differ = sum((reward == 1) != ("9" in text) for reward, text in zip(judged, completions, strict=True))
    assert len(result.json["evaluations"][0]["disagreements"]) == differ > 0


def test_a_grader_that_only_the_command_names_needs_no_trust(cli: Cli, evaluated: Path, unasked: None) -> None:
    assert cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:never").code == 0


@pytest.mark.parametrize("flags", [["--rescore"], ["--force"], ["-n", "4"], ["--temperature", "0.5"]])
def test_what_would_make_other_verdicts_is_refused(cli: Cli, evaluated: Path, flags: list[str]) -> None:
    before = files(evaluated)
    result = cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:never", *flags)
    assert result.code == 2
    assert len(result.err.splitlines()) == 2
    assert files(evaluated) == before


def test_what_was_not_evaluated_is_to_be_measured_first(cli: Cli, evaluated: Path) -> None:
    result = cli("eval", "--run", evaluated, "--benchmark", "toy", "--policy", "0", "--audit-with", "graders:never")
    assert result.code == 1
    assert "has no evaluation of policy 0 on toy" in result.err
    assert f"rsgrpo eval --run {evaluated} --policy 0 --benchmark toy" in result.err
    result = cli(
        "eval", "--run", evaluated, "--benchmark", "held.jsonl", "--tag", "hot", "--audit-with", "graders:never"
    )
    assert f"rsgrpo eval --run {evaluated} --policy 0 --benchmark held.jsonl --tag hot" in result.err


def test_verdicts_that_are_not_those_of_the_summary_are_refused(cli: Cli, evaluated: Path) -> None:
    next((folder(evaluated) / "rewards").glob("*.parquet")).unlink()
    result = cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:never")
    assert result.code == 1
    assert "measure again: rsgrpo eval" in result.err


def test_a_damaged_list_is_found(cli: Cli, evaluated: Path) -> None:
    assert cli("eval", "--run", evaluated, *JUDGED, "--audit-with", "graders:never").code == 0
    path = folder(evaluated) / "audit.graders-never.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    result = cli("verify", evaluated)
    assert result.code == 1
    assert str(path) in result.out + result.err
