"""What training did step by step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

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
    assert found[1:] == pytest.approx([1.0, 3.0, 4.0])
    assert np.isnan(found[0])  # one value is no mean of two
    assert np.isnan(training.running_mean(np.array([np.nan, np.nan, 2.0]), 2)[1])


@pytest.mark.parametrize(("steps", "window"), [(12, 1), (40, 4), (300, 10)])
def test_running_means_are_as_long_as_the_training_has_room_for(steps: int, window: int) -> None:
    several = with_metrics(group("grpo", [4, 4], [4, 0]), metrics(*range(steps)), metrics(*range(steps + 9)))
    found = training.collect([several], Choices())
    line = found.groups[0].lines["reward_mean"]
    assert (line.steps[0], line.steps[-1]) == (window - 1, steps - 1)  # a line begins where its window is full
    assert line.means[-1] == pytest.approx(steps - 1 - (window - 1) / 2)
    assert (f"running means over {window} steps" in found.caption) == (window > 1)
    with pytest.raises(UsageError, match=f"--smooth 500 is over more steps than grpo-seed0 has, which is {steps}"):
        training.collect([several], Choices(smooth=500))


def test_evaluations_start_at_the_base_model() -> None:
    grpo = with_metrics(also(group("grpo", [4, 4], [4, 0]), counts(1, [2, 0])), metrics(0.0), metrics(0.0))
    (found,) = training.collect([base([1, 1], [1, 3]), grpo], Choices()).groups
    assert found.measured["pass@1"].steps == (0, 1, 2)
    assert found.measured["pass@1"].means == pytest.approx((0.375, 0.25, 0.75))
    assert found.measured["pass@1"].lows == pytest.approx((0.25, 0.25, 0.5))
    assert "pass@G" not in found.measured  # 16 samples, of which there are 4


def graded(label: str, *means: float, policy: int = 2, verifier: str = "user mine:f 1a") -> Group:
    """A group of one seed that was graded in training and in its evaluation."""
    one = with_metrics(group(label, [0] * len(means), steps=policy), grades(0.2, 0.4))
    (member,) = one.members
    rewards: dict[str, Any] = {"graded": True, "reward_M": np.array(means), "verifier": verifier}
    return Group(label, (replace(member, evaluations=[replace(each, **rewards) for each in member.evaluations]),))


def grades(*rewards: float) -> list[dict[str, float | None]]:
    return [row | dict.fromkeys(("cumulative_solve_rate", "pass@1", "pass@G")) for row in metrics(*rewards)]


def panels(found: training.Training, path: Path) -> list[str]:
    """The labels of the panels that are drawn."""
    training.draw(found, path)
    drawn = path.read_text()
    labels = ("problems solved so far", "training reward", "reward", "pass@1", "pass@16")
    return [label for label in labels if f"<!-- {label} -->" in drawn]


def test_grades_are_drawn_by_their_mean_reward_and_nothing_else_is(tmp_path: Path) -> None:
    found = training.collect([graded("base", 0.1, 0.2, policy=0), graded("a", 0.5, np.nan, 0.7)], Choices(smooth=2))
    (one,) = found.groups
    assert one.measured["reward_mean"].steps == (0, 2)
    assert one.measured["reward_mean"].means == pytest.approx((0.15, 0.6))
    assert [*one.measured] == ["reward_mean"]
    assert found.caption == (
        "1 seed; running means over 2 steps; evaluated on toy, and pale: on the training batches; "
        "grades have no pass@k."
    )
    assert panels(found, tmp_path / "x.svg") == ["reward"]
    assert "<!-- a -->" in (tmp_path / "x.svg").read_text()  # in the legend


def test_a_line_of_grades_does_not_start_at_a_base_model_that_another_function_graded() -> None:
    groups = [graded("base", 0.1, policy=0, verifier="user mine:g 1a"), graded("a", 0.5)]
    (one,) = training.collect(groups, Choices()).groups
    assert one.measured["reward_mean"].steps == (2,)


def test_grades_that_came_to_zero_have_no_pass_at_k() -> None:
    zero = graded("a", 0.0, 0.0)
    members = (
        replace(one, evaluations=[replace(each, graded=False) for each in one.evaluations]) for one in zero.members
    )
    (one,) = training.collect([Group("a", tuple(members))], Choices()).groups
    assert {name: line.means for name, line in one.measured.items()} == {"reward_mean": (0.0,)}


def test_grades_and_verdicts_each_have_their_panels(tmp_path: Path) -> None:
    verdicts = with_metrics(group("b", [4, 4, 1]), metrics(0.0, 0.2))
    found = training.collect([graded("a", 0.5, 0.7, 0.1), verdicts], Choices(smooth=1))
    assert [[*one.measured] for one in found.groups] == [["reward_mean"], ["pass@1"]]
    assert "; upper right and below: evaluated on toy, and pale" in found.caption
    assert len(panels(found, tmp_path / "x.svg")) == 4


def test_what_was_trained_on_grades_and_judged_has_no_panel_of_what_was_solved(tmp_path: Path) -> None:
    judged = with_metrics(group("b", [4, 4, 1]), grades(0.0, 0.2))
    found = training.collect([judged], Choices(smooth=2))
    assert panels(found, tmp_path / "x.svg") == ["training reward", "pass@1"]
    assert found.caption == (
        "1 seed; running means over 2 steps; pass@1: evaluated on toy, and pale: on the training batches."
    )


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
