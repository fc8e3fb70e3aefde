"""Distinct answers."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.studies.figures import diversity
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.groups import Group
from tests.studies.figures.made import also, base, group
from tests.studies.test_groups import counts


def with_distinct(one: Group, *distinct: list[int]) -> Group:
    """A group with as many different answers to each problem, seed by seed, of its newest policy."""

    def changed(member: int) -> list[object]:
        found = one.members[member].evaluations
        return [*found[:-1], replace(found[-1], distinct_M=np.array(distinct[member]))]

    return Group(
        one.label,
        tuple(replace(each, evaluations=changed(number)) for number, each in enumerate(one.members)),  # type: ignore[arg-type]
    )


def test_a_share_is_over_samples_and_a_mean_over_problems_and_seeds() -> None:
    grpo = with_distinct(also(group("grpo", [4, 4], [4, 0]), counts(1, [2, 0])), [1, 2], [3, 4])
    first, second = diversity.collect([base([1, 1]), grpo], Choices()).shares
    assert (first.label, first.is_base, first.value) == ("base", True, 0.25)  # 1 answer of 4 samples
    # Seed 0: (1/4 + 2/4) / 2, seed 1: (3/4 + 4/4) / 2.
    assert (second.seeds, second.value) == ((0.375, 0.875), 0.625)
    assert second.low < 0.625 < second.high
    assert (second.policies, second.by_policy) == ((1, 2), (0.25, 0.625))


def test_one_seed_has_no_mean_over_seeds_and_no_interval_over_them() -> None:
    way = counts(1, [2, 0])
    several = diversity.collect([also(group("grpo", [4, 4], [4, 0]), way)], Choices()).caption
    assert "over problems and seeds (pigeonhole bootstrap); hollow: single seeds; right: means over seeds" in several
    one = diversity.collect([also(group("grpo", [4, 4]), way)], Choices()).caption
    assert one.endswith("bars: 95% intervals over problems (bootstrap); right: against the step.")


def test_policies_on_the_way_have_a_legend_and_whole_steps(tmp_path: Path) -> None:
    grpo = also(group("grpo", [4, 4]), counts(1, [2, 0]))
    for name, groups, count in (("alone", [group("grpo", [4, 4])], 0), ("way", [base([1, 1]), grpo], 1)):
        found = diversity.collect(groups, Choices())
        diversity.draw(found, tmp_path / f"{name}.svg")
        texts = re.findall(r"<!-- (.*?) -->", (tmp_path / f"{name}.svg").read_text())
        assert ("right: against the step" in found.caption) == bool(count)
        assert texts.count("grpo") == 1 + count  # the row's label; the legend's
        # Steps run from 0 to 2: without a care for whole ones there are ticks at 0.5 and 1.5, too.
        assert [text for text in texts if text in ("0", "1", "2")] == ["0", "1", "2"] * count


def test_unequal_numbers_of_samples_are_refused() -> None:
    groups = [group("grpo", [1, 1]), group("beta4", [1, 1], n=8)]
    with pytest.raises(UsageError, match="distinct answers can only be compared at equal numbers of samples") as caught:
        diversity.collect(groups, Choices())
    assert caught.value.hint == "draw more: rsgrpo eval --run runs/s/grpo-seed0 --policy 2 --benchmark toy -n 8"
