"""Our estimators reached through verl's own `compute_advantage`."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rsgrpo_cli.core.estimators import ESTIMATORS, estimator_function
from tests.integrations.verl.conftest import Compose, batch

# verl and Ray warn of their own affairs.
pytestmark = [pytest.mark.verl, pytest.mark.filterwarnings("ignore")]

SETTINGS: dict[str, dict[str, Any]] = {
    "rs_grpo": {"beta": 4.0},
    "qae": {"level": 0.6},
    "entropic_loo": {"beta": 1.5},
    "pkpo": {"k": 2, "variant": "sloo"},
    "chen_passk": {"k": 3},
    "mahdavi_passk": {"k": 2},
    "passk_rloo": {"k": 2},
    "power": {"alpha": 3.0},
    "f_grpo": {"gamma": 2.0},
    "bbg": {"k": 2},
    "w_reinforce": {"right": 0.5},
}
"""Of the estimators that have any; the others are taken as they are."""


def advantage_of(data: Any, name: str, algorithm: Any) -> torch.Tensor:
    from verl.trainer.ppo.ray_trainer import compute_advantage

    data = compute_advantage(data, adv_estimator=name, config=algorithm)
    assert torch.equal(data.batch["advantages"], data.batch["returns"])
    advantages: torch.Tensor = data.batch["advantages"]
    assert advantages.dtype == torch.float32
    return advantages


@pytest.mark.parametrize("name", ESTIMATORS)
def test_unequal_groups_in_any_order_equal_core(compose: Compose, name: str) -> None:
    from rsgrpo_cli.integrations.verl import VERL_NAMES

    settings = SETTINGS.get(name, {})
    overrides = [f"+algorithm.rs_{setting}={value}" for setting, value in settings.items()]
    config = compose(f"algorithm.adv_estimator={VERL_NAMES[name]}", *overrides)
    rng = np.random.default_rng(0)
    sizes = [3, 8, 5, 16, 8]
    # One success only in the first group: tang_max gives nothing where two share the maximum.
    groups = [np.array([0.0, 1.0, 0.0]), *(np.r_[1.0, 0.0, rng.integers(0, 2, size - 2)] for size in sizes[1:])]
    rewards = np.concatenate(groups)
    uids = np.repeat([str(uuid.UUID(int=int(rng.integers(1 << 62)))) for _ in sizes], sizes)
    shuffled = rng.permutation(len(rewards))
    data = batch(rewards[shuffled], uids[shuffled])
    found = advantage_of(data, config.algorithm.adv_estimator, config.algorithm)
    core = estimator_function(name, **settings)
    expected = np.concatenate([core(group) for group in groups])[shuffled]
    assert np.abs(expected).max() > 0.1
    mask = data.batch["response_mask"]
    torch.testing.assert_close(found, torch.from_numpy(expected).float()[:, None] * mask, rtol=1e-6, atol=1e-6)


def test_by_hand(compose: Compose) -> None:
    # beta = ln 3. Group a, rewards 1 0 0: weights 3 1 1, mean 5/3; A = (9/5 - 1, 3/5 - 1, 3/5 - 1) / ln 3.
    # Group b, 1 1: constant, 0. Group c: alone with its prompt, 0.
    config = compose("algorithm.adv_estimator=rs_grpo", f"+algorithm.rs_beta={np.log(3)}")
    data = batch([1.0, 1.0, 0.0, 1.0, 0.0, 1.0], ["a", "b", "a", "c", "a", "b"], tokens=2)
    found = advantage_of(data, "rs_grpo", config.algorithm)
    high, low = 0.8 / np.log(3), -0.4 / np.log(3)
    expected = [[high, 0], [0, 0], [low, 0], [0, 0], [low, 0], [0, 0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=1e-6, atol=1e-7)


def test_beta_is_2_unless_given_and_0_is_verls_grpo_without_the_std(compose: Compose) -> None:
    from verl.trainer.ppo.ray_trainer import compute_advantage

    rewards, uids = [1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.25], list("aaaabbb")
    plain = compose("algorithm.adv_estimator=rs_grpo").algorithm
    two = compose("algorithm.adv_estimator=rs_grpo", "+algorithm.rs_beta=2").algorithm
    zero = compose("algorithm.adv_estimator=rs_grpo", "+algorithm.rs_beta=0").algorithm
    assert torch.equal(
        advantage_of(batch(rewards, uids), "rs_grpo", plain), advantage_of(batch(rewards, uids), "rs_grpo", two)
    )
    theirs = compute_advantage(batch(rewards, uids), adv_estimator="grpo", norm_adv_by_std_in_grpo=False)
    ours = advantage_of(batch(rewards, uids), "rs_grpo", zero)
    torch.testing.assert_close(ours, theirs.batch["advantages"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "theirs"), [("rsgrpo_grpo", "grpo"), ("rsgrpo_rloo", "rloo")])
def test_where_verl_has_the_same_estimator_it_agrees(compose: Compose, name: str, theirs: str) -> None:
    from verl.trainer.ppo.ray_trainer import compute_advantage

    rewards, uids = [1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.25], list("aaaabbb")
    algorithm = compose().algorithm
    stock = compute_advantage(batch(rewards, uids), adv_estimator=theirs, config=algorithm).batch["advantages"]
    torch.testing.assert_close(advantage_of(batch(rewards, uids), name, algorithm), stock, rtol=1e-5, atol=1e-6)


def test_advantages_can_be_scaled(compose: Compose) -> None:
    config = compose("algorithm.adv_estimator=rs_grpo", "+algorithm.rs_beta=8", "+algorithm.rs_scale=rms").algorithm
    found = advantage_of(batch([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], list("aaabbb"), tokens=1), "rs_grpo", config)
    assert float(found.square().mean()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "keys", "text"),
    [
        ("rs_grpo", {"rs_betta": 2.0}, r"betta is not a setting of rs_grpo: .*algorithm\.rs_beta"),
        ("rsgrpo_pkpo", {}, r"pkpo needs k .*algorithm\.rs_k"),
        ("rsgrpo_dr_grpo", {"rs_beta": 2.0}, "beta is not a setting of dr_grpo"),
        ("rsgrpo_dr_grpo", {"rs_scale": "beta"}, "scaling by beta needs a finite beta"),
        ("rs_grpo", {"rs_beta": float("nan")}, "beta must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(compose: Compose, name: str, keys: dict[str, Any], text: str) -> None:
    overrides = [f"+algorithm.{key}={value}" for key, value in keys.items()]
    algorithm = compose(f"algorithm.adv_estimator={name}", *overrides).algorithm
    with pytest.raises(ValueError, match=text):
        advantage_of(batch([1.0, 0.0], ["a", "a"]), name, algorithm)


def test_without_prompts_to_group_by(compose: Compose) -> None:
    data = batch([1.0, 0.0], ["a", "a"])
    data.non_tensor_batch.pop("uid")
    with pytest.raises(ValueError, match="verl gave no uid"):
        advantage_of(data, "rs_grpo", compose().algorithm)


def test_the_trainer_needs_no_critic_and_the_new_one_delegates_to_the_same_function(compose: Compose) -> None:
    from verl.trainer.ppo.utils import need_critic
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

    config = compose("algorithm.adv_estimator=rs_grpo", "+algorithm.rs_beta=4")
    with pytest.warns(UserWarning, match="Disabled critic"):
        assert not need_critic(config)
    rewards, uids = [1.0, 0.0, 0.0], list("aaa")
    keys = [f"a_{session}_0" for session in range(3)]
    data = compute_advantage_for_multi_trajectories(
        batch(rewards, uids), keys, adv_estimator=config.algorithm.adv_estimator, config=config.algorithm
    )
    expected = advantage_of(batch(rewards, uids), "rs_grpo", config.algorithm)
    assert torch.equal(data.batch["advantages"], expected)


def test_the_documented_command_line_is_one_that_verl_takes(compose: Compose) -> None:
    page = (Path(__file__).parents[3] / "docs" / "verl.md").read_text()
    command = page.partition("verl.trainer.main_ppo")[2].partition("```")[0]
    config = compose(*command.replace("\\\n", " ").split())
    assert (config.algorithm.adv_estimator, config.algorithm.rs_beta) == ("rs_grpo", 4.0)
    assert config.actor_rollout_ref.rollout.n == 16
    assert config.actor_rollout_ref.actor.use_kl_loss is False  # exists, under the name that the page gives


# Each of these starts a Python that imports verl, which takes seconds.
@pytest.mark.parametrize(
    ("first", "environment"),
    [
        ("verl", {}),
        ("rsgrpo_cli.integrations.verl", {}),
        ("verl", {"VERL_USE_EXTERNAL_PLUGINS": "none", "VERL_USE_EXTERNAL_MODULES": "rsgrpo_cli.integrations.verl"}),
    ],
    ids=["entry point", "imported before verl", "environment variable"],
)
def test_every_way_in_registers_and_overrides_nothing(first: str, environment: dict[str, str]) -> None:
    program = (
        f"import {first}\n"
        "from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY as known\n"
        "names = sorted(name for name in known if name.startswith('rs'))\n"
        "print(*names, known['grpo'].__module__, known['rloo'].__module__)\n"
    )
    out, err = python(program, environment)
    ours = ["rs_grpo", *sorted(f"rsgrpo_{name}" for name in ESTIMATORS if name != "rs_grpo")]
    assert out.split() == [*ours, "verl.trainer.ppo.core_algos", "verl.trainer.ppo.core_algos"]
    assert "not available in verl" not in err


def test_without_us_verl_has_none_and_a_name_that_is_taken_is_left_alone() -> None:
    program = (
        "from verl.trainer.ppo import core_algos\n"
        "print([name for name in core_algos.ADV_ESTIMATOR_REGISTRY if name.startswith('rs')])\n"
        "core_algos.register_adv_est('rs_grpo')(print)\n"
        "try:\n    import rsgrpo_cli.integrations.verl\n"
        "except ValueError:\n    print(core_algos.get_adv_estimator_fn('rs_grpo') is print)\n"
    )
    out, err = python(program, {"VERL_USE_EXTERNAL_PLUGINS": "none"})
    assert out.split() == ["[]", "True"]
    assert "rsgrpo's estimators are not available in verl: ValueError: Adv estimator rs_grpo" in err


def python(program: str, environment: dict[str, str]) -> tuple[str, str]:
    result = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr
