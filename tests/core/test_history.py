"""What the earlier steps say, step by step and by hand."""

import numpy as np
import pytest

from rsgrpo_cli.core.history import WINDOW, History, Outcome, Visits


def outcome(groups: dict[str, tuple[float, float]], entropy: float | None = None) -> Outcome:
    """Right answers and completions of each prompt."""
    right, completions = zip(*groups.values(), strict=True) if groups else ((), ())
    return Outcome(list(groups), np.array(right, float), np.array(completions, float), entropy)


def test_by_hand() -> None:
    first = History().after(outcome({"a": (1, 4), "b": (4, 4)}, entropy=2.0))
    assert first.step == 1
    # 5 of 8 are right: 0.5 + 0.02 (0.625 - 0.5).
    assert first.solve_rate == pytest.approx(0.5025)
    assert (first.entropy, first.first_entropy) == (2.0, 2.0)
    assert first.prompts["a"] == Visits(0.5, 2.0, ((0, 0.25),))

    second = first.after(outcome({"a": (3, 4)}, entropy=1.0))
    # Twice (1, 4) halved again and (3, 4) halved: 0.25 + 1.5 and 1 + 2.
    assert second.prompts["a"] == Visits(1.75, 3.0, ((0, 0.25), (1, 0.75)))
    assert second.prompts["b"] == first.prompts["b"]
    assert second.solve_rate == pytest.approx(0.5025 + 0.02 * (0.75 - 0.5025))
    assert second.entropy == pytest.approx(2 - 0.1)
    assert second.first_entropy == 2.0
    # b was solved by all: no rate in (0, 1).
    assert second.rates().tolist() == [0.25, 0.75]
    right, completions = second.counts(["b", "new", "a"])
    assert (right.tolist(), completions.tolist()) == ([2.0, 0.0, 1.75], [2.0, 0.0, 3.0])


def test_a_step_that_says_nothing_moves_nothing() -> None:
    before = History().after(outcome({"a": (1, 4)}, entropy=2.0))
    after = before.after(outcome({"b": (0, 0)}))
    assert (after.step, after.solve_rate, after.entropy, after.prompts) == (
        2,
        before.solve_rate,
        before.entropy,
        before.prompts,
    )
    assert History().after(outcome({})).entropy is None


def test_pass_rates_are_forgotten_and_counts_are_not() -> None:
    history = History()
    for step in range(WINDOW + 1):
        history = history.after(outcome({f"p{step}": (1, 4)}))
    # That of step 0 is eleven steps back now.
    assert history.prompts["p0"] == Visits(0.5, 2.0, ())
    assert len(history.rates()) == WINDOW


def test_the_past_is_not_changed_by_what_follows() -> None:
    before = History().after(outcome({"a": (1, 4)}))
    before.after(outcome({"a": (4, 4), "b": (1, 2)}))
    assert before.prompts == {"a": Visits(0.5, 2.0, ((0, 0.25),))}
