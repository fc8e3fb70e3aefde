"""What of a reward's identity decides the rewards of some problems."""

import pytest

from rsgrpo_cli.rewards.registry import open_reward
from rsgrpo_cli.rewards.rules import can_be_compared, reward_of, rules_for, same_rules

OLD = "auto math: math policy-18 sympy-1.14.0; countdown: countdown policy-3"
NEW = OLD.replace("policy-18", "policy-19")


def test_an_identity_names_what_the_flag_takes() -> None:
    assert [reward_of(one) for one in (OLD, "math policy-30 sympy", "user mine:f.g 1f2e", "user mine:f", "")] == [
        *("auto", "math", "mine:f.g", "mine:f", "")
    ]
    for name in ("auto", "math", "countdown"):
        assert reward_of(open_reward(name, workers=1, deadline=1.0).identity) == name


def test_of_auto_only_the_rules_of_the_tasks_count() -> None:
    assert rules_for(NEW, ["countdown"]) == "auto countdown: countdown policy-3"
    assert rules_for(NEW, ["countdown", "math"]) == NEW
    assert rules_for(rules_for(NEW, ["math"]), ["math"]) == "auto math: math policy-19 sympy-1.14.0"
    assert rules_for("math policy-19", ["countdown"]) == "math policy-19"
    with_all = open_reward("auto", workers=1, deadline=1.0).identity
    assert rules_for(with_all, ["math", "countdown"]) == with_all


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (OLD, rules_for(NEW, ["countdown"]), True),  # an older run on puzzles
        (OLD, rules_for(NEW, ["math"]), False),
        (OLD, NEW, False),
        ("mine:f abc", "mine:f abc", True),
        ("mine:f abc", "mine:f def", False),
        ("mine:f abc", NEW, False),
    ],
)
def test_rules_are_compared_where_both_say_something(one: str, other: str, same: bool) -> None:
    assert same_rules(one, other) is same_rules(other, one) is same


def test_rules_of_different_tasks_say_nothing_of_each_other() -> None:
    puzzles, mathematics = rules_for(NEW, ["countdown"]), rules_for(NEW, ["math"])
    assert not can_be_compared(puzzles, mathematics)
    assert can_be_compared(puzzles, OLD)
    assert can_be_compared("mine:f abc", "mine:f def")
