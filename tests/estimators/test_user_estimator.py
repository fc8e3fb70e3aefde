"""What may stand behind --estimator module:function: every kind of callable, setting and return value."""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rsgrpo_cli.errors import DataError, StaleError, UsageError
from rsgrpo_cli.estimators import user
from rsgrpo_cli.estimators.user import UserEstimator

KINDS = textwrap.dedent("""
    import asyncio, functools, os, sys, time
    import numpy as np

    def centred(rewards, gain=1.0):
        return gain * (rewards - rewards.mean())

    short = lambda r: r - r.mean()

    class Estimator:
        def __call__(self, rewards, *, gain=1.0):
            return centred(rewards, gain)
        def method(self, rewards):
            return centred(rewards)

    class Needy(Estimator):
        def __init__(self, value):
            pass

    class Mute:
        pass

    instance = Estimator()
    partial = functools.partial(centred, gain=1)

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    @decorate
    def decorated(rewards, *, gain=1.0):
        return centred(rewards, gain)

    async def later(rewards):
        await asyncio.sleep(0.001)
        return centred(rewards)

    def positional(rewards, /):
        return centred(rewards)

    def star(*rewards):
        return centred(rewards[0])

    def yields(rewards):
        yield from centred(rewards)

    def as_list(rewards):
        return [float(value) for value in centred(rewards)]

    def spoils(rewards):
        rewards -= rewards.mean()
        return rewards

    def loud(rewards):
        print("estimating", rewards)
        return centred(rewards)

    def tensor(rewards):
        import torch
        return torch.tensor(centred(rewards)).requires_grad_()

    def ints(rewards):
        return np.sign(centred(rewards)).astype(int)

    def stack(rewards):
        return (rewards - rewards.mean(axis=-1, keepdims=True))

    def column(rewards):
        return centred(rewards)[:, None]

    def rows(rewards):
        return [[value] for value in rewards]

    def shorter(rewards):
        return list(rewards[1:])

    def number(rewards):
        return 1.0

    def text(rewards):
        return "abcd"

    def table(rewards):
        return dict(enumerate(rewards))

    def nothing(rewards):
        pass

    def nones(rewards):
        return [None for _ in rewards]

    def numerals(rewards):
        return ["1" for _ in rewards]

    def not_a_number(rewards):
        return rewards * np.nan

    def infinite(rewards):
        return rewards + np.inf

    def imaginary(rewards):
        return rewards * 1j

    def raises(rewards):
        return helper(rewards)

    def helper(rewards):
        raise ValueError("no\\n good")

    def inside_numpy(rewards):
        return np.linalg.cholesky(-np.eye(2))

    def leaves(rewards):
        sys.exit(3)

    def dies(rewards):
        os._exit(4)

    def hangs(rewards):
        time.sleep(60)

    def no_rewards():
        pass

    def only_named(*, rewards):
        return rewards

    def only_settings(**settings):
        return settings

    def second(rewards, groups, /):
        return rewards

    def scaled(rewards, scale=1.0):
        return rewards

    def thing(rewards, thing=object()):
        return rewards

    def endless(rewards, cap=float("inf")):
        return rewards

    def settings(rewards, *, level=0.5, count=3, on=True, mode="a", edges=(1, 2), cap=None):
        return centred(rewards) + level

    def needs(rewards, *, level):
        return rewards - np.quantile(rewards, level)

    def risky(rewards, *, beta=None):
        return rewards
""")
LINES = {
    start: next(number for number, line in enumerate(KINDS.splitlines(), 1) if line.strip().startswith(start))
    for start in ("raise ValueError", "return np.linalg")
}
Opener = Callable[..., UserEstimator]
GROUP = np.array([1.0, 0.0, 0.0, 0.25])


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kinds.py").write_text(KINDS)
    estimators: list[UserEstimator] = []

    def opener(name: str, **arguments: object) -> UserEstimator:
        estimators.append(UserEstimator(name, **arguments))  # type: ignore[arg-type]
        return estimators[-1]

    yield opener
    for estimator in estimators:
        estimator.close()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "centred",
            "short",
            "Estimator",
            "instance",
            "instance.method",
            "partial",
            "decorated",
            "later",
            "positional",
        ),
        *("star", "yields", "as_list", "spoils", "loud", "tensor", "stack"),
    ],
)
def test_every_kind_of_function_gets_a_group_at_a_time(opened: Opener, name: str) -> None:
    estimator = opened(f"kinds:{name}")
    made = estimator([("a", GROUP), ("b", np.array([1.0, 3.0]))], estimator.completed({}))
    assert [advantages.tolist() for advantages in made] == [[0.6875, -0.3125, -0.3125, -0.0625], [-1.0, 1.0]]
    assert all(advantages.dtype == np.float64 for advantages in made)


def test_whole_numbers_are_numbers(opened: Opener) -> None:
    assert opened("kinds:ints")([("a", GROUP)], {})[0].tolist() == [1.0, -1.0, -1.0, -1.0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("column", "returned ndarray of shape (4, 1) for 4 rewards"),
        ("rows", "returned [np.float64(1.0)] for reward 1 of 4"),
        ("shorter", "returned list of 3 for 4 rewards"),
        ("number", "returned float 1.0"),
        ("text", "returned str 'abcd'"),
        ("table", "returned dict {0: "),
        ("nothing", "returned NoneType None"),
        ("nones", "returned None for reward 1 of 4"),
        ("numerals", "returned '1' for reward 1 of 4"),
        ("not_a_number", "returned nan for reward 1 of 4"),
        ("infinite", "returned inf for reward 1 of 4"),
        ("imaginary", "returned 1j for reward 1 of 4"),
        ("raises", f"raised ValueError in kinds.py:{LINES['raise ValueError']}: no good"),
        (
            "inside_numpy",
            f"raised LinAlgError in kinds.py:{LINES['return np.linalg']}: Matrix is not",
        ),
        ("leaves", "raised SystemExit: 3"),
        ("dies", "ended its process with code 4"),
    ],
)
def test_what_is_no_advantage_is_named_with_its_group(opened: Opener, name: str, told: str) -> None:
    with pytest.raises(DataError) as refused:
        opened(f"kinds:{name}")([("000000:p", GROUP)], {})
    start = f"the estimator function kinds:{name}, called for group 000000:p, "
    assert refused.value.message.startswith(start + told)
    assert "\n" not in refused.value.message
    assert refused.value.hint


