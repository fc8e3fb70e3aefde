"""Every estimator from the command line."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.config import VARIANTS
from rsgrpo_cli.core.estimators import ESTIMATORS, estimator_function
from tests.conftest import SMALL, Cli


def test_each_makes_advantages_of_a_step(cli: Cli, trained: Path) -> None:
    reward = pq.read_table(trained / "steps/000001/rewards")["reward"].to_numpy()
    for name in ESTIMATORS:
        variant = VARIANTS[name]
        result = cli("advantage", "--run", trained, "--step", "1", "--estimator", name, "--tag", name)
        assert result.code == 0, result.err
        made = pq.read_table(trained / f"steps/000001/advantages.{name}.parquet")
        expected = estimator_function(name, **variant(estimator=name).knobs())(reward.reshape(-1, 4)).reshape(-1)
        np.testing.assert_array_equal(made["advantage"].to_numpy(), expected, err_msg=name)


def test_a_run_with_another_estimator_and_its_settings(cli: Cli) -> None:
    flags = ["--estimator", "chen_passk", "--set", "advantage.k=2", "--advantage-scale", "rms"]
    assert cli("train", "--run", "runs/x", "--steps", "2", *flags, *SMALL).code == 0
    row = pq.read_table("runs/x/metrics.parquet").to_pylist()[0]
    assert (row["estimator"], row["beta"]) == ("chen_passk", None)
    assert row["advantage_rms"] == pytest.approx(1)
    assert "estimator chen_passk, scale rms, k 2" in cli("status", "--run", "runs/x").out


@pytest.mark.parametrize(
    ("flags", "texts"),
    [
        (
            ["--estimator", "chen_passk", "--beta", "4"],
            ["not a setting of estimator chen_passk", "it has: scale, k"],
        ),
        (["--set", "advantage.k=4"], ["advantage.k is not a setting of estimator rs_grpo"]),
        (["--estimator", "pkpo", "--set", "advantage.k=32"], ["pkpo with k = 32 needs 32", "use --group-size 32"]),
        (["--estimator", "pkpo", "--set", "advantage.k=0"], ["advantage.k: must be at least 1, not 0"]),
        (
            ["--estimator", "entropic_adaptive", "--group-size", "2"],
            ["needs 3 completions per prompt", "--group-size 3"],
        ),
        (["--estimator", "power", "--set", "advantage.alpha=0.5"], ["advantage.alpha: must be at least 1, not 0.5"]),
        (
            ["--estimator", "w_reinforce", "--set", "advantage.right=-1"],
            ["advantage.right: must be at least 0, not -1"],
        ),
        (["--estimator", "rs_grpo_moving", "--set", "advantage.law=up"], ["advantage.law: must be 'frontier', "]),
        (
            ["--estimator", "rs_grpo_moving", "--set", "advantage.law=solve_rate"],
            ["law solve_rate needs a beta to go to"],
        ),
        (
            ["--estimator", "rs_grpo_moving", "--set", "advantage.beta_end=8"],
            ["beta_end belongs to --set advantage.law"],
        ),
        (["--estimator", "fade", "--beta", "2"], ["advantage.beta is not a setting of estimator fade"]),
        (["--estimator", "grpo", "--advantage-scale", "beta"], ["scale beta undoes the 1/beta of rs_grpo"]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(cli: Cli, flags: list[str], texts: list[str]) -> None:
    result = cli("train", "--run", "runs/x", *flags)
    assert result.code == 2
    assert all(text in result.err for text in texts), result.err
    assert not Path("runs/x").exists()


def test_rewards_that_an_estimator_cannot_use(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def shorter(completions, **columns):\n    return [-len(text) / 10 for text in completions]\n"
        "def one_of_four(completions, **rest):\n    return [None if i % 4 else 1.0 for i in range(len(completions))]\n"
        "def three_of_four(completions, **rest):\n    return [i % 4 or None for i in range(len(completions))]\n"
    )
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    assert cli("rollout", "--run", "runs/x").code == 0
    made = tmp_path / "runs/x/steps/000000/advantages.parquet"

    assert cli("score", "--run", "runs/x", "--reward", "mine:shorter").code == 0
    for name, text in (
        ("passk_rloo", "passk_rloo needs 0/1 rewards; got -"),
        ("max_rl", "max_rl needs groups of positive mean"),
    ):
        result = cli("advantage", "--run", "runs/x", "--estimator", name)
        assert result.code == 1
        assert text in result.err
        assert "use rs_grpo or" in result.err
        assert not made.exists()

    assert cli("score", "--run", "runs/x", "--reward", "mine:three_of_four", "--force").code == 0
    result = cli("advantage", "--run", "runs/x", "--estimator", "pkpo")
    assert result.code == 1
    assert "pkpo needs k = 4 rewards or more a group; got 3: lower k or use larger groups" in result.err
    assert cli("advantage", "--run", "runs/x", "--estimator", "pkpo", "--set", "advantage.k=3").code == 0

    # One reward in each group: nothing to be compared with.
    assert cli("score", "--run", "runs/x", "--reward", "mine:one_of_four", "--force").code == 0
    assert cli("advantage", "--run", "runs/x", "--estimator", "rloo", "--force").code == 0
    assert not pq.read_table(made)["advantage"].to_numpy().any()
