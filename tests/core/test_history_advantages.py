"""Estimators that look at earlier steps: by hand, and what they are where there is nothing to see."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from rsgrpo_cli.core.accuracy_advantages import power
from rsgrpo_cli.core.advantages import dr_grpo, max_rl, rs_grpo
from rsgrpo_cli.core.grouping import Groups
from rsgrpo_cli.core.history import History, Visits
from rsgrpo_cli.core.history_advantages import Batch, Law, curve_rl, fade, risk_weight, rs_grpo_moving

NOTHING = History()


def batch(**groups: Sequence[float]) -> Batch:
    """Groups of these rewards, by prompt."""
    sizes = [len(rewards) for rewards in groups.values()]
    codes = np.repeat(np.arange(len(sizes)), sizes)
    return Batch(Groups.of(codes), list(groups), np.concatenate([*groups.values()]), "fade")


def seen(rates: Sequence[float] = (), **means: float) -> History:
    """A history with these recent pass rates."""
    prompts = {str(number): Visits(recent=((0, rate),)) for number, rate in enumerate(rates)}
    return History(step=1, prompts=prompts, **means)


def close(result: np.ndarray, expected: Sequence[float]) -> None:
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


def moving(groups: Batch, history: History, law: Law, **settings: float) -> tuple[np.ndarray, Mapping[str, float]]:
    weighing = rs_grpo_moving(groups, history, law=law, **settings)
    return weighing.advantages(groups), weighing.used


class TestRsGrpoMoving:
    @pytest.mark.parametrize("beta", [0.0, 1e-9, 0.5, 2.0, 8.0, 700.0, 1e6])
    def test_at_a_beta_it_is_rs_grpo(self, beta: float) -> None:
        groups = batch(a=[1, 0, 0, 0], b=[1, 1, 0], c=[1, 1], d=[0, 0, 0])
        made, used = moving(groups, NOTHING, "frontier", beta=beta)
        alone = [rs_grpo(rewards, beta=beta) for rewards in ([1, 0, 0, 0], [1, 1, 0], [1, 1], [0, 0, 0])]
        close(made, np.concatenate(alone).tolist())
        assert used == {"beta": beta}

    def test_the_frontier_by_hand(self) -> None:
        # The quartile of 0.1, 0.2, 0.3, 0.4, 0.5 is 0.2, where beta = 2 log 4 has the largest signal.
        beta = 2 * math.log(4)
        made, used = moving(batch(a=[1, 0, 0, 0]), seen([0.5, 0.3, 0.1, 0.2, 0.4, 0.0, 1.0]), "frontier")
        assert used == {"beta": pytest.approx(beta)}
        # e^beta = 16, a = 15, p = 1/4: w = 15 / (beta (1 + 15/4)) = 60 / 19 / beta.
        close(made, [weight * 60 / 19 / beta for weight in (3 / 4, -1 / 4, -1 / 4, -1 / 4)])
        p = np.linspace(0.001, 0.999, 999)
        assert p[(p * (1 - p) * risk_weight(p, beta)).argmax()] == pytest.approx(0.2)

    @pytest.mark.parametrize(("rate", "beta"), [(0.5, 0.0), (0.7, 0.0), (0.001, 8.0)])
    def test_the_frontier_has_its_limits(self, rate: float, beta: float) -> None:
        assert moving(batch(a=[1, 0]), seen([rate]), "frontier")[1] == {"beta": beta}

    def test_frontier_and_sign(self) -> None:
        # H_0 = 2, H = 0.5: delta = 1 + 0.5 - 1 = 0.5, so negative advantages double.
        history = seen([0.2], entropy=0.5, first_entropy=2.0)
        plain, _ = moving(batch(a=[1, 0, 0]), history, "frontier")
        made, used = moving(batch(a=[1, 0, 0]), history, "frontier_sign")
        close(made, [plain[0], 2 * plain[1], 2 * plain[2]])
        assert used == {"beta": pytest.approx(2 * math.log(4)), "delta": 0.5}

    def test_the_solve_rate_by_hand(self) -> None:
        made, used = moving(batch(a=[1, 0]), History(solve_rate=0.25), "solve_rate", beta=8.0, beta_end=4.0)
        assert used == {"beta": 7.0}
        close(made, rs_grpo([1, 0], beta=7).tolist())

    @pytest.mark.parametrize(("entropy", "beta"), [(2.0, 1.0), (1.0, 4.0), (0.5, 12.0), (0.0, 12.0), (4.0, 0.25)])
    def test_the_entropy_by_hand(self, entropy: float, beta: float) -> None:
        # H_0 = 2 and beta 1: (2 / H)^2, at most 12.
        _, used = moving(batch(a=[1, 0]), History(entropy=entropy, first_entropy=2.0), "entropy", beta=1.0)
        assert used == {"beta": beta}
        assert moving(batch(a=[1, 0]), NOTHING, "entropy", beta=1.0)[1] == {"beta": 1.0}

    def test_each_prompt_by_hand(self) -> None:
        # beta 2 log 3 stands for a rate of 1/4: 1 right of 4. a: (1 + 0) / (4 + 4) = 1/8, beta 2 log 7. b: 5/8, beta 0.
        history = History(prompts={"a": Visits(0.0, 4.0), "b": Visits(4.0, 4.0)})
        groups = batch(a=[1, 0, 0, 0], b=[1, 0, 0, 0], new=[1, 0, 0, 0])
        made, used = moving(groups, history, "per_prompt", beta=2 * math.log(3))
        for start, beta in ((0, 2 * math.log(7)), (4, 0.0), (8, 2 * math.log(3))):
            close(made[start : start + 4], rs_grpo([1, 0, 0, 0], beta=beta).tolist())
        mean = 2 * (math.log(7) + math.log(3)) / 3
        assert used == {
            "beta": pytest.approx(mean), "beta_min": 0.0, "beta_max": pytest.approx(2 * math.log(7))
        }  # fmt: skip

    def test_shrunk_rates_by_hand(self) -> None:
        # a, none of 4 now, had 2 of 4: p~ = 2/8. b, all of 4, the same: 6/8. beta log 5: a = 4.
        history = History(prompts={"a": Visits(2.0, 4.0), "b": Visits(2.0, 4.0)})
        beta = math.log(5)
        made, used = moving(batch(a=[0] * 4, b=[1] * 4, new=[1, 0]), history, "shrunk", beta=beta)
        # w(1/4) = 4 / (beta 2), w(3/4) = 4 / (beta 4).
        close(made[:8], [-1 / 4 * 2 / beta] * 4 + [1 / 4 / beta] * 4)
        close(made[8:], rs_grpo([1, 0], beta=beta).tolist())
        assert used == {"beta": beta}

    def test_refusals(self) -> None:
        groups = batch(a=[1, 0])
        with pytest.raises(ValueError, match="beta and beta_end must be finite and >= 0, not -1"):
            rs_grpo_moving(groups, NOTHING, beta=-1)
        with pytest.raises(ValueError, match="law 'solve_rate' needs beta_end"):
            rs_grpo_moving(groups, NOTHING, law="solve_rate")
        with pytest.raises(ValueError, match="unknown law 'up'"):
            rs_grpo_moving(groups, NOTHING, law="up")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"fade needs 0/1 rewards; got 0\.5"):
            batch(a=[0.5, 1])


class TestFade:
    def test_by_hand(self) -> None:
        # P = 0.4: alpha = 3 * 0.6 / 0.8 = 2.25; H_0 = 2, H = 0.6: delta = 0.6. p = 1/4: (3/4)^1.25.
        groups = batch(a=[1, 0, 0, 0])
        weighing = fade(groups, History(solve_rate=0.4, entropy=0.6, first_entropy=2.0))
        assert weighing.used == {"alpha": pytest.approx(2.25), "delta": pytest.approx(0.6)}
        w = 0.75**1.25
        close(weighing.advantages(groups), [w * 3 / 4, *[-w / 4 / 0.6] * 3])

    @pytest.mark.parametrize(
        ("rate", "entropy", "alpha", "delta"),
        [(0.9, 3.0, 1.0, 1.0), (0.1, 0.1, 3.0, 0.3), (0.0, 1.0, 3.0, 0.5), (1.0, 1.5, 1.0, 1.0)],
    )
    def test_its_limits(self, rate: float, entropy: float, alpha: float, delta: float) -> None:
        history = History(solve_rate=rate, entropy=entropy, first_entropy=3.0)
        assert fade(batch(a=[1, 0]), history).used == pytest.approx({"alpha": alpha, "delta": delta})

    def test_the_first_step_is_power(self) -> None:
        groups = batch(a=[1, 0, 0], b=[0, 0])
        close(fade(groups, NOTHING).advantages(groups), [*power([1, 0, 0], alpha=1.5).tolist(), 0, 0])


class TestCurveRl:
    def test_by_hand(self) -> None:
        # Rates of groups of four in bins of fifths: twice 1/4, once 2/4, once 3/4. f / F: 2/2, 1/3, 1/4.
        history = seen([0.25, 0.25, 0.5, 0.75])
        groups = batch(a=[1, 0, 0, 0], b=[1, 1, 0, 0], c=[1, 1, 1, 0])
        made = curve_rl(groups, history).advantages(groups)
        close(made[:4], dr_grpo([1, 0, 0, 0]).tolist())
        close(made[4:8], (dr_grpo([1, 1, 0, 0]) / 3).tolist())
        close(made[8:], (dr_grpo([1, 1, 1, 0]) / 4).tolist())

    def test_where_all_rates_are_equally_frequent_it_is_max_rl(self) -> None:
        groups = batch(**{str(c): [1.0] * c + [0.0] * (16 - c) for c in range(1, 16)})
        made = curve_rl(groups, seen([c / 16 for c in range(1, 16)])).advantages(groups)
        # f / F = 1 / c = (1 / p) / 16.
        close(16 * made, max_rl(groups.rewards_N.reshape(-1, 16), eps=0).reshape(-1).tolist())

    def test_the_first_step_goes_by_itself(self) -> None:
        # One at 1/4, one at 2/4: 1 and 1/2.
        groups = batch(a=[1, 0, 0, 0], b=[1, 1, 0, 0], c=[1, 1, 1, 1], d=[0, 0, 0, 0])
        expected = [*dr_grpo([1, 0, 0, 0]).tolist(), *(dr_grpo([1, 1, 0, 0]) / 2).tolist(), *[0.0] * 8]
        close(curve_rl(groups, NOTHING).advantages(groups), expected)

    def test_a_rate_that_was_not_seen_and_equal_rewards_get_nothing(self) -> None:
        groups = batch(a=[1, 1, 1, 0], b=[0, 0, 0, 0], c=[1, 1, 1, 1])
        assert not curve_rl(groups, seen([0.25])).advantages(groups).any()
        empty = Batch(Groups.of([]), [], [], "curve_rl")
        assert not curve_rl(empty, NOTHING).advantages(empty).size


def test_a_group_of_one_gets_nothing() -> None:
    groups = batch(a=[1])
    history = History(prompts={"a": Visits(1.0, 4.0)})
    assert not rs_grpo_moving(groups, history, law="shrunk").advantages(groups).any()
