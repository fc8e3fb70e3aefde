"""A reward function of the user's own, from a module in the current directory, in every command."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import Cli

FUNCTIONS = textwrap.dedent("""
    import zlib

    def mark(text):
        return zlib.crc32(text.encode())

    def graded(completions, **columns):
        return [1 / (1 + len(text)) for text in completions]

    def verdict(completions, **columns):
        return [mark(text) % 3 == 0 for text in completions]

    def long(completions, **columns):
        return [len(text) / 100 for text in completions]

    def nothing(completions, **columns):
        return [None for _ in completions]

    def some(completions, **columns):
        return [None if mark(text) % 2 else -float(len(text)) for text in completions]
""")
STEPS = ["--steps", "2", "--set", "rollout.group_size=4", "--set", "rollout.prompts_per_step=4"]
SMALL = [*STEPS, "--set", "score.workers=1", "--set", "train.checkpoint_every=1"]
pytestmark = pytest.mark.usefixtures("module")


def rows(run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(f"{run}/metrics.parquet").to_pylist()
    return found


def test_grades_have_no_verdicts_and_their_cells_are_empty(cli: Cli) -> None:
    result = cli("train", "--run", "runs/x", "--reward", "mine:graded", *SMALL)
    assert result.code == 0, result.err
    heading, first = [line.split() for line in result.err.splitlines()[1:3]]
    shown = dict(zip(heading[:9], first, strict=False))
    assert (shown["pass@G"], shown["solved"]) == ("-", "-")
    assert float(shown["reward"]) > 0
    for row in rows("runs/x"):
        assert row["reward_mean"] is not None
        empty = ("pass@1", "pass@G", "cumulative_solve_rate", "groups_all_right", "groups_all_wrong")
        assert [row[name] for name in empty] == [None] * 5


@pytest.mark.parametrize("zero_variance", ["keep", "drop", "resample"])
@pytest.mark.parametrize("function", ["nothing", "some", "verdict"])
def test_every_kind_of_reward_trains_and_is_shown(cli: Cli, function: str, zero_variance: str) -> None:
    flags = ["--reward", f"mine:{function}", "--zero-variance", zero_variance, *SMALL]
    result = cli("train", "--run", "runs/x", *flags, "--json")
    assert result.code == 0, result.err
    last = result.json["last_step"]
    assert ("reward_mean" in last, "pass@G" in last) == (function != "nothing", function == "verdict")
    for command in (["status"], ["show", "--prompt", "5"]):
        assert cli(*command, "--run", "runs/x").code == 0


def test_zeros_and_ones_are_verdicts(cli: Cli) -> None:
    assert cli("train", "--run", "runs/x", "--reward", "mine:verdict", *SMALL).code == 0
    for step, row in enumerate(rows("runs/x")):
        table = pq.read_table(f"runs/x/steps/{step:06d}/rewards").to_pylist()
        rewards = [table_row["reward"] for table_row in table]
        groups = [rewards[start : start + 4] for start in range(0, 16, 4)]
        assert row["pass@1"] == sum(rewards) / 16
        assert row["pass@G"] == sum(any(group) for group in groups) / 4
        assert row["groups_all_right"] == sum(all(group) for group in groups)
        assert row["groups_all_wrong"] == sum(not any(group) for group in groups)
    solved = sum(row["pass@G"] * 4 for row in rows("runs/x"))
    assert rows("runs/x")[1]["cumulative_solve_rate"] == solved / 768


EVALUATED = ["--eval-every", "2", "--k", "1,2", "-n", "4"]


def test_a_graded_reward_is_evaluated_by_its_mean(cli: Cli) -> None:
    result = cli("train", "--run", "runs/g", "--reward", "mine:graded", *SMALL, *EVALUATED)
    assert result.code == 0, result.err
    assert "policy 2 on toy: reward 0.0" in result.err
    found = cli("eval", "--run", "runs/g", "--policy", "0", "--k", "1,2", "-n", "4", "--json").json
    assert found["summary"][0]["metric"] == "reward"
    compared = cli("compare", "runs/g@0", "runs/g", "--json").json
    (row,) = compared["differences"]
    assert row["metric"] == "reward"
    assert row["difference"] == pytest.approx(row["after"] - row["before"])
    for command in (["compare", "runs/g@0", "runs/g"], ["report", "runs/g@0", "runs/g"], ["status", "--run", "runs/g"]):
        looked = cli(*command)
        assert looked.code == 0, looked.err
    assert "reward" in cli("report", "runs/g").out
    assert cli("export", "runs/g", "--out", "exported").code == 0
    assert "reward" in Path("exported/README.md").read_text()
    refused = cli("report", "runs/g", "--figure", "x.svg")
    assert refused.code == 2
    assert "no pass@k to draw" in refused.err


def test_a_function_of_zeros_and_ones_is_evaluated_by_pass_at_k(cli: Cli) -> None:
    result = cli("train", "--run", "runs/v", "--reward", "mine:verdict", *SMALL, *EVALUATED)
    assert result.code == 0, result.err
    assert "pass@1" in result.err
    assert cli("eval", "--run", "runs/v", "--policy", "0", "--k", "1,2", "-n", "4").code == 0
    compared = cli("compare", "runs/v@0", "runs/v", "--json").json
    assert [row["k"] for row in compared["differences"]][:2] == [1, 2]


def test_grades_that_were_all_zero_once_are_still_compared(cli: Cli, module: Path) -> None:
    grown = "def grown(completions, **columns):\n    return [SCALE * len(text) for text in completions]\n"
    module.write_text("SCALE = 0.0\n" + grown)
    assert cli("train", "--run", "runs/z", "--reward", "mine:grown", *SMALL).code == 0
    assert cli("eval", "--run", "runs/z", "--policy", "0", "--k", "1", "-n", "2").code == 0
    module.write_text("SCALE = 0.5\n" + grown)
    assert cli("eval", "--run", "runs/z", "--policy", "2", "--k", "1", "-n", "2", "--accept-changes").code == 0
    result = cli("compare", "runs/z@0", "runs/z@2", "--json")
    assert result.code == 0, result.err
    (row,) = result.json["differences"]
    assert (row["metric"], row["before"]) == ("reward", 0.0)
    assert row["after"] > 0
    assert cli("eval", "--run", "runs/z", "--policy", "1", "--reward", "auto", "--k", "1", "-n", "2").code == 0
    refused = cli("compare", "runs/z@1", "runs/z@2")
    assert (refused.code, "with the same reward" in refused.err) == (2, True)
    page = cli("report", "runs/z@1", "runs/z@2", "--html", "x.html")
    assert (page.code, "rsgrpo eval --run runs/z --policy 2 " in page.err) == (2, True), page.err
    assert "--num-samples 2 --k 1 --reward auto --rescore" in page.err


GRADE = re.compile(r"rsgrpo (eval .* --rescore( --trust)?)")


def test_runs_of_other_functions_are_graded_alike_by_the_command_that_is_named(cli: Cli) -> None:
    for run, function in (("a", "graded"), ("b", "long")):
        assert cli("train", "--run", f"runs/{run}", "--reward", f"mine:{function}", *SMALL).code == 0
        assert cli("eval", "--run", f"runs/{run}", "--reward", f"mine:{function}", "--k", "1", "-n", "2").code == 0
    compared = cli("compare", "a", "b")
    assert (compared.code, "newly" in compared.out) == (0, False)
    assert cli("compare", "a", "b", "--json").json["newly_solved"] is None
    refused = cli("show", "--newly-solved", "a", "b")
    assert (refused.code, "rsgrpo compare a b" in refused.err) == (2, True)
    assert (command := GRADE.search(compared.out)), compared.out
    assert "--reward mine:graded" in command[1]
    of_groups = ("compare", "one=a", "other=b", "--json")
    assert command[1] in cli(*of_groups).json["grade_again"]
    assert cli(*command[1].split()).code == 0
    found = cli("compare", "a", "b", "--json").json
    assert (found["unlike"], found["samples"]) == ([], [2, 2])
    assert cli(*of_groups).json["grade_again"] == ""
    for row in cli("ls", "--json").json["runs"]:
        assert (row["passed"], 0 < row["eval_reward"] < 1) == ({}, True)


def test_an_edited_function_grades_all_again(cli: Cli, module: Path) -> None:
    assert cli("train", "--run", "runs/a", "--reward", "mine:graded", *SMALL).code == 0
    assert cli("eval", "--run", "runs/a", "--policy", "1", "--k", "1", "-n", "2").code == 0
    module.write_text(FUNCTIONS + "\n# edited\n")
    assert cli("eval", "--run", "runs/a", "--policy", "2", "--k", "1", "-n", "2", "--accept-changes").code == 0
    for places in (("a@1", "a@2"), ("a@2", "a@1")):
        told = cli("compare", *places).out
        for command in GRADE.findall(told.replace("; ", "\n")):
            assert cli(*command[0].split()).code == 0
        assert cli("compare", *places, "--json").json["unlike"] == []


def test_an_evaluation_without_any_reward_does_not_end_the_run(cli: Cli) -> None:
    stopped = cli("train", "--run", "runs/n", "--reward", "mine:nothing", *SMALL, *EVALUATED)
    assert (stopped.code, "--eval-every 0" in stopped.err) == (1, True)
    assert cli("train", "--run", "runs/n", "--eval-every", "0").code == 0
