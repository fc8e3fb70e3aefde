import pytest

from rsgrpo_cli.rewards.math.gold import complaint_about, hold_lists, is_worked, read_gold
from rsgrpo_cli.rewards.math.reward import MathReward
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
    ("('3', '-3')", "3, -3"),
    ("{'3'}", "3"),
    ("[['5']]", "5"),
    ("[3, -3]", "3, -3"),  # the ends of an interval ascend
    ("[]", ""),
    ("['']", ""),
]
PLAIN = (
    *(
        r"\text{Tuesday}",
        "x^2+1",
        "(3, 4)",
        "[0, 1)",
        "[0, 1]",
        "[1, 2, 3]",
        "east",
        "3 5 7 2 -> 24",
        "B",
        "(B)",
        "Yes",
    ),
    *("no real solutions", "does not exist", "all real numbers except 0", r"\text{all even } n \text{ such that } n>2"),
    *(r"\{1, 2\}", "42 ways", r"5\text{ cm}^2", "x = 1, y = 2", r"\sin 30", "2 1/2", "['a'", "12_5", r"\text{A5}_{11}"),
)
SENTENCES = (
    *("So he has 7 apples.", "Tom has 7 apples.", "He has 7.", "x is 7", r"Hence the area is $\frac{1}{2}$."),
    *("Because it is isosceles, the angles at its base are equal.", "The answer is therefore 12 because we saw it."),
    *("[[1, 2], [3, 4]]", '{"value": 5}', "{'x': 0}", "2024-01-05", "05/06/2020", "1.2.2024", "2024-01-05T10:00:00"),
    *("about 12", "approximately 3.14", "5 (five)", "4\x002", "a\x0bc".replace("c", "1"), r"\boxed{}"),
    *("Tomas tiene tres manzanas rojas y compra otras cuatro verdes.", r"We get \boxed{3"),
)


@pytest.mark.parametrize(("gold", "answer"), SOLUTIONS)
def test_the_final_answer_of_a_worked_solution_is_taken_out(gold: str, answer: str) -> None:
    assert (read_gold(gold), is_worked(gold), complaint_about(read_gold(gold))) == (answer, True, None)


@pytest.mark.parametrize(("gold", "answer"), LISTS)
def test_a_list_written_as_text_has_several_values(gold: str, answer: str) -> None:
    assert (read_gold(gold), is_worked(gold), complaint_about(read_gold(gold))) == (answer, False, None)


def test_a_column_of_lists_has_no_intervals() -> None:
    assert hold_lists(["[1, 2]", "[5]", "[0.5, 1, 2]"])
    assert not hold_lists(["[1, 2]", "[0, 1]"])
    assert not hold_lists(["[1, 2]", "[5]", "7"])
    assert not hold_lists([])
    assert (read_gold("[1, 2]", among_lists=True), read_gold("[1, 2]")) == ("1, 2", "[1, 2]")


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


ACCEPTED_AS_THEY_ARE = [
    "12_5",
    r"\text{A5}_{11}",
    "1e-05",
    "-.5",
    "1E+3",
    "2 1/2",
    r"\text{Tom has }7",
    "[1, 2, 3]",
    "5 cm",
]


def test_the_box_with_the_reference_answer_earns_the_reward(math_reward: MathReward) -> None:
    assert math_reward.check_ground_truth(ACCEPTED_AS_THEY_ARE) == [None] * len(ACCEPTED_AS_THEY_ARE)
    verdicts = math_reward([Sample(f"\\boxed{{{gold}}}", gold) for gold in ACCEPTED_AS_THEY_ARE])
    assert [verdict.reward for verdict in verdicts] == [1.0] * len(ACCEPTED_AS_THEY_ARE)


def test_an_answer_that_its_own_box_does_not_meet_is_refused(math_reward: MathReward) -> None:
    complaint, fine = math_reward.check_ground_truth(["{7", "7"])
    assert complaint is not None
    assert fine is None


MEETS = [
    *(("[1, 2, 3]", "1, 2, 3"), ("(1, 2, 3)", "1, 2, 3"), ("[1, 2, 3]", "(1,2,3)"), ("x=6, y=11", "(6, 11)")),
    *((r"\text{42 apples}", "42"), ("42", r"\text{42 apples}"), (r"\text{Tom has }7", "7"), ("€5", "5"), ("5", "¥5")),
    *(
        ("1.000.000", "1000000"),
        ("(-oo, 3]", r"x \le 3"),
        (r"\text{A5}_{11}", r"\mathrm{A5}_{11}"),
        ("[3, -3]", "-3, 3"),
    ),
]
MEETS_NOT = [
    *(("[1, 2, 3]", "3, 2, 1"), ("[1, 2, 3]", r"\{1, 2, 3\}"), ("(1, 2, 3)", "1, 2"), ("[1, 2]", "1, 2")),
    *(("x=6, y=11", "(11, 6)"), ("x=1, x=2", "(2, 1, 3)"), (r"\text{42 apples}", "43"), (r"\text{even } n", "n")),
    *(("1.000.000", "1"), ("1.000", "1000"), (r"\text{A5}_{11}", "11"), (r"\text{A5}_{11}", r"\text{A6}_{11}")),
]


def test_other_ways_to_write_it(math_reward: MathReward) -> None:
    pairs = [*((pair, 1.0) for pair in MEETS), *((pair, 0.0) for pair in MEETS_NOT)]
    verdicts = math_reward([Sample(f"\\boxed{{{answer}}}", gold) for (gold, answer), _ in pairs])
    assert not [pair for (pair, want), verdict in zip(pairs, verdicts, strict=True) if verdict.reward != want]
