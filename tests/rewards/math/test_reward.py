import subprocess
import sys
import textwrap

import pytest

from rsgrpo_cli.rewards.math.reward import MathReward, _read_once, judgement
from rsgrpo_cli.rewards.types import Sample, Status, Verdict
from rsgrpo_cli.workers.pool import Died, Done, Job, Outcome, TimedOut


def judge(reward: MathReward, pairs: list[tuple[str, str]]) -> list[Status]:
    samples = [Sample(f"So \\boxed{{{answer}}}.", gold) for gold, answer in pairs]
    return [verdict.status for verdict in reward(samples)]


RIGHT = [
    (r"\frac{1}{2^{99}}", r"2^{-99}"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"2\sqrt{3}", "2*sqrt(3)"),
    (r"\frac{1}{3}", "0.333333"),
    (r"\frac{7}{2}", r"3\frac{1}{2}"),
    ("1000.99", "1000,99"),
    ("120000", r"1.2 \times 10^{5}"),
    ("0.28", r"28\%"),
    (r"28\%", "28"),
    (r"5\text{ m}", "5 m"),
    ("12", r"12\text{ square feet}"),
    ("42", r"x = \frac{84}{2} = 42"),
    ("1,2,3", "3, 1 and 2"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    (r"\frac{-1+\sqrt{17}}{2}, \frac{-1-\sqrt{17}}{2}", r"\frac{-1\pm\sqrt{17}}{2}"),
    (r"\{1,1,2\}", r"\{2,1\}"),
    ("100, 200", "200,100"),
    ("x=1,y=2", "y=2, x=1"),
    ("x=1,y=2", "1, 2"),
    ("(3,2)", "(p,q)=(3,2)"),
    ("(2,3)", r"\langle 2,3 \rangle"),
    ("[-2,7]", r"-2 \le x \le 7"),
    (r"(1,\infty)", r"(1,+\infty)"),
    (r"x \ge 5", r"5 \leq x"),
    ("2x+4y-3=0", r"y=-\frac{1}{2}x+\frac{3}{4}"),
    (r"\emptyset", r"\varnothing"),
    (r"\gamma_2-\gamma_1", r"-\gamma_1+\gamma_2"),
    ("2x+3t", "3t+2x"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&\frac{8}{2}\end{bmatrix}"),
    (r"\frac{1}{2}", "\x0crac{2}{4}"),
    ("2^{10}", "1024"),
    (r"\tan^2 y+1", r"\sec^2 y"),
]

WRONG = [
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),  # both nothing to math-verify
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    (".0000672", "0.0000673"),
    ("2x+3t", "2x+3"),  # "t" is a unit to math-verify
    (r"\frac{13}{32}", "0.406"),
    (r"\pi", "3.14159"),
    ("1", "x/x"),
    ("0", "x-x"),
    ("42", r"x = 42 = 41"),
    ("x=5", "y=5"),
    ("a^2+b=0", "0"),
    ("p=5,q=2", "p=2,q=5"),
    ("x=1,y=2", "2, 1"),
    ("1,2", "1"),
    ("1,2", "1,2,3"),
    ("(3,1)", "(1,3)"),
    ("(0,9)", "[0,9)"),
    (r"(-\infty,5]", "x<5"),
    ("42", r"\mathbb{R}"),
    ("42", "[0,999]"),
    ("4", r"4\sqrt{2}"),
    (r"\infty", r"\frac{1}{0}"),
    ("2024^{4046}", "2024^{4045}"),
]


def test_right_answers_in_another_form(math_reward: MathReward) -> None:
    assert [pair for pair, status in zip(RIGHT, judge(math_reward, RIGHT), strict=True) if status != Status.OK] == []


def test_wrong_answers_that_look_right(math_reward: MathReward) -> None:
    assert [pair for pair, status in zip(WRONG, judge(math_reward, WRONG), strict=True) if status == Status.OK] == []


def test_a_form_without_equality_is_told_from_a_timeout(math_reward: MathReward) -> None:
    tower, other = judge(math_reward, [("9^{9^{9^9}}", "9^{9^{9^8}}"), ("42", r"\sqrt{41}")])
    assert (tower, other) == (Status.TIMEOUT, Status.WRONG)


def test_verdicts_carry_reward_status_and_answer(math_reward: MathReward) -> None:
    samples = [
        Sample(r"\boxed{\dfrac12}", r"\frac{1}{2}"),
        Sample(r"\boxed{3}", r"\frac{1}{2}"),
        Sample("1/2", r"\frac{1}{2}"),
        Sample(r"so \boxed{1", r"\frac{1}{2}", finish_reason="length"),
        Sample(r"\boxed{1} and \boxed{2}", "1,2"),
        Sample(r"\boxed{1} and \boxed{2}", "2"),
    ]
    assert math_reward(samples) == [
        Verdict(1.0, Status.OK, r"\frac{1}{2}"),
        Verdict(0.0, Status.WRONG, "3"),
        Verdict(0.0, Status.NO_BOX),
        Verdict(0.0, Status.TRUNCATED),
        Verdict(1.0, Status.OK, "1, 2"),
        Verdict(0.0, Status.UNPARSABLE, "1, 2"),  # two answers where one is asked for
    ]


def test_two_boxes_are_joined_only_where_the_gold_lists_and_the_last_box_does_not(math_reward: MathReward) -> None:
    first, second = math_reward(
        [Sample(r"\boxed{5}, no: \boxed{1,2}", "1,2"), Sample("\\boxed{1}\nWait.\n\\boxed{2}", "1,2")]
    )
    assert (first.status, second.status) == (Status.OK, Status.WRONG)


class _Counting:
    """Stands in for the pool: says yes and remembers what it was asked."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def map(self, jobs: list[Job]) -> list[Outcome]:
        self.jobs += jobs
        return [Done(True)] * len(jobs)


def test_equal_pairs_are_verified_once() -> None:
    reward = MathReward(workers=1, deadline=5.0)
    counting = _Counting()
    reward._pool = counting  # type: ignore[assignment]
    samples = [
        Sample(rf"\boxed{{{answer}}}", r"2\sqrt{3}") for answer in (r"\sqrt{12}", r"\sqrt {12}", r"\sqrt12", "3")
    ]
    reward(samples * 50)
    reward(samples)
    assert len(counting.jobs) == 3  # sqrt(12), sqrt(1)2 and 3


@pytest.mark.parametrize("failure", [TimedOut(5.0), Died(-9)])
def test_a_pair_that_failed_once_is_tried_once_more(failure: Outcome) -> None:
    reward, sample = MathReward(workers=1, deadline=5.0), Sample(r"\boxed{\sqrt{12}}", r"2\sqrt{3}")
    failing = _Failing(failure)
    reward._pool = failing  # type: ignore[assignment]
    assert [reward([sample])[0].status for _ in range(4)] == [judgement(failure)] * 4
    assert len(failing.jobs) == 2
    reward = MathReward(workers=1, deadline=5.0)
    for pool in (_Failing(failure), _Counting()):
        reward._pool = pool  # type: ignore[assignment]
        (verdict,) = reward([sample])
    assert verdict.status is Status.OK


class _Failing(_Counting):
    """Stands in for the pool: fails at everything."""

    def __init__(self, failure: Outcome) -> None:
        super().__init__()
        self.failure = failure

    def map(self, jobs: list[Job]) -> list[Outcome]:
        self.jobs += jobs
        return [self.failure] * len(jobs)


def test_cheap_verdicts_start_no_worker() -> None:
    reward = MathReward(workers=1, deadline=5.0)
    reward([Sample(rf"\boxed{{{answer}}}", "42") for answer in ("42", "41", "42, 43", r"\frac{1}{2}")])
    assert reward._pool._workers == []


def test_lenient_is_a_part_of_the_breakdown_only() -> None:
    reward = MathReward(workers=1, deadline=5.0, lenient=True)
    boxed, stated, wrong = reward(
        [Sample(r"\boxed{42}", "42"), Sample("The answer is 42.", "42"), Sample("It is 41.", "42")]
    )
    assert (boxed.reward, boxed.breakdown) == (1.0, {"strict": 1.0, "lenient": 1.0})
    assert (stated.reward, stated.status, stated.breakdown) == (0.0, Status.NO_BOX, {"strict": 0.0, "lenient": 1.0})
    assert wrong.breakdown == {"strict": 0.0, "lenient": 0.0}


def test_reference_answers_must_match_themselves(math_reward: MathReward) -> None:
    golds = ["42", r"\frac{1}{2}", r"3\sqrt{13}", "1,2", "(-\\infty,5]", r"\text{east}", "x=5", r"\sin^2 t", ""]
    assert math_reward.check_ground_truth(golds) == [None] * 8 + ["it is empty"]
    (complaint,) = math_reward.check_ground_truth([r"\frac{1}{+"])
    assert complaint is not None
    assert "cannot read" in complaint


def test_identity_names_the_policy_and_the_verifier() -> None:
    assert "policy-" in MathReward(workers=1, deadline=5.0).identity
    assert "math-verify-" in MathReward(workers=1, deadline=5.0).identity


def test_no_algebra_is_imported_into_the_parent() -> None:
    script = textwrap.dedent(r"""
        import sys
        from rsgrpo_cli.rewards.registry import open_reward
        from rsgrpo_cli.rewards.types import Sample
        reward = open_reward("auto", workers=1, deadline=20.0)
        print(reward([Sample(r"\boxed{\sqrt{12}}", r"2\sqrt{3}", columns={"task": "math"})])[0].reward)
        reward.close()
        print(sorted({"torch", "sympy", "math_verify", "numpy", "antlr4"} & set(sys.modules)))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:2] == ["1.0", "[]"], done.stderr


