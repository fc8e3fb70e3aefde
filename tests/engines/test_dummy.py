"""The engine without a model, made slow on purpose."""

from __future__ import annotations

import time

import numpy as np
import pytest

from rsgrpo_cli.engines.dummy import DummyEngine, wait
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import UsageError

SEEDS = [[1, 2], [3, 4]]
HOW = Sampling(1.0, 1.0, 20)


def test_it_waits_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    quick = DummyEngine().generate([[0], [0]], SEEDS, HOW)
    monkeypatch.setenv("RSGRPO_DUMMY_SECONDS", "2.5")
    assert DummyEngine().generate([[0], [0]], SEEDS, HOW) == quick
    assert waited == [0, pytest.approx(wait(1, 2.5) + wait(3, 2.5))]


def test_waits_are_exponential() -> None:
    found = [wait(seed, 2.0) for seed in range(2000)]
    assert np.mean(found) == pytest.approx(2, rel=0.05)
    assert np.std(found) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_what_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RSGRPO_DUMMY_SECONDS", text)
    with pytest.raises(UsageError, match="RSGRPO_DUMMY_SECONDS"):
        DummyEngine().generate([[0]], [[1]], HOW)
