"""What may stand behind --reward module:function: every kind of callable, module and return value."""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rsgrpo_cli.errors import DataError, StaleError, UsageError
from rsgrpo_cli.rewards.types import Sample, Wants
from rsgrpo_cli.rewards.user import UserReward

KINDS = textwrap.dedent("""
    import asyncio, functools, sys
    import numpy as np

    async def later(completions, **columns):
        await asyncio.sleep(0.01)
        return [2.0] * len(completions)

    class Scorer:
        def __init__(self):
            self.value = 2.0
        def __call__(self, completions, **columns):
            return [self.value] * len(completions)
        def method(self, completions, **columns):
            return self(completions)

    class Needy(Scorer):
        def __init__(self, value):
            self.value = value

    class Mute:
        pass

    scorer, needy = Scorer(), Needy(2.0)

    def weighted(completions, weight, **columns):
        return [weight] * len(completions)

    partial = functools.partial(weighted, weight=2.0)
    short = lambda completions, **columns: [2.0] * len(completions)

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    @decorate
    def decorated(completions, ground_truth):
        return [2.0] * len(completions)

    def positional(completions, /, **columns):
        return [2.0] * len(completions)

    def loud(completions, **columns):
        print("scoring", completions)
        return [2.0] * len(completions)

    def interrupted(completions, **columns):
        raise KeyboardInterrupt

    def leaves(completions, **columns):
        sys.exit(3)

    def array(completions, **columns):
        return np.full(len(completions), 2, dtype=np.int32)

    def pairs(completions, **columns):
        return tuple(np.float32(2) for _ in completions)

    def yields(completions, **columns):
        yield from [2.0] * len(completions)

    def spoils(completions, ground_truth, prompt_id, **columns):
        count = len(completions)
        completions.clear(); ground_truth[:] = [None]; prompt_id.append("x")
        return [2.0] * count

    def table(completions, **columns):
        return {index: 2.0 for index, _ in enumerate(completions)}

    def matrix(completions, **columns):
        return np.ones((len(completions), 1))

    def zero_d(completions, **columns):
        return np.array(2.0)

    async def yields_later(completions, **columns):
        yield 2.0

    def given(completions, prompts, completion_ids, level=0, *, task=None):
        return [2.0] * len(completions)
""")
Opener = Callable[..., UserReward]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kinds.py").write_text(KINDS)
    rewards: list[UserReward] = []

    def opener(name: str, **arguments: object) -> UserReward:
        rewards.append(UserReward(name, workers=1, deadline=20.0, **arguments))  # type: ignore[arg-type]
        return rewards[-1]

    yield opener
    for reward in rewards:
        reward.close()


def samples() -> list[Sample]:
    columns = {"prompt_id": "p", "prompts": "what?", "completion_ids": [1], "level": 3}
    return [Sample(text, "42", columns={**columns, "sample_index": index}) for index, text in enumerate("ab")]