@pytest.mark.parametrize("text", ["(" * 900 + ")" * 900, "-" * 1990, r"\frac{" * 200 + "}" * 200, "x_" * 900])
def test_hostile_answers_have_a_verdict(math_reward: MathReward, text: str) -> None:
    (status,) = judge(math_reward, [(r"\sqrt{2}", text)])
    assert status is not Status.OK


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (r"(7, \frac{\pi}{7})", r"(7, \frac{\pi}{2})", Status.WRONG),  # as intervals both are empty
        (r"(7, \frac{\pi}{4})", r"(7, \frac{2\pi}{8})", Status.OK),
        (r"[\sqrt{8}, 3)", r"[2\sqrt{2}, 3)", Status.OK),
        (r"(-\infty, \sqrt{2})", r"(-\infty, \sqrt{3})", Status.WRONG),
        (r"(x+1, \pi)", r"(1+x, \pi)", Status.OK),
    ],
)
def test_points_and_intervals_are_compared_place_by_place(
    math_reward: MathReward, gold: str, answer: str, expected: Status
) -> None:
    assert judge(math_reward, [(gold, answer)]) == [expected]


def test_equal_answers_are_read_once_and_enormous_ones_are_not_kept(math_reward: MathReward) -> None:
    _read_once.cache_clear()
    judge(math_reward, [("4", "5")] * 50 + [("4", "5" * 3_000)])
    assert (_read_once.cache_info().misses, _read_once.cache_info().currsize) == (1, 1)
