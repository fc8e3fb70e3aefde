"""The page computes advantages itself: its functions against those of core, in a JavaScript engine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from py_mini_racer import MiniRacer

from rsgrpo_cli.core.estimators import ESTIMATORS, REQUIRED, WITH_HISTORY, settings_of
from rsgrpo_cli.report.html.page import ASSETS

DATA = Path(__file__).parents[2] / "data"
TOLERANCE = 1e-9
VECTOR_NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "entropic_adaptive_beta": ("entropic_adaptive", {}),
    "maxrl": ("max_rl", {}),
    "tailrl": ("tail_rl", {}),
    "passk_plugin": ("mahdavi_passk", {"variant": "plugin"}),
    "focal_grpo": ("f_grpo", {}),
    "psr": ("w_reinforce", {"right": 1, "wrong": 0}),
    "nsr": ("w_reinforce", {"right": 0, "wrong": 1}),
    "passk_plugin_grpo": ("mahdavi_passk", {"variant": "plugin_grpo"}),
}
"""Names of the vectors that are not those of core, with what they fix."""
RENAMED = {"K": "level", "lambda": "right"}
"""Their settings that core calls otherwise."""
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "rs_grpo": [{"beta": b, "denominator": d} for b in (-3.0, 0, 1e-9, 0.5, 4, 16) for d in ("group", "leave_one_out")],
    "qae": [{"level": level, "quantile": q} for level in (0, 0.29, 0.4, 1) for q in ("right", "linear")],
    "entropic_loo": [{"beta": b} for b in (-2.0, 0, 0.3, 8)],
    "entropic_adaptive": [{}, {"kl": 0.3}],
    "pkpo": [{"k": k, "variant": v} for k in (1, 2, 4, 7) for v in ("s", "sloo", "sloo_minus_one")],
    "chen_passk": [{"k": k} for k in (1, 2, 4, 8)],
    "mahdavi_passk": [{"k": k, "variant": v} for k in (1, 3, 8) for v in ("plugin", "plugin_grpo", "unbiased")],
    "passk_rloo": [{"k": k} for k in (1, 2, 4, 8)],
    "grpo": [{}, {"ddof": 0, "eps": 0.0}],
    "max_rl": [{}, {"eps": 0.0}],
    "power": [{"alpha": alpha} for alpha in (1, 1.5, 3, 0.5)],
    "f_grpo": [{"gamma": gamma} for gamma in (0, 0.5, 2, -1)],
    "bbg": [{"k": k, "threshold": threshold} for k in (1, 2, 4, 20) for threshold in (0.0, 0.01, 0.2)],
    "w_reinforce": [{}, {"right": 1.0, "wrong": 0.0}, {"right": -1.0}],
    "asym_grpo": [{}, {"right": 0.5, "wrong": 0.5}, {"wrong": -1.0}],
}
"""Settings that each estimator is tried with; those without any are tried as they are."""


@pytest.fixture(scope="module")
def engine() -> MiniRacer:
    made = MiniRacer()
    made.eval((ASSETS / "estimators.js").read_text(encoding="utf-8"))
    return made


def compute(engine: MiniRacer, name: str, rewards: list[float], settings: dict[str, Any]) -> list[float] | str:
    """The advantages, or the message of the error."""
    arguments = json.dumps([name, rewards, settings])
    code = f"(() => {{ try {{ return Estimators.compute(...{arguments}); }} catch (e) {{ return e.message; }} }})()"
    found: list[float] | str = json.loads(str(engine.eval(f"JSON.stringify({code})")))
    return found


def same(result: list[float] | str, expected: Any, about: object = "") -> None:
    assert not isinstance(result, str), (result, about)
    np.testing.assert_allclose(np.array(result), expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=str(about))


def test_every_estimator_is_in_the_page_or_left_out_with_a_reason(engine: MiniRacer) -> None:
    names = json.loads(str(engine.eval("JSON.stringify(Estimators.names)")))
    left_out = json.loads(str(engine.eval("JSON.stringify(Estimators.notInThePage)")))
    assert set(names) | set(left_out) == {*ESTIMATORS, *WITH_HISTORY}
    assert not set(names) & set(left_out)
    assert all(len(reason) > 20 for reason in left_out.values())


def test_controls_are_settings_of_the_estimator(engine: MiniRacer) -> None:
    controls = json.loads(str(engine.eval("JSON.stringify(Estimators.controls)")))
    for name, own in controls.items():
        assert set(own) <= set(settings_of(name)), name
    for name in set(json.loads(str(engine.eval("JSON.stringify(Estimators.names)")))):
        needed = {setting for setting, default in settings_of(name).items() if default is REQUIRED}
        assert needed <= set(controls.get(name, {})), f"{name} needs a control for {needed}"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_defaults_are_those_of_core(engine: MiniRacer, name: str) -> None:
    rewards = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    required = {setting: 2 for setting, default in settings_of(name).items() if default is REQUIRED}
    result = compute(engine, name, rewards, required)
    same(result, ESTIMATORS[name](rewards, **required))


def groups(binary: bool) -> list[list[float]]:
    rng = np.random.default_rng(5)
    made = [[float(i < c) for i in range(8)] for c in range(9)]
    made += [rng.integers(0, 2, size=size).astype(float).tolist() for size in (2, 3, 16, 64)]
    if not binary:
        made += [rng.normal(size=size).round(3).tolist() for size in (2, 8, 33)]
        made += [rng.integers(0, 4, size=16).astype(float).tolist(), [0.1] * 7, [1e-9, 0, 0, 1e-9, 5e-10]]
    return made


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_page_computes_what_core_does(engine: MiniRacer, name: str) -> None:
    checked = 0
    for settings in SETTINGS.get(name, [{}]):
        for rewards in groups(binary=False):
            result = compute(engine, name, rewards, settings)
            try:
                expected = ESTIMATORS[name](rewards, **settings)
            except ValueError:  # it refuses the group, as the page must
                assert isinstance(result, str), (settings, rewards)
                continue
            same(result, expected, (settings, rewards))
            checked += 1
    assert checked >= len(groups(binary=True)) - 2


def test_the_reference_vectors(engine: MiniRacer) -> None:
    checked = 0
    for vector in json.loads((DATA / "estimator-vectors.json").read_text()):
        name, params, scale = _as_core_calls_it(vector)
        if name not in ESTIMATORS or not vector.get("advantages") or vector.get("raises"):
            continue
        if "must reject" in vector.get("note", "") or "inf" in map(str, params.values()):
            continue
        result = compute(engine, name, vector["rewards"], params)
        same(result, np.array(vector["advantages"]) * scale, vector["id"])
        checked += 1
    assert checked >= 500


def _as_core_calls_it(vector: dict[str, Any]) -> tuple[str, dict[str, Any], float]:
    """Name and settings of a vector as core has them, and by what its advantages are multiplied."""
    name, params, scale = vector["estimator"], dict(vector["params"]), 1.0
    if name.startswith("pkpo_"):  # published for the sum over a group, and core takes the mean
        name, params, scale = "pkpo", params | {"variant": name.removeprefix("pkpo_")}, float(len(vector["rewards"]))
    if name in VECTOR_NAMES:
        name, fixed = VECTOR_NAMES[name]
        params = {key: value for key, value in params.items() if key != "delta"} | fixed
    params = {RENAMED.get(key, key): value for key, value in params.items()}
    own = settings_of(name) if name in ESTIMATORS else {}
    return name, {key: value for key, value in params.items() if key in own}, scale


def test_a_completion_without_a_reward_takes_no_part(engine: MiniRacer) -> None:
    assert compute(engine, "dr_grpo", [1, None, 0], {}) == [0.5, 0, -0.5]  # type: ignore[list-item]
    assert compute(engine, "rloo", [1, None], {}) == [0, 0]  # type: ignore[list-item]
