"""Kinds of answers that people write, each with its right and its wrong neighbours."""

import pytest

from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample, Status

RIGHT = [
    (r"2-\gamma", r"-\gamma+2"),
    (r"2-\gamma", r"2-\gamma_E"),
    (r"\frac{3}{2}", r"\sqrt{2.25}"),
    (r"\frac{\pi}{5}", r"\frac{\pi}{5} \text{ or about } 0.628"),
    ("-4", r"x=-4 \text{ (double root)}"),
    (r"\begin{pmatrix} 2 & 0 \\ 5 & 3 \end{pmatrix}", "[[2,0],[5,3]]"),
    ("24", r"A = \frac{1}{2}bh = 24"),
    (r"9\pi", r"A = \pi r^2 = 9\pi \approx 28.27"),
    (r"\pi", r"\pi \approx 3.14159"),
    ("-1", r"e^{i\pi} = -1"),
    ("24", "4!=24"),
    ("14", r"14, \text{ because it is even}"),
    ("31", r"31 \text{ (since } 28+3=31)"),
    ("14", r"14 \text{ (by symmetry)}"),
    ("9", "9th"),
    ("40", r"\text{total cost: } 40"),
    ("12", r"12\ \mathrm{cm^2}"),
    (r"9.8", r"9.8\,\mathrm{m/s^2}"),
    ("75¢", "75"),
    (r"\frac{3}{7}", "frac{3}{7}"),
    ("185\\", "185"),
    (r"\frac{1}{432}", r"2.314814814815 \times 10^{-3}"),
    (r"\frac{1}{3}", r"\frac{1}{3} \approx 3.33 \times 10^{-1}"),
    ("1,22", "1.22"),
    ("(2,7)", "P(2,7)"),
    (r"p = 5, q = 2 \text{ and } p = 7, q = 2", "p=5,q=2;p=7,q=2"),
    ("f(2) < f(1) < f(4)", "f(4)>f(1)>f(2)"),
    (r"(0,1)\cup(1,\infty)", r"k>0, k \ne 1"),
    ("ABD", "A, B, D"),
    ("FF_{16}", "FF"),
    (r"\binom{10}{3}", "C(10,3)"),
    (r"\text{no solution}", r"\emptyset"),
    (r"\text{甲}", "甲"),
    ("x", r"\frac{2x}{2}"),
    ("18", "AB+BC=18"),
    ("15", r"\text{Alice's age: } 15"),
    ("12", r"\text{lcm}(3,4) = 12"),
    (r"\text{hyperbola}", r"\text{The graph is a hyperbola}"),
    ("9", r"\begin{aligned} n &= 4+5 \\ &= 9 \end{aligned}"),
    ("a=2, b=5", r"\left\{\begin{array}{l} a = 2 \\ b = 5 \end{array}\right."),
    (r"\frac{5}{9}", r"\text{\frac{5}{9}}"),
    ("9", r"\cancel{8}\, 9"),
    ("(5,-1)", r"5\mathbf{i}-\mathbf{j}"),
    ("(0,0,6)", r"6\hat{k}"),
    (r"\hat{i}+4\hat{j}", "(1,4)"),
    (r"\frac{\pi}{4}", r"45^\circ"),
    (r"(5, 90^\circ)", r"(5, \frac{\pi}{2})"),
    (r"\sin x + C", r"\sin x + k"),
    (r"(2,5)\cup(7,9)", r"(2,5) \text{ and } (7,9)"),
    ("[2,5)", "[2,5["),
    (r"(2,5)\cup(7,9)", r"]2,5[\,\cup\,]7,9["),
    (r"[0,\infty)", r"\mathbb{R}_{\ge 0}"),
    ("54321.5", "54.321,5"),
    (r"\frac{8}{33}", r"0.\dot{2}\dot{4}"),
    (r"\frac{7}{9}", "0.(7)"),
    ("4", r"4\ \mathrm{m\,s^{-2}}"),
    (r"4 \text{ m/s}^2", r"4\ \mathrm{m}\,\mathrm{s}^{-2}"),
    (r"\text{obtuse}", r"\text{an obtuse-angled triangle}"),
    ("9", r"n = 9, \text{ where } n \text{ is the number of hens}"),
    ("(8,3)", r"\text{The point is } (8,3)"),
    ("bd-c", "-c+db"),
    (r"\frac{d\sqrt{5}}{3}", r"\frac{\sqrt5}{3}d"),
    ("7C_{16}", r"\text{7C}"),
    ("n^3", r"n^3 \text{ for all } n \in \mathbb{N}"),
    ("g(x) = 3x", "g(t) = 3t"),
    (r"\sqrt{3}", r"\sqrt{3} \quad \text{(approximately } 1.732 \text{ cm)}"),
    (r"\sqrt{3}", r"\sqrt{3} \text{ (about 1.732)}"),
    (r"(-\infty,2)\cup\{6\}", r"m < 2 \text{ or } m = 6"),
    ("PQ=RS", r"\text{RS} = \text{PQ}"),
    (r"(\text{E})", "E"),
    (r"\ln 5", r"\text{So the integral is } \ln 5"),
    (r"\frac{M_{\odot}}{2}", r"\frac{1}{2}M_\odot"),
    (r"y = 4x + ce^{-x}", r"y = Ce^{-x} + 4x"),
    ("85", r"85^\circ\text{C}"),
    (r"85^\circ C", "85℃"),
    (r"\frac{E_1}{3}", r"\frac{1}{3}E_1"),
    ("7", r"\text{The area of triangle } PQR \text{ is } 7"),
]
WRONG = [
    ("1", r"\gamma+1"),
    ("2", r"\gamma+2"),
    (r"\gamma+1", "1"),
    ("1.5", r"\sqrt{2.26}"),
    (r"\begin{pmatrix} 2 & 0 \\ 5 & 3 \end{pmatrix}", "[[2,5],[0,3]]"),
    ("42", "41 = 42"),
    ("42", "x = 42 = 41"),
    (r"9\pi", r"A = \pi r^2 = 9\pi \approx 29"),
    ("10", r"\log x = 10"),
    ("7", r"\text{about } 7"),
    ("7", r"7 \text{ too many}"),
    ("7", r"\text{cannot be } 7"),
    ("6", "约6"),
    (r"\frac{2}{5}", r"\frac{2}{5} \text{?}"),
    ("1, 22", "1.22"),
    ("(2,7)", "(7,2)"),
    (r"(0,1)\cup(1,\infty)", r"k>0, k \ne 2"),
    ("ABD", "A, B"),
    ("k", r"\sqrt{k^2}"),
    ("15", r"\text{my guess: } 15"),
    ("12", r"\text{lcm}(3,4)"),
    (r"\text{hyperbola}", r"\text{The graph is not a hyperbola}"),
    ("f(1) < f(2)", "f(1) > f(2)"),
    ("9", r"\cancel{9}"),
    ("9", r"\cancel{9} 8"),
    ("(5,-1)", r"5\mathbf{i}+\mathbf{j}"),
    ("5-i", r"5\mathbf{i}-\mathbf{j}"),
    (r"\frac{\pi}{4}", "45"),
    (r"\frac{\pi}{4}", r"90^\circ"),
    (r"\sin x + C", r"\sin x"),
    (r"(2,5)\cup(7,9)", r"(2,5) \text{ and } (7,8)"),
    ("(2,5)", r"(2,5) \text{ and } (7,9)"),
    (r"(0,\infty)", r"\mathbb{R}_{\ge 0}"),
    ("[2,5]", "[2,5["),
    ("4", r"4\ \mathrm{m\,s^{-2}} \text{ or } 5"),
    (r"\text{obtuse}", r"\text{an acute-angled triangle}"),
    ("9", r"9 \text{ where } n \text{ is odd}"),
    ("2B", "2B^T"),
    (r"\frac{dy}{dx}", r"\frac{dx}{dy}"),
    ("7", r"7 \text{ for all odd } n"),
    ("g(x) = 3x", "g(t) = 3x"),
    ("g(x) = 3x", "h(t) = 3t"),
    (r"\sqrt{3}", r"\sqrt{3} \text{ (about 1.8)}"),
    (r"(-\infty,2)\cup\{6\}", r"m < 2 \text{ or } m = 5"),
    ("PQ=RS", r"\text{RT} = \text{PQ}"),
    ("2C", "2c"),
    (r"85^\circ C", r"85^\circ F"),
    ("2E", "2e"),
    ("I_0", "i"),
]


@pytest.fixture(scope="module")
def reward() -> MathReward:
    return MathReward(workers=1, deadline=30.0)


def test_the_right_ones(reward: MathReward) -> None:
    verdicts = reward([Sample(f"\\boxed{{{answer}}}", gold) for gold, answer in RIGHT])
    assert [pair for pair, verdict in zip(RIGHT, verdicts, strict=True) if verdict.status is not Status.OK] == []


def test_the_wrong_ones(reward: MathReward) -> None:
    verdicts = reward([Sample(f"\\boxed{{{answer}}}", gold) for gold, answer in WRONG])
    assert [pair for pair, verdict in zip(WRONG, verdicts, strict=True) if verdict.reward] == []


@pytest.mark.parametrize(
    ("gold", "completion", "right"),
    [
        ("2, 11", "$\\boxed{2}$\n$\\boxed{11}$", True),
        ("2, 11", "$\\boxed{2}$\nNo.\n$\\boxed{11}$", False),
        ("6", r"It is $2\cdot\boxed{3}$.", True),
        ("3", r"It is $2\cdot\boxed{3}$.", False),
    ],
)
def test_boxes(reward: MathReward, gold: str, completion: str, right: bool) -> None:
    assert reward([Sample(completion, gold)])[0].reward == float(right)
