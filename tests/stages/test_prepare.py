from collections.abc import Sequence

import pytest

from rsgrpo_cli.config import PrepareConfig
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.types import Sample, Verdict
from rsgrpo_cli.stages.prepare import prepare
from rsgrpo_cli.tasks.sources import Problem, Source


class NoSevens:
    """A verifier that cannot make sense of answers with a 7."""

    identity = "no sevens"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        raise AssertionError("prepare grades nothing")

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        return ["it has a seven" if "7" in text else None for text in ground_truths]

    def close(self) -> None:
        pass


def source(*pairs: tuple[str, str]) -> Source:
    problems = [Problem(index, text, answer) for index, (text, answer) in enumerate(pairs)]
    return Source("mine", "math", "train", problems, "hash")


def test_a_problem_becomes_a_chat_with_columns_for_verl_too() -> None:
    made = prepare(source(("1+1?", "2")), NoSevens(), PrepareConfig(system_prompt="Be brief.")).prompts.to_pylist()[0]
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    assert made["prompt_id"] == "mine-train-000000"
    assert made["messages"] == made["prompt"] == chat
    assert made["ground_truth"] == made["reward_model"]["ground_truth"] == "2"
    assert (made["data_source"], made["ability"], made["reward_model"]["style"]) == ("mine", "math", "rule")
    assert made["extra_info"] == {"index": 0, "split": "train", "prompt_id": "mine-train-000000"}


def test_duplicates_and_problems_without_an_answer_are_dropped_and_counted() -> None:
    made = prepare(
        source(("a b", "1"), ("a  b ", "1"), ("c", ""), ("a\nb", "3"), ("d", "4")), NoSevens(), PrepareConfig()
    )
    assert made.prompts["prompt_id"].to_pylist() == ["mine-train-000000", "mine-train-000004"]
    # "a  b" and "a\nb" repeat the first; the second of them with another answer.
    assert (made.without_answer, made.duplicates, made.conflicting) == (1, 2, 1)


def test_the_limit_counts_what_is_kept() -> None:
    made = prepare(source(("a", "1"), ("a", "1"), ("b", "2"), ("c", "3")), NoSevens(), PrepareConfig(limit=2))
    assert made.prompts["ground_truth"].to_pylist() == ["1", "2"]


def test_an_answer_that_cannot_be_verified_is_an_error_that_names_the_row() -> None:
    with pytest.raises(DataError, match=r"row 1 of mine: the answer '17' cannot be verified: it has a seven; 1 more"):
        prepare(source(("a", "1"), ("b", "17"), ("c", "7")), NoSevens(), PrepareConfig())
    assert len(prepare(source(("b", "17")), None, PrepareConfig()).prompts) == 1  # a user's own function decides


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="has no problem with an answer"):
        prepare(source(("a", "")), NoSevens(), PrepareConfig())
