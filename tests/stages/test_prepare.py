from collections.abc import Sequence

import pytest

from rsgrpo_cli.config import PrepareConfig
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.types import Sample, Verdict
from rsgrpo_cli.stages.prepare import Overlap, prepare
from rsgrpo_cli.tasks.chats import Message
from rsgrpo_cli.tasks.problems import Problem
from rsgrpo_cli.tasks.sources import Source


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
    cfg = PrepareConfig(system_prompt="Be brief.", instruction="Think.")
    made = prepare(source(("1+1?", "2")), NoSevens(), cfg).prompts.to_pylist()[0]
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?\nThink."}]
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
    with pytest.raises(
        DataError, match=r'mine row 1 \(counted from 0\): the answer "17" cannot be verified: it has a seven; 1 more'
    ):
        prepare(source(("a", "1"), ("b", "17"), ("c", "7")), NoSevens(), PrepareConfig())
    assert len(prepare(source(("b", "17")), None, PrepareConfig()).prompts) == 1  # a user's own function decides


def test_answers_that_cannot_be_verified_for_several_reasons() -> None:
    complaints = {2: "no number", 4: "no number", 5: "a list", 6: "a map"}
    problems = [Problem(row, f"p{row}", "7" if row < 2 else "8", complaint=complaints.get(row, "")) for row in range(7)]
    with pytest.raises(DataError) as refused:
        prepare(Source("mine", "math", "train", problems, "hash"), NoSevens(), PrepareConfig())
    assert refused.value.message == (
        'mine row 0 (counted from 0): the answer "7" cannot be verified: it has a seven; 1 more like it; '
        'mine row 2 (counted from 0), "8": no number (and 1 more); '
        'mine row 5 (counted from 0), "8": a list; 1 for other reasons'
    )


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="has no problem with an answer"):
        prepare(source(("a", "")), NoSevens(), PrepareConfig())


def test_a_prompt_as_plain_text_is_a_user_turn_for_verl() -> None:
    made = prepare(source(("1+1?", "2")), NoSevens(), PrepareConfig(prompt_style="text", instruction=""))
    row = made.prompts.to_pylist()[0]
    assert row["messages"] == [{"role": "text", "content": "1+1?\n"}]
    assert row["prompt"] == [{"role": "user", "content": "1+1?\n"}]


def test_long_prompts_are_dropped_before_the_limit_counts() -> None:
    asked: list[str] = []

    def count(messages: Sequence[Message]) -> int:
        asked.append(messages[0]["content"])
        return len(messages[0]["content"])

    cfg = PrepareConfig(max_prompt_tokens=3, limit=2, instruction="")
    made = prepare(source(("aaa", "1"), ("bbbb", "2"), ("c", "3"), ("d", "4")), NoSevens(), cfg, count_tokens=count)
    assert made.prompts["ground_truth"].to_pylist() == ["1", "3"]
    assert (made.too_long, asked) == (1, ["aaa", "bbbb", "c"])  # the fourth is not needed
    with pytest.raises(DataError, match=r"every prompt of dataset mine .* is too long"):
        prepare(source(("bbbb", "2")), NoSevens(), cfg, count_tokens=count)


TEXT = "one two three four five six seven eight"
BENCHMARK = Source("exam", "math", "test", [Problem(0, "another", "1"), Problem(1, TEXT, "2")], "hash")


def test_problems_of_a_benchmark_are_reported_or_dropped() -> None:
    training = source(("nothing like it", "1"), (f"First, {TEXT}!", "2"), (f"{TEXT} nine", "3"))
    kept = prepare(training, NoSevens(), PrepareConfig(), benchmarks=[BENCHMARK])
    assert kept.overlaps == (Overlap("exam", rows=(2,), of=2, training=2),)
    assert (len(kept.prompts), kept.in_benchmarks) == (3, 0)
    dropped = prepare(training, NoSevens(), PrepareConfig(decontaminate="drop"), benchmarks=[BENCHMARK])
    assert dropped.overlaps == kept.overlaps
    assert (dropped.prompts["ground_truth"].to_pylist(), dropped.in_benchmarks) == (["1"], 2)
    ignored = prepare(training, NoSevens(), PrepareConfig(decontaminate="off"), benchmarks=[BENCHMARK])
    assert (ignored.overlaps, len(ignored.prompts)) == ((), 3)


def test_a_report_is_about_the_problems_that_are_trained_on() -> None:
    training = source(("nothing like it", "1"), (TEXT, "2"))
    made = prepare(training, NoSevens(), PrepareConfig(limit=1), benchmarks=[BENCHMARK])
    assert made.overlaps == (Overlap("exam", rows=(), of=2, training=0),)
    with pytest.raises(DataError, match=r"every problem of dataset mine .* is in a benchmark"):
        prepare(source((TEXT, "2")), NoSevens(), PrepareConfig(decontaminate="drop"), benchmarks=[BENCHMARK])


