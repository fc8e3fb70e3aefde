"""What training did step by step."""

from dataclasses import replace

import numpy as np
import pytest

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.studies.figures import training
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.groups import Group
from tests.studies.figures.made import also, base, group
from tests.studies.test_groups import counts


def metrics(*rewards: float | None) -> list[dict[str, float | None]]:
    other = dict.fromkeys(("cumulative_solve_rate", "pass@1", "pass@G"), 0.5)
    return [{"step": step, "reward_mean": reward, **other} for step, reward in enumerate(rewards)]


def with_metrics(one: Group, *rows: list[dict[str, float | None]]) -> Group:
    members = (replace(member, metrics=row) for member, row in zip(one.members, rows, strict=True))
    return Group(one.label, tuple(members))


def test_a_line_is_the_mean_of_the_seeds_and_a_band_their_range() -> None:
    grpo = with_metrics(group("grpo", [4, 4], [4, 0]), metrics(0.0, 0.2, 0.4), metrics(0.2, 0.4))
    (found,) = training.collect([grpo], Choices(smooth=1)).groups
    line = found.lines["reward_mean"]
    assert line.steps == (0, 1)  # the policies that sampled, as far as every seed is
    assert found.lines["cumulative_solve_rate"].steps == (1, 2)
    assert line.means == pytest.approx((0.1, 0.3))
    assert line.lows == pytest.approx((0.0, 0.2))
    assert line.highs == pytest.approx((0.2, 0.4))


def test_only_several_seeds_have_a_mean_and_a_range() -> None:
    several = with_metrics(group("grpo", [4, 4], [4, 0]), metrics(0.0), metrics(0.0))
    assert training.collect([several], Choices(smooth=1)).caption == (
        "2 seeds; lines: means over seeds, bands: the range of the seeds; below: evaluated on toy, bars: the range of "
        "the seeds, and pale: on the training batches."
    )
    one = with_metrics(group("grpo", [4, 4]), metrics(0.0))
    told = training.collect([one], Choices(smooth=1)).caption
    assert told == "1 seed; below: evaluated on toy, and pale: on the training batches."


def test_running_means_leave_out_what_is_not_known() -> None:
    found = training.running_mean(np.array([1.0, np.nan, 3.0, 5.0]), 2)
    assert found == pytest.approx([1.0, 1.0, 3.0, 4.0])
    assert np.isnan(training.running_mean(np.array([np.nan, 2.0]), 3)[0])


def test_evaluations_start_at_the_base_model() -> None:
    grpo = with_metrics(also(group("grpo", [4, 4], [4, 0]), counts(1, [2, 0])), metrics(0.0), metrics(0.0))
    (found,) = training.collect([base([1, 1], [1, 3]), grpo], Choices()).groups
    assert found.measured["pass@1"].steps == (0, 1, 2)
    assert found.measured["pass@1"].means == pytest.approx((0.375, 0.25, 0.75))
    assert found.measured["pass@1"].lows == pytest.approx((0.25, 0.25, 0.5))
    assert "pass@G" not in found.measured  # 16 samples, of which there are 4


def test_what_was_not_trained_is_named_with_the_command() -> None:
    with pytest.raises(MissingError, match="grpo-seed0 has no metrics of its training") as caught:
        training.collect([group("grpo", [1, 1])], Choices())
    assert caught.value.hint == "train it: rsgrpo train --run runs/s/grpo-seed0"
    with pytest.raises(MissingError) as caught:
        training.collect([group("own", [1, 1], score__reward="mine:reward")], Choices())
    assert caught.value.hint == "train it: rsgrpo train --run runs/s/own-seed0 --trust"
    with pytest.raises(MissingError, match="base-seed0 is a base model"):
        training.collect([base([1, 1])], Choices())
    with pytest.raises(UsageError, match="none of these runs was evaluated on sums"):
        training.collect([group("grpo", [1, 1])], Choices("sums"))
