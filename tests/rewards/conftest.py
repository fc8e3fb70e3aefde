from collections.abc import Iterator

import pytest

from rsgrpo_cli.rewards.math.reward import MathReward


@pytest.fixture(scope="session")
def math_reward() -> Iterator[MathReward]:
    """One pool for all tests of mathematics: a worker takes most of a second to import SymPy."""
    reward = MathReward(workers=2, deadline=15.0)
    yield reward
    reward.close()