def test_rows_that_ask_nothing_are_dropped_and_counted() -> None:
    made = prepare(source(("", "24"), ("a", "1")), NoSevens(), PrepareConfig())
    assert (made.prompts["prompt_id"].to_pylist(), made.without_problem) == (["mine-train-000001"], 1)
    with pytest.raises(DataError, match=r"no row of dataset mine .* asks anything"):
        prepare(source(("", "24")), NoSevens(), PrepareConfig())


def test_problems_with_an_image_are_refused_dropped_or_asked_without_it() -> None:
    shown = Source("mine", "math", "train", [Problem(0, "a", "1"), Problem(1, "b", "2", media=True)], "hash")
    with pytest.raises(DataError, match=r"mine row 1 \(counted from 0\) has an image, .*\n  .*prepare\.images=drop"):
        prepare(shown, NoSevens(), PrepareConfig())
    dropped = prepare(shown, NoSevens(), PrepareConfig(images="drop"))
    assert (dropped.prompts["ground_truth"].to_pylist(), dropped.with_images) == (["1"], 1)
    assert len(prepare(shown, NoSevens(), PrepareConfig(images="ignore")).prompts) == 2


def test_answers_that_were_left_out_of_chats_are_counted() -> None:
    chat = ({"role": "user", "content": "1+1?"},)
    answered = Source("mine", "math", "train", [Problem(0, chat, "2", answered=True)], "hash")
    assert prepare(answered, NoSevens(), PrepareConfig()).answers_left_out == 1


def test_prompts_that_ask_for_no_box_or_for_another_form_are_counted() -> None:
    texts = ["1+1?", r"1+2? Use \boxed{}.", "1+3? End with a line of the form Answer: x"]
    problems = [Problem(row, ({"role": "user", "content": text},), "2") for row, text in enumerate(texts)]
    chats = Source("mine", "math", "train", problems, "hash")
    made = prepare(chats, NoSevens(), PrepareConfig())
    assert (made.without_box, made.other_form) == (1, 1)
    own = prepare(chats, None, PrepareConfig())  # a function of the user's may grade any form
    assert (own.without_box, own.other_form) == (0, 0)


def test_prompts_that_show_their_answer_are_counted() -> None:
    mine = source(
        (r"1+1? So it is \boxed{ 2 }.", "2"),
        ("1+2?\n#### 3", "3"),
        (r"1+3? As $2+3=\boxed{5}$ is 5.", "4"),
        (r"What goes into $2+\boxed{\phantom{0}}=5$?", "3"),
        ("1+5? #### 6 is no heading", "6"),
        (r"x+(x+1)? \boxed{2x+1}", "2x+1"),
    )
    assert prepare(mine, NoSevens(), PrepareConfig()).answers_shown == 3


def test_an_answer_of_the_wrong_kind_is_refused_by_a_verifier_and_given_to_an_own_function() -> None:
    listed = Problem(0, "a", "3, -3", stored='["3", "-3"]')
    thing = Problem(1, "b", '{"x": 3}', complaint="it is an object")
    mine = Source("mine", "math", "train", [listed, thing], "hash")
    with pytest.raises(DataError, match=r"mine row 1 \(.* 0\): the answer .* cannot be verified: it is an object"):
        prepare(mine, NoSevens(), PrepareConfig())
    assert prepare(mine, None, PrepareConfig()).prompts["ground_truth"].to_pylist() == ['["3", "-3"]', '{"x": 3}']
    only = Source("mine", "math", "train", [listed], "hash")
    assert prepare(only, NoSevens(), PrepareConfig()).prompts["ground_truth"].to_pylist() == ["3, -3"]


def test_the_final_answer_is_taken_out_of_worked_solutions_and_these_are_counted() -> None:
    mine = source(("a", r"So it is $\boxed{4}$."), ("b", "The answer is 5."), ("c", "6"), ("a", r"\boxed{4}"))
    made = prepare(mine, NoSevens(), PrepareConfig())
    assert made.prompts["ground_truth"].to_pylist() == ["4", "5", "6"]
    assert (made.worked_solutions, made.duplicates, made.conflicting) == (2, 1, 0)
    own = prepare(mine, None, PrepareConfig())  # a user's own function gets what the source has
    assert own.prompts["ground_truth"].to_pylist()[0] == r"So it is $\boxed{4}$."
    assert own.worked_solutions == 0
