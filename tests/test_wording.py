"""Words of messages beside their numbers."""

from pathlib import Path

import pytest

from rsgrpo_cli.commands.context import say
from rsgrpo_cli.console import Output
from rsgrpo_cli.pipeline.stage import Outcome
from rsgrpo_cli.wording import counted, counts_told, plural, raised, steps_told, verb
from tests.conftest import Cli


def test_words_go_with_their_numbers() -> None:
    assert [counted(number, "sample") for number in (0, 1, 2)] == ["0 samples", "1 sample", "2 samples"]
    nouns = ("query", "day", "batch", "process")
    assert [plural(2, noun) for noun in nouns] == ["queries", "days", "batches", "processes"]
    assert [verb(1, word) for word in ("has", "is", "needs")] == ["has", "is", "needs"]
    assert [steps_told(steps) for steps in ([3], [3, 5])] == ["step 3", "2 steps from 3 on"]
    assert [verb(2, word) for word in ("has", "is", "needs")] == ["have", "are", "need"]


def test_what_a_stage_made_is_said_in_the_singular_where_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"prompts": 1, "duplicates": 1, "worked_solutions": 1, "answers_left_out": 2, "with_images": 1}
    say(Output(), Outcome("prepare", Path("p"), False, 1.0, facts))
    told = "1 prompt (1 from worked solutions, 2 from chats that ended with an answer), 1 duplicate, 1 with an image"
    assert capsys.readouterr().out == f"prepare: {told} in 1.0 s -> p\n"


def test_one_sample_of_one_problem(cli: Cli) -> None:
    Path("one.jsonl").write_text('{"problem": "Compute 2+3.", "answer": "5"}\n')
    flags = ["--run", "runs/x", "--model", "toy", "--benchmark", "one.jsonl", "-n", "1", "--max-tokens", "4"]
    result = cli("eval", *flags)
    assert result.code == 0, result.err
    assert "sampling 1 completion of 1 problem of one, for 1 of each (--num-samples)" in result.err
    for told in ("one: 1 problem, 1 sample each", "1 completion sampled -> "):
        assert told in result.out


def test_an_exception_that_says_nothing_ends_in_its_name() -> None:
    assert raised("KeyError", KeyError("x")) == "KeyError: 'x'"
    assert raised("KeyboardInterrupt", "") == raised("KeyboardInterrupt", " ") == "KeyboardInterrupt"


def test_counts_add_up_and_what_is_part_of_one_stands_behind_it() -> None:
    facts = {"prompts": 5, "without_answer": 0, "duplicates": 2, "conflicting": 1, "too_long": 1, "worked_solutions": 3}
    told = "5 prompts (3 from worked solutions), 2 duplicates (1 with a different answer from the one kept), 1 too long"
    assert ", ".join(counts_told(facts).values()) == told
    assert counts_told({"prompts": 2, "duplicates": 0, "conflicting": 0}) == {"prompts": "2 prompts"}
