"""pass@k at a small k against a large one."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.errors import RsgrpoError, UsageError
from rsgrpo_cli.studies.figures import frontier
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.groups import Group
from tests.studies.figures.made import also, at, base, group
from tests.studies.test_groups import counts


def near(*values: float) -> Any:
    return pytest.approx(values)


def test_a_line_goes_through_the_policies_of_all_seeds() -> None:
    grpo = also(group("grpo", [4, 4], [4, 0]), counts(0, [1, 1]), counts(1, [2, 0]))
    found = frontier.collect([base([1, 1], [1, 0]), grpo], Choices())
    first, second = found.lines
    assert found.ks == (1, 4)
    assert (first.is_base, first.points[0].x_S, first.points[0].y_S) == (True, near(0.25, 0.125), (1.0, 0.5))
    assert [(point.at, point.x_S, point.y_S) for point in second.points] == [
        ("1", near(0.25, 0.25), (0.5, 0.5)),
        ("2", (1.0, 0.5), (1.0, 0.5)),
    ]
    assert second.points[1].mean == (0.75, 0.75)


def test_k_is_what_all_policies_on_the_way_have_the_samples_for() -> None:
    grpo = also(group("grpo", [4, 4], n=8), counts(1, [2, 0], n=4))
    assert frontier.collect([grpo], Choices()).ks == (1, 4)


def test_seeds_without_a_policy_in_common_have_their_newest() -> None:
    one, other = group("a", [4, 4], steps=2).members[0], group("a", [0, 0], [4, 0], steps=3).members[1]
    (line,) = frontier.collect([Group("a", (one, other))], Choices()).lines
    assert [(point.at, point.x_S) for point in line.points] == [("newest", (1.0, 0.5))]


def test_groups_that_differ_in_one_setting_are_one_line() -> None:
    groups = [
        group("beta4-learning_rate0.0003", [4, 4], advantage__beta=4, update__learning_rate=3e-4),
        group("beta4-learning_rate3e-05", [1, 1], advantage__beta=4, update__learning_rate=3e-5),
        group("beta8-learning_rate3e-05", [2, 2], advantage__beta=8, update__learning_rate=3e-5),
    ]
    lines = frontier.collect(groups, Choices(along="update.learning_rate")).lines
    assert [(line.label, [point.at for point in line.points]) for line in lines] == [
        ("beta4", ["3e-05", "0.0003"]),
        ("beta8", ["3e-05"]),
    ]
    with pytest.raises(UsageError, match=r"do not differ in train\.steps") as caught:
        frontier.collect(groups, Choices(along="train.steps"))
    assert "advantage.beta, update.learning_rate" in caught.value.hint


@pytest.mark.parametrize("sign", ["-", ""])  # without, as earlier versions named cells
def test_a_line_through_words_is_named_without_them(sign: str) -> None:
    scales = [group(f"scale{sign}{scale}-beta4", [4, 4], advantage__scale=scale) for scale in ("rms", "none")]
    (line,) = frontier.collect(scales, Choices(along="advantage.scale")).lines
    assert line.label == "beta4"


def test_weights_between_the_base_model_and_the_policy_are_a_line_of_their_own() -> None:
    grpo = also(group("grpo", [4, 4]), at(0.5, 2, [2, 1]), at(0.25, 2, [1, 1]), at(0.5, 1, [0, 0]))
    (line,) = frontier.collect([grpo], Choices()).lines
    assert [(point.at, point.x_S) for point in line.pulled_back] == [("0.25", near(0.25)), ("0.5", near(0.375))]
    assert [point.at for point in line.points] == ["2"]


def test_each_line_starts_at_the_base_model_of_its_own_kind() -> None:
    hard: dict[str, Any] = {"model__name": "toy-hard"}
    bases = [base([1, 3]), replace(base([0, 0], **hard), label="base hard")]
    found = frontier.collect([*bases, group("a", [4, 4]), group("b", [4, 4], **hard)], Choices())
    starts = {line.label: line.start.mean for line in found.lines if line.start}
    assert starts == {"a": near(0.5, 1.0), "b": near(0.0, 0.0)}


def test_only_what_is_pulled_back_is_dotted(tmp_path: Path) -> None:
    groups = [also(group(name, [4, 4]), at(0.5, 2, [2, 1])) for name in "abcd"]
    frontier.draw(frontier.collect([base([1, 1]), *groups], Choices()), tmp_path / "f.svg")
    dashes = re.findall(r"stroke-dasharray: ([^;\"]*)", (tmp_path / "f.svg").read_text())
    assert (len(dashes), len(set(dashes))) == (4, 1)


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        (Choices(k=(1, 2, 4)), "it needs two, not 1,2,4"),
        (Choices(k=(1,)), "it needs two, not one"),
        (Choices(k=(1, 8)), "pass@8 needs 8 samples per problem; grpo-seed0 has 4"),
        (Choices("sums"), "no run has an evaluation on sums; there are some on toy"),
    ],
)
def test_what_cannot_be_drawn_is_refused(choices: Choices, told: str) -> None:
    with pytest.raises(RsgrpoError, match=told):
        frontier.collect([group("grpo", [4, 4])], choices)
