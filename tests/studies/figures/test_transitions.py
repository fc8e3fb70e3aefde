"""Accuracy before and after."""

from dataclasses import replace

import numpy as np
import pytest

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.studies.figures import transitions
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.groups import Group, find_groups
from tests.studies.figures.made import base, group
from tests.studies.test_groups import counts, study

__all__ = ["study"]


def test_the_ends_of_the_bins_belong_to_them() -> None:
    # Of five: 0 | 1/5 and 2/5 = 0.4 | 3/5 and 4/5 = 0.8 | 5/5.
    found = transitions.bins(counts(1, [0, 1, 2, 3], 5)).tolist() + transitions.bins(counts(1, [4, 5], 5)).tolist()
    assert found == [0, 1, 1, 2, 2, 3]


def test_problems_are_counted_seed_by_seed() -> None:
    before = base([0, 1, 3, 4], [0, 0, 3, 4])
    after = group("grpo", [0, 4, 0, 4], [1, 0, 3, 4])
    (heat,) = transitions.collect([before, after], Choices()).panels
    expected = np.zeros((4, 4))
    # Seed 0: 0 -> 0, 1/4 -> 1, 3/4 -> 0, 1 -> 1. Seed 1: 0 -> 1/4, 0 -> 0, 3/4 -> 3/4, 1 -> 1. Half of each per seed.
    for row, column in [(0, 0), (1, 3), (2, 0), (3, 3), (0, 1), (0, 0), (2, 2), (3, 3)]:
        expected[row, column] += 0.5
    assert np.array_equal(heat.counts, expected)
    assert heat.problems == 4


def test_a_seed_that_the_base_lacks_is_left_out_and_named() -> None:
    found = transitions.collect([base([0, 4]), group("grpo", [0, 4], [4, 0])], Choices())
    (heat,) = found.panels
    assert (heat.counts[0][0], heat.counts[3][3]) == (1.0, 1.0)  # seed 1, with 0 -> 1 and 1 -> 0, does not count
    assert found.caption.endswith(" grpo without seed 1, which base lacks.")


def test_a_group_that_has_no_seed_of_the_base_is_compared_with_its_first() -> None:
    grpo = group("grpo", [4, 4], [0, 4])
    found = transitions.collect([base([0, 4]), Group("grpo", grpo.members[1:])], Choices())
    (heat,) = found.panels
    assert (heat.counts[0][0], heat.counts[3][3]) == (1.0, 1.0)
    assert found.caption.endswith(" grpo against seed 0 of base.")


def test_a_policy_of_a_sweep_is_drawn_from_the_base_models_of_the_sweep(study: str) -> None:
    found = transitions.collect(find_groups([f"{study}@2"]), Choices())
    assert found.caption.endswith(" At policy 2.")
    whole = transitions.collect(find_groups([study]), Choices())
    assert found.baseline == "base"
    assert found.panels == whole.panels


def test_the_command_for_more_samples_of_the_base_model_has_no_place_on_the_line() -> None:
    (member,) = group("a", [4, 0]).members
    half = replace(member, evaluations=[counts(0, [1, 0]), counts(2, [4, 0], n=8)], at=0.5)
    told = r"policy 0 of a-seed0 has 4 per problem, policy 2 at 0\.5 of a-seed0 has 8"
    with pytest.raises(UsageError, match=told) as refused:
        transitions.collect([Group("a", (half,))], Choices())
    assert refused.value.hint == "draw more: rsgrpo eval --run runs/s/a-seed0 --policy 0 --benchmark toy -n 8"


def test_another_baseline_can_be_named() -> None:
    groups = [base([0, 0]), group("grpo", [4, 0]), group("beta4", [4, 4])]
    found = transitions.collect(groups, Choices(baseline="grpo"))
    assert (found.baseline, [heat.label for heat in found.panels]) == ("grpo", ["beta4"])
    assert found.panels[0].counts[0][3] == 1.0
    for told in ("2 problems", "a problem's 4 samples", "in the row of its accuracy under grpo"):
        assert told in found.caption


@pytest.mark.parametrize(
    ("groups", "choices", "told"),
    [
        ([group("grpo", [4, 0])], Choices(), "transitions needs the base model, and grpo-seed0 has no evaluation of"),
        ([base([0, 0])], Choices(), "base is the only one"),
        ([base([0, 0]), group("grpo", [1, 1])], Choices(baseline="x"), "no group is called x"),
        (
            [base([0, 0]), group("grpo", [1, 1], n=8)],
            Choices(),
            "at equal numbers of samples: policy 0 of base-seed0 has 4 per problem, policy 2 of grpo-seed0 has 8",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(groups: list[Group], choices: Choices, told: str) -> None:
    with pytest.raises((MissingError, UsageError), match=told):
        transitions.collect(groups, choices)
