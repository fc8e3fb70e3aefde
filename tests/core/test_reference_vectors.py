"""Every reference vector of an estimator we ship. The files also hold vectors of a few that we do not.

tests/data/estimator-vectors.json            groups of rewards and their advantages, in double precision
tests/data/estimator-vectors-12-digits.json  more of them, known to 12 digits
tests/data/estimator-vectors-large.json      large groups of c ones and n - c zeros, and pass@k, to 20 digits
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from rsgrpo_cli.core import passk, risk
from rsgrpo_cli.core.accuracy_advantages import f_grpo, w_reinforce
from rsgrpo_cli.core.advantages import dr_grpo, grpo, max_rl, qae, rloo, rs_grpo, tail_rl
from rsgrpo_cli.core.entropic_advantages import entropic_adaptive, entropic_loo
from rsgrpo_cli.core.passk_advantages import chen_passk, mahdavi_passk, passk_rloo, pkpo, tang_max

DATA = Path(__file__).parents[1] / "data"


def beta_times_rs_grpo(rewards: np.ndarray, beta: float | str) -> np.ndarray:
    # At the limits: exp(-0.1 * 1e9) is 0, so beta * A has reached its limit to the last digit.
    finite = {"inf": 1e9, "-inf": -1e9}.get(str(beta), beta)
    return float(finite) * rs_grpo(rewards, beta=float(finite))


def entropic_adaptive_log2(rewards: np.ndarray, delta: str, eps: float) -> np.ndarray:
    assert (delta, eps) == ("log(2)", 0)
    return entropic_adaptive(rewards)


def pkpo_sum_convention(variant: Literal["s", "sloo", "sloo_minus_one"]) -> Callable[..., np.ndarray]:
    return lambda rewards, k: pkpo(rewards, k=k, variant=variant) / len(rewards)


ESTIMATORS: dict[str, Callable[..., Any]] = {
    "rs_grpo": rs_grpo,
    "rs_grpo_scaled": beta_times_rs_grpo,
    "rs_objective": risk.risk_value,
    "entropic_loo": entropic_loo,
    "entropic_adaptive_beta": entropic_adaptive_log2,
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "maxrl": max_rl,
    "tailrl": tail_rl,
    "qae": lambda rewards, K, **other: qae(rewards, level=K, **other),
    "pkpo_s": pkpo_sum_convention("s"),
    "pkpo_sloo": pkpo_sum_convention("sloo"),
    "pkpo_sloo_minus_one": pkpo_sum_convention("sloo_minus_one"),
    "passk_plugin": lambda rewards, k: mahdavi_passk(rewards, k=k, variant="plugin"),
    "passk_plugin_grpo": lambda rewards, **other: mahdavi_passk(rewards, variant="plugin_grpo", **other),
    "passk_rloo": passk_rloo,
    "chen_passk": chen_passk,
    "tang_max": tang_max,
    "focal_grpo": f_grpo,
    "w_reinforce": lambda rewards, **params: w_reinforce(rewards, right=params["lambda"]),
    "psr": lambda rewards: w_reinforce(rewards, right=1, wrong=0),
    "nsr": lambda rewards: w_reinforce(rewards, right=0, wrong=1),
}
# The tables of binomial ratios are exact to the last digit where long double is longer than double (not on ARM).
LAST_DIGITS = 1e-14 if np.finfo(np.longdouble).eps < 1e-18 else 1e-12

NOT_SHIPPED = {"dsr_quantile", "riskpo_mvar", "maxk_normalised", "unlikeliness_grpo"}

# How many vectors of each there are: a loader that skips some must not pass.
IN_JSON = Counter(
    rs_grpo=72, rs_grpo_scaled=22, rs_objective=20, entropic_loo=36, entropic_adaptive_beta=9, grpo=38, dr_grpo=13,
    rloo=13, maxrl=21, tailrl=12, qae=46, pkpo_s=70, pkpo_sloo=69, pkpo_sloo_minus_one=1, passk_plugin=30,
    passk_plugin_grpo=29, passk_rloo=30, chen_passk=58, tang_max=13, focal_grpo=22, w_reinforce=10, psr=5, nsr=6,
)  # fmt: skip
IN_LARGE = Counter(
    rs_grpo=24, pkpo_s=6, pkpo_sloo=5, pkpo_sloo_minus_one=5, chen_passk=6, passk_rloo=6, pass_at_k=26
)  # fmt: skip


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DATA / name).read_text())
    return found


def check(vector: dict[str, Any]) -> None:
    estimator, rewards = ESTIMATORS[vector["estimator"]], vector["rewards"]
    # Some vectors are marked as a hazard that a tool must reject: the mean reward is negative.
    refused = vector.get("raises") or "must reject" in vector.get("note", "")
    if refused:
        with pytest.raises(ValueError, match=r"needs (k = \d|at least \d|groups of)"):
            estimator(rewards, **vector["params"])
    else:
        expected = vector["advantages"]
        result = np.atleast_1d(estimator(rewards, **vector["params"]))
        np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-12, err_msg=vector["id"])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_vectors(name: str) -> None:
    chosen = [vector for vector in vectors("estimator-vectors.json") if vector["estimator"] == name]
    for vector in chosen:
        check(vector)
    assert len(chosen) == IN_JSON[name]


def test_rs_grpo_is_exact_to_the_last_digits() -> None:
    chosen = [vector for vector in vectors("estimator-vectors.json") if vector["estimator"] == "rs_grpo"]
    for vector in chosen:
        result = rs_grpo(vector["rewards"], **vector["params"])
        np.testing.assert_allclose(result, vector["advantages"], rtol=3e-15, atol=1e-18, err_msg=vector["id"])


def test_no_vector_is_left_out() -> None:
    names = Counter(vector["estimator"] for vector in vectors("estimator-vectors.json"))
    assert names.keys() - ESTIMATORS.keys() == NOT_SHIPPED
    assert Counter({name: count for name, count in names.items() if name not in NOT_SHIPPED}) == IN_JSON
    assert Counter(vector["estimator"] for vector in vectors("estimator-vectors-large.json")) == IN_LARGE


@pytest.mark.parametrize("name", sorted(IN_LARGE.keys() - {"pass_at_k"}))
def test_large_vectors(name: str) -> None:
    chosen = [vector for vector in vectors("estimator-vectors-large.json") if vector["estimator"] == name]
    for vector in chosen:
        rewards = np.repeat([1.0, 0.0], [vector["c"], vector["n"] - vector["c"]])
        result = ESTIMATORS[name](rewards, **vector["params"])
        expected = [vector["pos"], vector["neg"]]
        np.testing.assert_allclose(result[[0, -1]], expected, rtol=1e-10, atol=1e-12, err_msg=str(vector))
        np.testing.assert_allclose(result[[0, -1]], expected, rtol=LAST_DIGITS, atol=1e-300, err_msg=str(vector))
        assert np.unique(result).size <= 2
    assert len(chosen) == IN_LARGE[name]


def test_pass_at_k_vectors() -> None:
    chosen = [vector for vector in vectors("estimator-vectors-large.json") if vector["estimator"] == "pass_at_k"]
    for vector in chosen:
        result = passk.pass_at_k(vector["n"], vector["c"], vector["params"]["k"])
        np.testing.assert_allclose(result, vector["value"], rtol=5e-16, atol=0, err_msg=str(vector))
    assert len(chosen) == IN_LARGE["pass_at_k"]


def test_vectors_of_12_digits() -> None:
    chosen = vectors("estimator-vectors-12-digits.json")
    for vector in chosen:
        check(vector)
    assert len(chosen) == 133
    assert not {vector["id"] for vector in chosen} & {vector["id"] for vector in vectors("estimator-vectors.json")}
