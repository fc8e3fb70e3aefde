"""The bandit against the numbers of the reference: the authors' runs, seed by seed, and the exact gradient."""

import math

import numpy as np
import pytest

from rsgrpo_cli.core.advantages import dr_grpo, rs_grpo
from rsgrpo_cli.experiments.bandit import NEVER, Bandit, _advantages, _draw, play, play_exactly
from rsgrpo_cli.report.bandit import summary
from rsgrpo_cli.schemas import BANDIT_RUNS

BETAS, SEEDS = (0, 2, 4, 8, 16, 32, 64), (42, 43, 44, 45, 46)


def test_the_arms_and_the_start() -> None:
    bandit = Bandit.of(100)
    # Arm 40: 0.1 + 0.9 + 0.5 exp(-35^2 / 50); arm 75: 0.1 + 0.9 exp(-35^2 / 50) + 0.5. The far hill adds 1e-11.
    assert bandit.rewards_A[[40, 75]] == pytest.approx([1.0, 0.6], abs=1e-10)
    assert bandit.rewards_A.argmax() == 40
    assert bandit.initial_A.sum() == pytest.approx(1, abs=1e-15)
    assert bandit.initial_A @ bandit.rewards_A == pytest.approx(0.374520706, abs=2e-7)
    assert bandit.initial_A[[40, 75]] == pytest.approx([0.0044379088, 0.0488169964], abs=1e-7)
    # 50 arms are every second one of 100.
    assert Bandit.of(50).rewards_A == pytest.approx(bandit.rewards_A[::2], abs=1e-15)


def test_the_exact_gradient() -> None:
    finals = {
        0: 0.599553853485, 2: 0.599209746861, 2.5: 0.998948333364, 3: 0.999034671941, 4: 0.998806884080,
        8: 0.997752852115, 16: 0.995463572747, 32: 0.990515501006, 64: 0.979172870935,
    }  # fmt: skip
    bandit = Bandit.of(100)
    policies = play_exactly(bandit, tuple(finals), updates=25_000)
    assert policies @ bandit.rewards_A == pytest.approx(list(finals.values()), abs=1e-9)