def test_one_that_hangs_is_stopped(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user, "DEADLINE", 0.3)
    with pytest.raises(DataError, match=r"took longer than 0\.3 s"):
        opened("kinds:hangs")([("a", GROUP)], {})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_rewards", "it has no parameter for the rewards"),
        ("only_named", "it has no parameter for the rewards"),
        ("only_settings", "it has no parameter for the rewards"),
        ("second", "its parameter groups cannot be given by name"),
        ("scaled", "its parameter scale has a name that every estimator's settings have"),
        ("thing", "the default of thing is <object object"),
        ("endless", "the default of cap is inf, and a setting is a finite number"),
    ],
)
def test_another_signature_is_refused(opened: Opener, name: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        opened(f"kinds:{name}").completed({})
    assert why in refused.value.message
    assert "def f(rewards, *, setting=1.0)" in refused.value.hint


@pytest.mark.parametrize("name", ["kinds:missing", "kinds:KINDS", "kinds:Needy", "kinds:Mute", "nosuch:f"])
def test_what_cannot_be_loaded_is_refused(opened: Opener, name: str) -> None:
    with pytest.raises(UsageError, match=f"the estimator function {name} cannot be loaded"):
        opened(name).completed({})


def test_settings_are_completed_and_get_the_type_of_their_default(opened: Opener) -> None:
    estimator = opened("kinds:settings")
    defaults = {"level": 0.5, "count": 3, "on": True, "mode": "a", "edges": [1, 2], "cap": None}
    assert estimator.completed({}) == defaults
    made = estimator.completed({"cap": 2, "level": 1, "count": 4.0})
    assert made == defaults | {"level": 1.0, "count": 4, "cap": 2}
    assert [type(made[name]) for name in ("level", "count")] == [float, int]
    assert list(made) == list(defaults)
    assert opened("kinds:needs").completed({"level": 0.25}) == {"level": 0.25}


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("settings", {"levl": 1.0}, "advantage.levl is not a setting of kinds:settings"),
        ("centred", {"rewards": 1.0}, "advantage.rewards is not a setting of kinds:centred"),
        ("short", {"level": 1.0}, "advantage.level is not a setting of kinds:short"),
        ("needs", {}, "advantage.level of kinds:needs has no value and no default"),
        ("settings", {"level": "high"}, "advantage.level must be a number"),
        ("settings", {"level": True}, "advantage.level must be a number"),
        ("settings", {"count": 2.5}, "advantage.count must be a whole number"),
        ("settings", {"on": 1}, "advantage.on must be true or false"),
        ("settings", {"mode": 1}, "advantage.mode must be text"),
        ("settings", {"cap": {"a": 1}}, "advantage.cap is {'a': 1}, and a setting is a finite number"),
        ("settings", {"level": float("nan")}, "advantage.level is nan, and a setting is a finite number"),
        ("risky", {"beta": "high"}, "advantage.beta must be a number"),
    ],
)
def test_settings_that_do_not_fit_are_refused(opened: Opener, name: str, given: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        opened(f"kinds:{name}").completed(given)
    assert refused.value.message.startswith(told)


def test_the_real_settings_are_named(opened: Opener) -> None:
    with pytest.raises(UsageError) as refused:
        opened("kinds:settings").completed({"levl": 1.0})
    assert refused.value.hint == "it has: level, count, on, mode, edges, cap"
    with pytest.raises(UsageError) as refused:
        opened("kinds:short").completed({"levl": 1.0})
    assert refused.value.hint == "it has no settings"


def test_the_identity_is_that_of_the_source_and_of_what_it_imports(opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("GAIN = 1.0\n")
    (tmp_path / "with_helper.py").write_text("from helper import GAIN\ndef f(r):\n    return GAIN * r\n")
    before = opened("with_helper:f").identity
    assert before.startswith("user with_helper:f ")
    assert opened("with_helper:f").identity == before
    (tmp_path / "helper.py").write_text("GAIN = 2.0\n")
    assert opened("with_helper:f").identity != before


def test_a_source_that_changes_while_it_is_used_is_noticed(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "changing.py"
    path.write_text("import os\ndef f(r):\n    os._exit(3)\n")
    estimator = opened("changing:f")
    estimator.completed({})
    path.write_text("def f(r):\n    return r\n")  # which the worker that replaces the dead one loads
    with pytest.raises(StaleError, match="the source of the estimator function changing:f changed"):
        estimator([("a", GROUP)], {})


def test_it_is_not_imported_from_where_it_must_not_be(opened: Opener, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a run directory is data") as refused:
        opened("kinds:centred", keep_out=tmp_path).completed({})
    assert "--estimator kinds:centred" in refused.value.hint


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        *(("kinds", "my_estimators:f"), (":f", "my_estimators:f"), ("kinds:", "my_estimators:f")),
        *(
            ("./kinds.py:short", "kinds:short"),
            ("kinds.py:short", "kinds:short"),
            ("pkg/kinds:short", "my_estimators:"),
        ),
        *((" kinds:short", "my_estimators:short"), ("kinds: short", "my_estimators:f"), ("a:b:c", "my_estimators:f")),
    ],
)
def test_what_is_no_name_of_a_function_is_refused(opened: Opener, name: str, instead: str) -> None:
    with pytest.raises(UsageError, match="an estimator function is given as") as refused:
        opened(name)
    assert instead in refused.value.hint
