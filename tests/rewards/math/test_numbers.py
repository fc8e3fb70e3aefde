"""Numbers in all their spellings: each one meets every other, and nothing else."""

from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsgrpo_cli.rewards.math.answer import compare_cheaply, normalise_answer, normalise_gold
from rsgrpo_cli.rewards.math.numbers import spell_out
from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample, Status


def status(gold: str, answer: str) -> Status | None:
    normal = normalise_gold(gold)
    return compare_cheaply(normal, normalise_answer(answer, normal))


def spellings(digits: int, exponent: int) -> list[str]:
    """Every common way to write digits * 10^exponent; the digits do not end in 0."""
    sign, own = "-" * (digits < 0), str(abs(digits))
    power = exponent + len(own) - 1
    mantissa = f"{own[0]}.{own[1:] or '0'}"
    raised = [f"10^{{{power}}}", f"10^{power}", f"10^({power})", f"10**{power}"]
    written = [f"{mantissa}{e}{p}" for e in "eE" for p in (f"{power:+03d}", f"{power:+d}", f"{power}")]
    written += [
        f"{mantissa}{times}{ten}" for times in (r"\times ", r" \cdot ", "x", " x ", "*", " × ") for ten in raised
    ]
    plain = format(Decimal(digits).scaleb(exponent), "f")
    return [plain, f"{plain}.", f"${plain}$", repr(digits * 10.0**exponent), *(sign + one for one in written)]


@settings(max_examples=20, deadline=None)  # one takes 0.15 s: each of 25 spellings against each
@given(st.integers(-9999, 9999).filter(lambda digits: digits % 10), st.integers(-12, 12))
def test_every_spelling_of_a_number_meets_every_other(digits: int, exponent: int) -> None:
    written = spellings(digits, exponent)[:3] + spellings(digits, exponent)[4:]  # a float product may be off by one bit
    other = written[0].replace(str(abs(digits))[-1], str((int(str(abs(digits))[-1]) + 1) % 10))
    for gold in written:
        assert {status(gold, answer) for answer in written} == {Status.OK}, gold
        assert status(gold, other) is not Status.OK


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 999), st.integers(1, 98), st.integers(2, 99), st.booleans())
def test_every_spelling_of_a_mixed_number_meets_every_other(whole: int, top: int, under: int, minus: bool) -> None:
    top = top % under or 1
    sign, improper = "-" * minus, whole * under + top
    assume(int(f"{whole}{top}") != improper)  # 1 1/10 is 11/10
    written = [f"{whole} {top}/{under}", f"{whole}\\frac{{{top}}}{{{under}}}", f"{whole} \\tfrac{{{top}}}{{{under}}}"]
    written += [f"{improper}/{under}", f"\\dfrac{{{improper}}}{{{under}}}", f"${whole}\\ {top}/{under}$"]
    others = [f"{whole}{top}/{under}", f"{whole}, {top}/{under}", f"{top}/{under}", str(whole)]
    others += [f"{whole * top}/{under}", f"{whole - 1} {top}/{under}", f"{whole}+{top}/{under + 1}"]
    for gold in written:
        assert {status(sign + gold, sign + answer) for answer in written} == {Status.OK}, gold
        assert Status.OK not in {status(sign + gold, sign + answer) for answer in others}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "e",
            "2e",
            "e-5",
            "e^2",
            "2e^2",
            "2e-5",
            "2e+1",
            "-3e-2",
            "2e - 5",
            "3ex",
            "1e5x",
            "x^1e5",
            "12e",
            "ee5",
            "e5",
        ),
        *(
            r"\text{1e5 2 1/2}",
            "1e5_{16}",
            "1e5.5",
            "a1e5",
            "2 3/2",
            "2 1/2/3",
            "x^2 1/2",
            r"2 1/2^2",
            "1 2 1/2",
            "10^2",
        ),
    ],
)
def test_what_is_no_such_number_stays(text: str) -> None:
    assert spell_out(text) == text


RIGHT = [
    *(("2e-5", "0.00002"), ("2e-5", "2e - 5"), ("2e-5", "-5+2e"), ("2e-1", r"\frac{1}{5}"), ("0.2", "2e-1")),
    *(("(2 1/2, 3)", "(2.5, 3)"), ("3, 2 1/2", r"\frac{5}{2}, 3"), ("2 1/2 cm", "2.5 cm"), ("1e3 m", "1000 m")),
    *(
        ("x = 1e-5", "0.00001"),
        ("1e-5, 2", "2, 0.00001"),
        (r"1 1/2\%", "1.5%"),
        ("1e400", r"10^{400}"),
        ("x^-2", "x^{-2}"),
    ),
    *((r"\\frac{1}{2}", "0.5"), (r"\\sqrt{2}", r"\sqrt{2}")),
]
WRONG = [
    *(
        ("2e - 5", "0.00002"),
        ("e-5", "0.00001"),
        ("1e-05", "e-5"),
        ("2e", "2"),
        ("2e", "20"),
        ("3e", "3e0"),
        ("e^2", "1e2"),
    ),
    *(("1e-5", "1e-6"), ("1e-5", "0"), ("6.022e23", "6.022e22"), ("6.022e23", "6.02e23"), ("1e5", "10^4")),
    *(
        ("2 1/2", "1"),
        ("2 1/2", "2, 1/2"),
        ("2, 1/2", "2 1/2"),
        ("(2, 1/2)", "2 1/2"),
        ("-2 1/2", "-1.5"),
        ("21/2", "2 1/2"),
    ),
    *((r"\begin{pmatrix} 2 \\ a \end{pmatrix}", r"\begin{pmatrix} 2 \\ b \end{pmatrix}"),),
]


def test_readings_that_need_algebra(math_reward: MathReward) -> None:
    verdicts = math_reward([Sample(f"\\boxed{{{answer}}}", gold) for gold, answer in RIGHT + WRONG])
    wanted = [1.0] * len(RIGHT) + [0.0] * len(WRONG)
    missed = [
        pair for pair, verdict, want in zip(RIGHT + WRONG, verdicts, wanted, strict=True) if verdict.reward != want
    ]
    assert not missed


SAME_LABEL = [
    *(("x=1, x=2", "2, 1", 1), ("x=1 or x=2", "2, 1", 1), ("x = 3, x = -1", r"\{-1, 3\}", 1), ("x=1, y=2", "2, 1", 0)),
    *(
        ("x=1, x=2", "1", 0),
        ("x=1, x=2", "1, 2, 3", 0),
        ("x=1, x=2, y=3", "2, 1, 3", 1),
        ("x=1, x=2, y=3", "3, 1, 2", 0),
    ),
    *(("(x,y)=(1,2), (x,y)=(3,4)", "(3,4), (1,2)", 1), ("(x,y)=(1,2), (x,y)=(3,4)", "(2,1), (3,4)", 0)),
    *(
        (r"x \in \{1, 2\}", "2, 1", 1),
        ("1, 2", r"S = \{2, 1\}", 1),
        (r"x \in \{1, 2\}", "1", 0),
        (r"x \in \{1\}", "1", 1),
    ),
    *(("x_1=1, x_2=2", "2, 1", 0), ("a=1, b=1", "1, 1", 1)),
]


def test_one_label_on_all_values_says_nothing_of_an_order(math_reward: MathReward) -> None:
    verdicts = math_reward([Sample(f"\\boxed{{{answer}}}", gold) for gold, answer, _ in SAME_LABEL])
    assert [verdict.reward for verdict in verdicts] == [float(want) for *_, want in SAME_LABEL]
