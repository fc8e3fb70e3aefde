import numpy as np
import pytest

from rsgrpo_cli.config import VARIANTS
from rsgrpo_cli.core.estimators import ESTIMATORS, REQUIRED, WITH_HISTORY, estimator_function, settings_of

# Settings of the functions that stay at their default: every trainer takes the sample standard deviation.
LEFT_OUT = {"ddof"}


def test_a_name_and_its_settings_become_a_function_over_groups() -> None:
    estimate = estimator_function("rs_grpo", beta=0.0)
    assert estimate([1, 0, 0, 0]).tolist() == [0.75, -0.25, -0.25, -0.25]
    assert estimate(np.eye(4)).tolist() == [[0.75 if i == j else -0.25 for j in range(4)] for i in range(4)]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("foo", {}, "unknown estimator 'foo': choose one of rs_grpo, grpo"),
        ("grpo", {"beta": 2.0}, "beta is not a setting of grpo: it has eps, ddof"),
        ("rloo", {"beta": 2.0}, "beta is not a setting of rloo: it has none"),
        ("rs_grpo", {}, "rs_grpo needs beta"),
        ("chen_passk", {"eps": 0.0}, "chen_passk needs k"),
    ],
)
def test_what_does_not_fit_is_named(name: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimator_function(name, **settings)


def test_every_estimator_has_a_configuration_and_the_reverse() -> None:
    assert list(VARIANTS) == [*ESTIMATORS, *WITH_HISTORY]
    assert {name for name, variant in VARIANTS.items() if variant.LOOKS_BACK} == set(WITH_HISTORY)


@pytest.mark.parametrize("name", WITH_HISTORY)
def test_those_that_look_back_are_no_functions_of_one_group(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"^{name} looks at the earlier steps of a run, which only .*: choose one of rs_grpo"
    ):
        estimator_function(name)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_configuration_has_the_settings_of_its_function_and_their_defaults(name: str) -> None:
    # What is no setting any more is recorded as the function has it.
    knobs, own = {**VARIANTS[name].FIXED, **VARIANTS[name](estimator=name).knobs()}, settings_of(name)
    assert knobs.keys() == own.keys() - LEFT_OUT
    differing = {setting for setting, value in knobs.items() if own[setting] is not REQUIRED and own[setting] != value}
    assert not differing


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_smallest_group_is_the_smallest_that_works(name: str) -> None:
    cfg = VARIANTS[name](estimator=name)
    estimate = estimator_function(name, **cfg.knobs())
    # One right answer: neither a constant group nor one that max_rl would refuse.
    assert np.isfinite(estimate(np.eye(1, cfg.smallest_group))).all()
    if cfg.smallest_group > 2:
        with pytest.raises(ValueError, match="larger groups"):
            estimate(np.eye(1, cfg.smallest_group - 1))
