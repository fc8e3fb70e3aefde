"""What stands around boxes: other boxes, operators, roots, words that deny."""

import pytest

from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample


@pytest.mark.parametrize(
    ("gold", "completion", "right"),
    [
        ("2, 11", "$\\boxed{2}$\n$\\boxed{11}$", True),
        ("2, 11", "$\\boxed{2}$\nNo.\n$\\boxed{11}$", False),
        ("6", r"It is $2\cdot\boxed{3}$.", True),
        ("3", r"It is $2\cdot\boxed{3}$.", False),
        ("3", r"Hence $x = 4 - \boxed{3}$.", False),
        ("3", r"$4 - \boxed{3} = 1$ fills the gap.", True),
        ("3", r"Hence $\frac{1}{\boxed{3}}$.", False),
        ("9", r"$\frac{3}{4} = \frac{\boxed{9}}{12}$", True),
        ("3", r"$\boxed{3}!$", False),
        ("3", r"It is $\boxed{3}$!", True),
        ("3", r"$\boxed{3} + 1$", False),
        ("3", r"Either \boxed{2} or \boxed{3}.", False),
        ("3", r"\boxed{3}, \boxed{3}", True),
        ("0.5", r"\boxed{\frac{1}{2}} or \boxed{0.5}", True),
        ("5", r"$a=\boxed{2}$, $b=\boxed{3}$, so $a+b=\boxed{5}$.", True),
        ("(2, 3)", r"$x=\boxed{2}$, $y=\boxed{3}$", True),
        ("2, 3", r"We discard \boxed{2}, leaving \boxed{3}.", False),
        ("2, 3", r"We cannot discard \boxed{2} and \boxed{3}.", True),
    ],
)
def test_boxes(math_reward: MathReward, gold: str, completion: str, right: bool) -> None:
    assert math_reward([Sample(completion, gold)])[0].reward == float(right)
