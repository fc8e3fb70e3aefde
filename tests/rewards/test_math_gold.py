import pytest

from rsgrpo_cli.rewards.math_gold import complaint_about, is_worked, read_gold
from rsgrpo_cli.rewards.math_reward import MathReward
from rsgrpo_cli.rewards.types import Sample

SOLUTIONS = [
    (r"Tom starts with 3 and gets 4, so he has $3+4=7$ apples. The answer is $\boxed{7}$.", "7"),
    (r"We factor, so the roots are $\boxed{2}$ and $\boxed{3}$.", "2, 3"),
    (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
    ("3 + 4 = <<3+4=7>>7\n#### 1,234", "1,234"),
    ("The answer is 12.", "12"),
    ("So x is 3.\nAnswer: B", "B"),
    (r"Final Answer: The final answer is $x=3$. I hope it is correct.", "x=3"),
    ("<think>6?</think><answer>7</answer>", "7"),
    ("答案是7。", "7"),
]
LISTS = [
    ("['3', '-3']", "3, -3"),
    ('["3", "4", "5"]', "3, 4, 5"),
    ("['3' '-3']", "3, -3"),
    ('["5"]', "5"),
    ("[5]", "5"),
    ('["1,000", "2"]', "1000, 2"),
    (r'["$\\boxed{3}$"]', "3"),
    (r'["\\frac{1}{2}", "2"]', r"\frac{1}{2}, 2"),
    (r"['\theta', '2']", r"\theta, 2"),
]
PLAIN = (
    *(r"\text{Tuesday}", "x^2+1", "(3, 4)", "[0, 1)", "[0, 1]", "[3, -3]", "east", "3 5 7 2 -> 24", "B", "(B)", "Yes"),
    *("no real solutions", "does not exist", "all real numbers except 0", r"\text{all even } n \text{ such that } n>2"),
    *(r"\{1, 2\}", "42 ways", r"5\text{ cm}^2", "x = 1, y = 2", r"\sin 30", "2 1/2", "[[1, 2], [3, 4]]", "['a'", "[]"),
)
SENTENCES = (
    *("So he has 7 apples.", "Tom has 7 apples.", "He has 7.", "x is 7", r"Hence the area is $\frac{1}{2}$."),
    *("Because it is isosceles, the angles at its base are equal.", "The answer is therefore 12 because we saw it."),
    *("Tomas tiene tres manzanas rojas y compra otras cuatro verdes.", r"We get \boxed{3"),
)


@pytest.mark.parametrize(("gold", "answer"), SOLUTIONS)
def test_the_final_answer_of_a_worked_solution_is_taken_out(gold: str, answer: str) -> None:
    assert (read_gold(gold), is_worked(gold), complaint_about(read_gold(gold))) == (answer, True, None)


@pytest.mark.parametrize(("gold", "answer"), LISTS)
def test_a_list_written_as_text_has_several_values(gold: str, answer: str) -> None:
    assert (read_gold(gold), is_worked(gold), complaint_about(read_gold(gold))) == (answer, False, None)


@pytest.mark.parametrize("gold", PLAIN)
def test_an_answer_stays_as_it_is(gold: str) -> None:
    assert (read_gold(gold), is_worked(gold), complaint_about(gold)) == (gold, False, None)


@pytest.mark.parametrize("gold", [*SENTENCES, "1+" * 1001])
def test_what_no_completion_could_meet_is_refused(gold: str) -> None:
    reward = MathReward(workers=1, deadline=10.0)
    assert complaint_about(read_gold(gold))
    assert reward.check_ground_truth([gold, "7"]) == [complaint_about(read_gold(gold)), None]


def test_a_run_prepared_before_is_graded_by_the_final_answer() -> None:
    reward = MathReward(workers=1, deadline=10.0)
    for gold, answer in [SOLUTIONS[0], SOLUTIONS[4], LISTS[0], LISTS[1]]:
        samples = [Sample(rf"\boxed{{{answer}}}", gold), Sample(r"\boxed{99}", gold)]
        assert [verdict.reward for verdict in reward(samples)] == [1.0, 0.0]