@pytest.mark.parametrize(
    "name",
    [
        *("later", "Scorer", "scorer", "needy", "scorer.method", "partial", "short", "decorated", "positional", "loud"),
        *("array", "pairs", "yields", "spoils", "given"),
    ],
)
def test_every_kind_of_function_works(opened: Opener, name: str) -> None:
    assert [verdict.reward for verdict in opened(f"kinds:{name}")(samples())] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("table", "returned dict {0: 2.0, 1: 2.0}"),
        ("matrix", r"returned ndarray array\(\[\[1.\], \[1.\]\]\)"),
        ("zero_d", r"returned ndarray array\(2.\)"),
        ("yields_later", "returned async_generator"),
        ("leaves", "failed on every completion: it raised SystemExit: 3"),
        ("interrupted", "failed on every completion: it raised KeyboardInterrupt\n"),
    ],
)
def test_what_is_no_list_of_rewards_is_named(opened: Opener, name: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        opened(f"kinds:{name}")(samples())


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("kinds:Needy", "Needy is a class: name an instance of it"),
        ("kinds:Mute", "Mute is a class whose instances cannot be called"),
        ("kinds:np", "is of type module and cannot be called"),
        ("kinds:scorer.value", "is of type float and cannot be called"),
        ("kinds:nothing", "kinds has no nothing; functions there: later, weighted"),
        ("json:mine", "json has no mine"),
    ],
)
def test_what_cannot_be_called_is_found_out_without_a_call(opened: Opener, name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        _ = opened(name).identity


def test_what_a_function_takes_is_known_before_it_is_called(opened: Opener) -> None:
    assert opened("kinds:given").wants == Wants(("completions", "prompts", "completion_ids"), ("level", "task"))
    assert opened("kinds:later").wants == Wants(("completions",), everything=True)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


REWARD = "def f(completions, **columns):\n    return [2.0] * len(completions)\n"


def test_a_package_may_import_its_own_modules(opened: Opener, tmp_path: Path) -> None:
    write(tmp_path, pack__sub__deep="from ..near import f\n", pack__near=REWARD)
    write(tmp_path / "pack" / "sub", **{"init": ""})
    reward = opened("pack.sub.deep:f")
    assert reward(samples())[0].reward == 2.0
    first = reward.identity
    write(tmp_path, pack__near=REWARD + "# changed\n")
    assert opened("pack.sub.deep:f").identity != first


def test_the_modules_beside_a_function_belong_to_its_identity(opened: Opener, tmp_path: Path) -> None:
    write(tmp_path, helper="WEIGHT = 1\n", other="X = 1\n", mine=f"import helper, json, numpy\n{REWARD}")
    first, again = opened("mine:f").identity, opened("mine:f").identity
    assert first == again
    write(tmp_path, other="X = 2\n")  # nobody imports it
    assert opened("mine:f").identity == first
    write(tmp_path, helper="WEIGHT = 5\n")
    assert opened("mine:f").identity != first


@pytest.mark.parametrize(
    "statement",
    ["import late", "from late import X", "from pack import late", "import pack.late as l", "from pack.late import X"],
)
def test_a_module_that_is_imported_when_the_function_is_called_belongs_to_its_identity(
    opened: Opener, tmp_path: Path, statement: str
) -> None:
    body = f"def f(completions, **columns):\n    {statement}\n    return [2.0] * len(completions)\n"
    write(tmp_path, mine=body, late="from further import X\n", further="X = 1\n")
    write(tmp_path / "pack", init="", late="from . import near\nX = near.X\n", near="X = 1\n")
    first = opened("mine:f").identity
    write(tmp_path, further="X = 2\n")
    write(tmp_path / "pack", near="X = 2\n")
    assert opened("mine:f").identity != first


def test_packages_installed_in_the_project_do_not_belong_to_it(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / ".venv" / "lib" / "site-packages"
    write(installed, library="X = 1\n")
    write(tmp_path, mine=f"import library\n{REWARD}")
    monkeypatch.syspath_prepend(str(installed))
    first = opened("mine:f").identity
    write(installed, library="X = 2\n")
    assert opened("mine:f").identity == first


def test_a_module_here_goes_before_an_installed_one_of_that_name(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "installed", mine="def f(completions):\n    return [9.0] * len(completions)\n")
    write(tmp_path, mine=REWARD, worker=REWARD, pool=REWARD)
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    for name in ("mine:f", "worker:f", "pool:f"):
        assert opened(name)(samples())[0].reward == 2.0


def test_a_module_named_as_a_part_of_python_is_told(opened: Opener, tmp_path: Path) -> None:
    write(tmp_path, json=REWARD)
    with pytest.raises(UsageError, match=r"json is also the name of .*give yours another name"):
        _ = opened("json:f").identity


def test_a_source_that_changes_while_it_is_at_work_is_noticed(opened: Opener, tmp_path: Path) -> None:
    write(tmp_path, mine=REWARD + "def dies(completions, **columns):\n    import os\n    os._exit(1)\n")
    reward = opened("mine:dies")
    assert reward.identity
    write(tmp_path, mine=REWARD + "def dies(completions, **columns):\n    return [5.0] * len(completions)\n")
    with pytest.raises(StaleError, match="source of the reward function mine:dies changed"):
        reward(samples())  # the worker that is started after the first death has loaded another function


MARK = "open('imported', 'w').close()\n"


@pytest.mark.parametrize("name", ["evil:f", "run.evil:f", "pack.evil:f"])
def test_nothing_is_imported_from_a_run_directory(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = tmp_path / "run"
    write(run, evil=MARK + REWARD, pack____init__=MARK, pack__evil=MARK + REWARD)
    if not name.startswith("run"):
        monkeypatch.chdir(run)
    with pytest.raises(UsageError, match="run directory") as caught:
        _ = opened(name, keep_out=run).identity
    assert f"--reward {name}" in caught.value.hint
    assert not list(tmp_path.rglob("imported"))
    assert opened(name).identity  # which is what --reward does


def test_a_run_directory_hides_no_module_from_elsewhere(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "run", numpy=MARK, helper=MARK)
    write(tmp_path / "library", mine=f"import numpy\n{REWARD}")
    monkeypatch.syspath_prepend(str(tmp_path / "library"))
    monkeypatch.chdir(tmp_path / "run")
    assert opened("mine:f", keep_out=tmp_path / "run")(samples())[0].reward == 2.0
    assert not list(tmp_path.rglob("imported"))


@pytest.mark.parametrize("body", ["import nosuch", "1 / 0", "import sys; sys.exit(3)", "def f(:"])
def test_a_module_that_cannot_be_imported_is_one_line(opened: Opener, tmp_path: Path, body: str) -> None:
    write(tmp_path, broken=body)
    with pytest.raises(UsageError, match="the reward function broken:f cannot be loaded") as caught:
        _ = opened("broken:f").identity
    assert "\n" not in caught.value.message


def test_a_function_that_fails_on_most_completions_stops_the_run(opened: Opener, tmp_path: Path) -> None:
    body = "def f(completions, **columns):\n    if 'b' in completions: raise ValueError('b')\n    return [1.0]\n"
    write(tmp_path, mine=body)
    batch = [Sample(text, "", columns={"prompt_id": "p", "sample_index": 0}) for text in "bba"]
    with pytest.raises(DataError, match="failed on 2 of 3 completions: it raised ValueError: b"):
        opened("mine:f")(batch)


def test_a_function_that_is_always_late_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, slow="import time\ndef f(completions, **columns):\n    time.sleep(9)\n")
    reward = UserReward("slow:f", workers=2, deadline=0.2)
    with pytest.raises(DataError, match=r"failed on every completion: it took longer than 0\.2 s") as caught:
        reward(samples())
    reward.close()
    assert "--timeout" in caught.value.hint
