import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.rewards.extraction import extract, extract_lenient, extract_stated
from rsgrpo_cli.rewards.types import Status

plain = st.text(st.characters(exclude_characters="\\{}<>◁▷[]", exclude_categories=["Cs"]), min_size=1, max_size=8)
balanced = st.recursive(
    plain | st.sampled_from([r"\{", r"\}", r"\frac", r"\\"]),
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: "{" + "".join(parts) + "}"),
    max_leaves=12,
)


@given(plain, st.lists(balanced, min_size=1, max_size=4).map("".join), plain)
def test_a_box_gives_back_whatever_balanced_text_is_put_in_it(before: str, content: str, behind: str) -> None:
    expected = content if content.strip() else None
    assert extract(f"{before}\\boxed{{{content}}}{behind}").answer == expected


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"\boxed{205}. No: \boxed{204}", "204"),  # the last one, not glued to the first
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),  # escaped braces do not close it
        (r"\boxed{\left\{x\right.}", r"\left\{x\right."),  # not even unbalanced ones
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        ("\\boxed\n{7}", "7"),
        (r"\boxed 7 is it", "7"),
        (r"\boxed{7}}", "7"),  # a brace too many behind it
        (r"}}{\boxed{7}", "7"),  # and before it
        (r"\\boxed{7}", "7"),  # a backslash escaped once too often
        (r"\\\boxed{7}", "7"),  # a line break, then a box
        (r"\boxed{\boxed{7}}", "{7}"),
        (r"\boxed{x=\fbox{7}}", "x={7}"),
        (r"\phantom{\boxed{6}}\boxed{7}", "7"),
        (r"\boxed{7} as \boxed{} asks", "7"),  # an empty box is none
        (r"\boxed{7}: I used the \boxed command", "7"),
        (r"<think>\boxed{6}</think>\boxed{7}", "7"),
        (r"\boxed{6}</think>\boxed{7}", "7"),  # "<think>" was in the prompt
    ],
)
def test_the_answer_is_in_the_last_box(completion: str, answer: str) -> None:
    found = extract(completion)
    assert (found.answer, found.status) == (answer, None)


@pytest.mark.parametrize(
    ("completion", "status"),
    [
        ("", Status.NO_BOX),
        ("The answer is 42.", Status.NO_BOX),
        (r"\boxed{}", Status.NO_BOX),
        (r"\boxed{ }", Status.NO_BOX),
        ("boxed{42}", Status.NO_BOX),
        (r"\boxedness{42}", Status.NO_BOX),
        (r"\boxed{4", Status.NO_BOX),
        (r"\boxed{205}. No: \boxed{20", Status.NO_BOX),  # the first is taken back, the second unknown
        (r"\boxed{\frac{1}{2}", Status.NO_BOX),
        (r"<think>\boxed{42}", Status.THINK_UNCLOSED),
        (r"<think>\boxed{42}</think> I am not sure.", Status.NO_BOX),
        (r"<think></think>\boxed{1}<think>", Status.THINK_UNCLOSED),
    ],
)
def test_without_an_answer_there_is_a_status(completion: str, status: Status) -> None:
    assert extract(completion).answer is None
    assert extract(completion).status is status


def test_a_cut_completion_without_a_closed_box_is_truncated() -> None:
    assert extract(r"so \boxed{4", finish_reason="length").status is Status.TRUNCATED
    assert extract("so", finish_reason="length").status is Status.TRUNCATED
    assert extract(r"so \boxed{42}. Also", finish_reason="length").answer == "42"
    assert extract("<think>so", finish_reason="length").status is Status.THINK_UNCLOSED


def test_the_boxes_on_the_line_of_the_last_are_kept() -> None:
    found = extract("\\boxed{0}\nThus \\boxed{1} and \\boxed{2}.")
    assert found.line == ("1", "2")


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 150_000,
        r"\boxed{" * 75_000 + "}" * 500_000,
        r"\boxed{1}" * 110_000,
        "\\" * 1_000_000,
        "{" * 1_000_000,
        r"\boxed" + " " * 1_000_000,
        "<think>" * 140_000,
        "</think>" * 120_000,
        "answer " * 140_000,
        "answer is " * 100_000,
        "1," * 500_000,
        "$" * 1_000_000,
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.timeout(60)  # it takes under a second; a search that goes back and forth would take hours
def test_a_megabyte_of_hostile_text_ends(text: str) -> None:
    extract(text)
    extract_lenient(text)