def test_one_exact_step_by_hand() -> None:
    # Rewards 1 and 0 at even odds, beta = ln 3: E exp(beta r) = 2, so A = (3/2 - 1) / ln 3 = 0.5 / ln 3 for the first
    # and -0.5 / ln 3 for the second; the logits move by 0.1 * 0.5 * A, apart by 0.05 / ln 3.
    bandit = Bandit(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    policy = play_exactly(bandit, (math.log(3), -math.log(3)), updates=1)
    assert np.log(policy[0, 0] / policy[0, 1]) == pytest.approx(0.05 / math.log(3))
    # At beta = -ln 3: E exp(beta r) = (1/3 + 1) / 2 = 2/3; A = (1/2 - 1) / -ln 3 and (3/2 - 1) / -ln 3: the same.
    assert policy[1] == pytest.approx(policy[0])


def test_the_first_quarter_of_the_authors_runs() -> None:
    runs = play(Bandit.of(100), (4, 8, 16), SEEDS, samples=100_000)
    expected = [
        [75360, 53552, 61968, 62160, 57552],
        [47808, 59616, 47504, 58896, 45760],
        [76656, 79264, 83872, 95776, 72592],
    ]
    assert runs.escaped_R.reshape(3, 5).tolist() == expected
    assert runs.samples_T[[0, -1]].tolist() == [0, 100_000]
    assert runs.reward_TR[-1].reshape(3, 5).mean(axis=1) == pytest.approx([0.989, 0.984, 0.947], abs=5e-4)


@pytest.mark.slow
def test_the_acceptance_rule() -> None:
    runs = play(Bandit.of(100), BETAS, SEEDS, samples=400_000)
    final = dict(zip(BETAS, runs.reward_TR[-1].reshape(7, 5), strict=True))
    seed_42 = [0.599512, 0.599252, 0.998774, 0.997784, 0.995326, 0.988758, 0.965841]
    assert [rewards[0] for rewards in final.values()] == pytest.approx(seed_42, abs=6e-7)
    assert all(0.598 < reward < 0.6001 for beta in (0, 2) for reward in final[beta])
    assert all(reward > 0.97 for beta in (4, 8, 16) for reward in final[beta])
    assert all(0.987 < reward < 0.990 for reward in final[32])
    assert all(0.962 < reward < 0.968 for reward in final[64])
    escaped = dict(zip(BETAS, runs.escaped_R.reshape(7, 5), strict=True))
    assert (escaped[0] == NEVER).all()
    assert (escaped[2] == NEVER).all()
    medians = [np.median(escaped[beta]) for beta in (8, 4, 16, 32, 64)]
    assert medians == sorted(medians)


def test_a_beta_is_a_scale_of_the_rewards() -> None:
    rng = np.random.default_rng(0)
    rewards = rng.random((5, 16))
    betas = np.array([0.0, -3.0, 0.1, 8.0, 64.0])
    expected = [dr_grpo(rewards[0]), *(rs_grpo(rewards[row], beta=betas[row]) for row in range(1, 5))]
    np.testing.assert_allclose(_advantages(rewards, betas), expected, rtol=1e-12)


def test_arms_are_drawn_as_numpy_draws_them() -> None:
    policies = np.random.default_rng(0).dirichlet(np.ones(7), size=3)
    uniform = np.stack([np.random.RandomState(seed).random_sample(1000) for seed in range(3)])
    expected = [np.random.RandomState(seed).choice(7, size=1000, p=policies[seed]) for seed in range(3)]
    assert (_draw(policies, uniform) == np.array(expected)).all()
    # The largest number below 1 becomes 1 + 2 = 3 in the third run's share of the line, and is still its last arm.
    assert _draw(policies, np.full((3, 1), np.nextafter(1, 0))).tolist() == [[6], [6], [6]]


def test_runs_do_not_depend_on_each_other() -> None:
    bandit = Bandit.of(20)
    together = play(bandit, (0, 8), (1, 2), samples=3200)
    alone = [play(bandit, (beta,), (seed,), samples=3200).policy_RA[0] for beta in (0, 8) for seed in (1, 2)]
    np.testing.assert_allclose(together.policy_RA, alone, rtol=1e-12)


@pytest.mark.parametrize(
    ("betas", "seeds", "samples"), [((), (1,), 16), ((1,), (), 16), ((1,), (1,), 15), ((math.nan,), (1,), 16)]
)
def test_what_cannot_be_played(betas: tuple[float, ...], seeds: tuple[int, ...], samples: int) -> None:
    with pytest.raises(ValueError, match="beta"):
        play(Bandit.of(10), betas, seeds, samples)
    with pytest.raises(ValueError, match="at least 2 arms"):
        Bandit.of(1)


def test_the_summary_of_seeds_that_differ() -> None:
    import pyarrow as pa

    rows = [(3.0, 1, 0.99, 500), (3.0, 2, 0.59, None), (3.0, 3, 0.61, None)]
    table = pa.Table.from_pylist(
        [
            {
                **{"beta": beta, "seed": seed, "expected_reward": reward, "entropy": 0.5},
                **{"best_arm": 40 if moment else 75, "samples_to_escape": moment, "exact_expected_reward": 0.999},
            }
            for beta, seed, reward, moment in rows
        ],
        schema=BANDIT_RUNS.schema,
    )
    (row,) = summary(table)
    # Two of three never escape, so that the middle one does not. Mean 2.19 / 3; sd of (0.26, -0.14, -0.12) about it.
    assert (row["escaped"], row["seeds"], row["samples_to_escape"], row["best_arms"]) == (1, 3, None, [40, 75])
    assert row["expected_reward"] == pytest.approx(0.73)
    assert row["sd"] == pytest.approx(math.sqrt((0.26**2 + 0.14**2 + 0.12**2) / 2))
