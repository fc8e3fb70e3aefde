"""What estimators give to a group."""

from dataclasses import replace

import pytest

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.studies.figures import weights
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.groups import Group
from tests.studies.figures.made import base, group


def test_a_point_for_every_number_of_right_answers() -> None:
    # GRPO, one of four right: mean 1/4, variance (9/16 + 3/16) / 3 = 1/4, so 3/4 and -1/4 over 1/2.
    grpo = group("grpo", [4, 4], rollout__group_size=4, advantage__estimator="grpo")
    (method,) = weights.collect([grpo], Choices()).methods
    points = method["by_difficulty"]
    assert [point["mean_reward"] for point in points] == [0, 0.25, 0.5, 0.75, 1]
    assert points[1]["right"] == pytest.approx(1.5, rel=1e-3)
    assert points[1]["wrong"] == pytest.approx(-0.5, rel=1e-3)
    assert (points[0]["right"], points[0]["wrong"]) == (None, 0.0)
    # Two of four: 1/2 over sqrt(4 x 1/4 / 3).
    assert points[2]["weight"] == pytest.approx(3**0.5 / 2, rel=1e-3)


def test_groups_of_one_estimator_are_one_line_whatever_the_learning_rate() -> None:
    groups = [
        group("beta4-learning_rate0.0001", [4, 4], advantage__beta=4, update__learning_rate=1e-4),
        group("beta4-learning_rate3e-05", [4, 4], advantage__beta=4, update__learning_rate=3e-5),
        group("beta8", [4, 4], advantage__beta=8, advantage__scale="rms"),
    ]
    found = weights.collect([base([1, 1]), *groups], Choices())
    assert [(method["label"], method["beta"]) for method in found.methods] == [("beta4", 4.0), ("beta8", 8.0)]
    assert " In beta8 the advantages of every step are scaled: " in found.caption
    assert " In all of these the " in weights.collect(groups[-1:], Choices()).caption
    assert "scaled" not in weights.collect(groups[:-1], Choices()).caption


def test_a_schedule_has_the_beta_of_the_last_step() -> None:
    one = group("rising", [4, 4], advantage__schedule="linear", advantage__beta=2, advantage__beta_end=6)
    moved = Group("rising", tuple(replace(member, metrics=[{"beta": 3.0}]) for member in one.members))
    found = weights.collect([moved, group("still", [4, 4], advantage__beta=2)], Choices())
    assert found.methods[0]["beta"] == 3.0
    assert found.caption.endswith(" A beta that moves is that of the last step: rising 3.")


def test_what_depends_on_earlier_steps_is_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match="fade-seed0: what fade gives to a group depends on") as caught:
        weights.collect([group("fade", [4, 4], advantage__estimator="fade")], Choices())
    assert caught.value.hint == "name other groups"
    one = group("fade", [4, 4], advantage__estimator="fade")
    on_disk = Group("fade", tuple(replace(member, place="runs/s/fade-seed0") for member in one.members))
    with pytest.raises(UsageError) as caught:
        weights.collect([on_disk], Choices())
    assert "rsgrpo advantage --run runs/s/fade-seed0 --compare fade" in caught.value.hint
    found = weights.collect([group("grpo", [4, 4], advantage__estimator="grpo"), one], Choices())
    assert len(found.methods) == 1
    assert found.caption.endswith("Left out, since they depend on the steps before: fade.")
    with pytest.raises(MissingError, match="base-seed0 is a base model"):
        weights.collect([base([1, 1])], Choices())
