import pytest

from rsgrpo_cli.rewards.math.answer import compare_cheaply
from rsgrpo_cli.rewards.math.effort import is_laborious
from rsgrpo_cli.rewards.types import Status


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^9}}",
        r"\lfloor \pi^{\pi^{\pi^\pi}} \rfloor",
        r"\log_2(2^{2^{2^{2}}})",
        "2^" * 20 + "2",
        "10^{999999999}",
        "10^999999",
        "9!!!!!!",
        "9! ! !",
        "(" * 21 + "1" + ")" * 21,
        r"\sqrt{2+" * 40 + "2" + "}" * 40,
        r"\frac{1}{" * 30 + "2" + "}" * 30,
        "1+" * 300 + "1",
    ],
)
def test_what_would_take_seconds_is_not_begun(answer: str) -> None:
    assert is_laborious(r"\frac{\sqrt{3}}{2}", answer)
    assert compare_cheaply(r"\frac{\sqrt{3}}{2}", answer) is Status.UNPARSABLE
    assert not is_laborious(answer, answer)  # the gold is the measure


@pytest.mark.parametrize(
    "answer",
    [
        r"\frac{1+\sqrt{2+\sqrt{3+\sqrt{5}}}}{2\left(1+\sqrt{3}\right)}",
        "e^{x^2}",
        "2^{2^3}",
        "x^2+y^2+z^2+w^2",
        "x^{2}y^{2}z^{2}",
        "10^{100}",
        "10^{-12345}",
        "100!",
        "9!!",
        r"1+\frac{1}{2+\frac{1}{2+\frac{1}{2+\frac{1}{2+\frac{1}{2}}}}}",
        "x^{10}+10x^9+45x^8" * 20,  # 360 characters
    ],
)
def test_what_people_write_is(answer: str) -> None:
    assert not is_laborious("42", answer)


def test_a_long_gold_may_have_a_long_answer() -> None:
    gold = "+".join(f"{n}x^{n}" for n in range(1, 40))
    assert len(gold) > 150
    assert not is_laborious(gold, "+".join(f"x^{n}" for n in range(1, 150)))
