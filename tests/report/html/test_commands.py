"""The commands on the page work as they stand: in a shell that trusts nothing."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.report.html import collect
from rsgrpo_cli.run.run_commands import command, trust
from rsgrpo_cli.run.run_dir import RunDir
from tests.conftest import SMALL, Cli
from tests.report.html.test_page import read

MINE = """
import numpy as np

def reward(completions, **columns):
    return [len(text) % 2 for text in completions]

def estimator(rewards):
    return rewards - np.mean(rewards)
"""
FEW = [*SMALL, "--prompts-per-step", "2", "--max-tokens", "8", "--checkpoint-every", "1"]

HELD = ["--benchmark", "held.jsonl", "--answer-column", "g"]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, unasked: None) -> None:
    """Functions and problems of the user's own, and nothing that says that he trusts them."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "own.jsonl").write_text(
        '{"problem": "Compute 2+3.", "gold": 5}\n{"problem": "Compute 2*3.", "gold": 6}\n'
    )
    (tmp_path / "held.jsonl").write_text('{"problem": "Compute 4+3.", "g": 7}\n{"problem": "Compute 1+1.", "g": 2}\n')


def done(cli: Cli, text: str) -> None:
    program, *words = shlex.split(text)
    assert program == "rsgrpo"
    result = cli(*words)
    assert result.code == 0, (text, result.err)


def shown(*places: str) -> dict[str, Any]:
    return read(collect.page(places))[0]


def test_of_a_run_with_own_data_and_own_functions(cli: Cli) -> None:
    own = [
        "--dataset",
        "own.jsonl",
        "--answer-column",
        "gold",
        "--reward",
        "mine:reward",
        "--estimator",
        "mine:estimator",
    ]
    assert cli("train", "--run", "x", "--steps", "1", *FEW, *own).code == 0
    data = shown("x")
    assert data["missing"] == [["x", "rsgrpo eval --run runs/x --benchmark FILE --trust"]]
    (run,) = data["runs"]
    done(cli, run["next"]["train"])  # there is nothing left to do
    sampling = ["-n", "2", "--k", "1,2", "--temperature", "0.5"]
    assert (
        cli("eval", "--run", "x", "--benchmark", "held.jsonl", "--answer-column", "g", "--trust", *sampling).code == 0
    )
    data = shown("x")
    (run,) = data["runs"]
    assert not data["missing"]
    done(cli, run["next"]["base"])
    data = shown("x")
    assert [arm["label"] for arm in data["arms"]] == ["base model", "x@1"]
    assert not data["pairs"]["0,1"]["unlike"]  # the base model was sampled as the policy was
    for text in run["commands"]:
        assert " x-again" in text
        done(cli, text)
    assert shown("x-again")["arms"][-1]["curve"] == data["arms"][-1]["curve"]


def test_what_the_training_evaluates_is_not_evaluated_again(cli: Cli) -> None:
    measured = ["--eval-every", "1", "-n", "2", "--k", "1,2", "--set", "eval.max_tokens=8", "--reward", "mine:reward"]
    assert cli("train", "--run", "x", "--steps", "2", *FEW, *measured).code == 0
    (again,) = shown("x")["runs"][0]["commands"]
    assert again.startswith("rsgrpo train --run x-again ")
    assert again.endswith(" --trust")
    # Another number of samples, or another benchmark, is an evaluation of its own.
    assert cli("eval", "--run", "x", "--policy", "1", "-n", "4", "--k", "1,2", "--trust").code == 0
    held = ["--benchmark", "held.jsonl", "--answer-column", "g", "--policy", "2", "--trust"]
    assert cli("eval", "--run", "x", *held).code == 0
    page = read(collect.page(["x"], "toy"))[0]
    _, *evaluations = page["runs"][0]["commands"]
    assert [shlex.split(text)[5] for text in evaluations] == ["1", "2"]
    assert "--num-samples 4" in evaluations[0]
    assert "--benchmark held.jsonl" in evaluations[1]


def test_of_an_update_with_a_tag(cli: Cli) -> None:
    evaluated = ["-n", "2", "--k", "1,2", "--set", "eval.max_tokens=8"]
    assert cli("train", "--run", "x", "--steps", "1", *FEW).code == 0
    assert cli("advantage", "--run", "x", "--step", "0", "--beta", "8", "--tag", "b").code == 0
    assert cli("update", "--run", "x", "--step", "0", "--advantages", "b", "--tag", "b", "--lr", "0.01").code == 0
    ((name, measure),) = shown("x@1.b")["missing"]
    assert (name, measure) == ("x@1.b", "rsgrpo eval --run runs/x --policy 1.b")
    done(cli, shlex.join([*shlex.split(measure), *evaluated]))
    data = shown("x@1.b")
    for text in data["runs"][0]["commands"]:
        done(cli, text)
    assert shown("x-again@1.b")["arms"][-1]["curve"] == data["arms"][-1]["curve"]
    RunDir.open("x").with_update(0, "b").policy_logprobs(0).unlink()  # as gc does
    told, keep = shown("x@1.b")["groups"]["steps"][0]["trainer"]
    assert "runs/x@1.trainer" in told
    done(cli, keep)
    assert shown("x@1.trainer")["groups"]["steps"][0]["trainer"] is None


def test_of_a_fork(cli: Cli) -> None:
    own = ["--estimator", "mine:estimator"]
    assert cli("train", "--run", "x", "--steps", "2", *FEW, *own).code == 0
    assert cli("fork", "y", "--run", "x", "--step", "1", "--lr", "0.1").code == 0
    assert cli("train", "--run", "y", "--trust").code == 0
    for text in shown("y")["runs"][0]["commands"]:
        done(cli, text)
    assert RunDir.open("y-again").policy_id(2, "") == RunDir.open("y").policy_id(2, "")


def test_what_is_missing_is_measured_as_the_others_were(cli: Cli) -> None:
    for name, beta in (("x", "1"), ("y", "2")):
        assert cli("train", "--run", name, "--steps", "1", *FEW, "--beta", beta).code == 0
    assert (
        cli("eval", "--run", "x", "--benchmark", "held.jsonl", "--answer-column", "g", "-n", "2", "--k", "1").code == 0
    )
    ((name, measure),) = shown("x", "y")["missing"]
    assert (name, measure) == (
        "y",
        "rsgrpo eval --run runs/y --benchmark held.jsonl --answer-column g --num-samples 2 --k 1",
    )
    done(cli, measure)
    assert set(shown("x", "y")["pairs"]) == {"0,1", "1,0"}


def test_only_what_calls_a_function_of_ones_own_needs_trust(cli: Cli) -> None:
    assert cli("train", "--run", "x", "--steps", "1", *FEW, "--reward", "mine:reward").code == 0
    run = RunDir.open("x")
    assert {name: bool(trust(run, name)) for name in ("train", "rollout", "score", "advantage", "update", "eval")} == {
        "train": True, "rollout": True, "score": True, "advantage": False, "update": False, "eval": True,
    }  # fmt: skip
    for name in ("rollout", "score", "advantage", "update"):
        done(cli, command(run, name, "--step", "0", "--force"))


def test_a_policy_that_never_was_is_refused(cli: Cli) -> None:
    assert cli("train", "--run", "x", "--steps", "1", *FEW).code == 0
    refused = cli("report", "x@7", "--html", "x.html")
    assert (refused.code, "run x has no policy 7" in refused.err) == (1, True)