def test_work_grows_with_the_text_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in tokens of the scanner: n boxes one in the other have n openings, n braces, n closings."""
    counts = []
    for size in (100, 200):
        seen = _count_tokens(monkeypatch, r"\boxed{" * size + "}" * size)
        counts.append(seen)
    assert counts == [300, 600]


def _count_tokens(monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    from rsgrpo_cli.rewards import extraction

    class Counting:
        seen = 0

        def finditer(self, text: str, start: int) -> object:
            for found in token.finditer(text, start):
                self.seen += 1
                yield found

    token: re.Pattern[str] = extraction._TOKEN
    counting = Counting()
    monkeypatch.setattr(extraction, "_TOKEN", counting)
    extract(text)
    monkeypatch.undo()
    return counting.seen


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"The answer is 41. \boxed{42}", "42"),
        ("<answer>42</answer> or so", "42"),
        ("#### 42", "42"),
        ("Answer: $42$", "42"),
        ("**Answer:** 42", "42"),
        ("Final Answer: The final answer is $42$. I hope it is correct.", "42"),
        ("The answer is 3.5. Then 7.", "3.5"),
        ("We get 41 + 1 = 42", "42"),
        ("from 10-5 to -5", "-5"),
        ("it is 1,234.", "1,234"),
        ("答案是 42", "42"),
        ("nothing", None),
        (r"The answer is \boxed{4", None),  # may be the beginning of any number
        ("<think>42", None),
    ],
)
def test_lenient_extraction(completion: str, answer: str | None) -> None:
    assert extract_lenient(completion) == answer


@pytest.mark.parametrize(
    "text",
    ["a", "\\", r"\boxed{4}", r"\boxed{", "{", "}", "<think>", "</think>", "\n", "1,"],
)
def test_of_an_enormous_text_only_the_end_is_searched(text: str) -> None:
    enormous = text * (3_000_000 // len(text))
    assert extract(enormous + "\n\\boxed{5}").answer in ("5", None)


def test_a_box_that_opened_before_the_searched_end_is_none() -> None:
    assert extract(r"\boxed{" + "1" * 300_000 + "}").status is Status.NO_BOX


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"So he has $3+4=7$ apples. The answer is $\boxed{7}$.", "7"),
        (r"\boxed{3} is too small, so \boxed{4}", "4"),
        (r"Hence $x=\boxed{3}$ or $x=\boxed{-3}$.", "3, -3"),
        (r"(a) \boxed{3}" + "\n" + r"(b) \boxed{5}", "5"),
        ("3 + 4 = <<3+4=7>>7\n#### 7", "7"),
        ("The answer is 12.", "12"),
        ("**Final Answer:**\n\n$\\frac{1}{2}$", r"\frac{1}{2}"),
        ("<think>It is \\boxed{8}.</think>The answer is 9.", "9"),
        ("The last number is 7", None),
        (r"cut short: \boxed{7", None),
        ("", None),
    ],
)
def test_the_stated_answer_of_a_worked_solution(solution: str, answer: str | None) -> None:
    assert extract_stated(solution) == answer


def test_a_completion_that_begins_in_a_thought() -> None:
    assert extract(r"\boxed{7} no, wait", in_thought=True).status is Status.THINK_UNCLOSED
    assert extract(r"\boxed{7}</think>So \boxed{8}", in_thought=True).answer == "8"
    assert extract("7</think>nothing", in_thought=True).status is Status.NO_BOX
    assert extract_lenient("it is 7", in_thought=True) is None
    assert extract_lenient("it is 7</think>8", in_thought=True) == "8"


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"so $\boxed{5}\pi$.", r"(5) \cdot \pi"),
        (r"$\boxed{5}x^2$", r"(5) \cdot x^2"),
        (r"$A = \sqrt{2}\boxed{5}$", r"\sqrt{2} \cdot (5)"),
        (r"$x\boxed{5}$", r"x \cdot (5)"),
        (r"$2 \times \boxed{5}$", r"2 \cdot (5)"),
        (r"so -\boxed{5}", "-5"),
        # No factor: a unit, a relation, another formula, a bullet.
        (r"$\boxed{5} m$", "5"),
        (r"$\boxed{5}\text{ cm}$", "5"),
        (r"$x = \boxed{5}$", "5"),
        (r"$x$ is $\boxed{5}$, and $\pi$ is not", "5"),
        (r"$\therefore \boxed{5}$", "5"),
        ("- \\boxed{5}", "5"),
    ],
)
def test_a_factor_that_stands_against_a_box_is_part_of_the_answer(completion: str, answer: str) -> None:
    assert extract(completion).answer == answer
