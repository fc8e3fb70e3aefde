"""pass@k against k."""

from pathlib import Path

import numpy as np
import pytest

from rsgrpo_cli.core.crossed_bootstrap import crossed_interval
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.studies.figures import passk
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.figures.style import LOOKS, canvas, legend, look, looks
from tests.studies.figures.made import also, base, group
from tests.studies.test_groups import counts


def test_a_curve_is_the_mean_over_seeds_and_problems() -> None:
    grpo = group("grpo", [4, 2, 0, 0], [4, 0, 0, 0])
    found = passk.collect([base([1, 1, 0, 0]), grpo], Choices())
    assert [(curve.label, curve.is_base) for curve in found.curves] == [("base", True), ("grpo", False)]
    assert found.curves[0].ks == (1, 2, 4)
    # 2 of 4 samples right: pass@2 = 1 - C(2,2) / C(4,2) = 5/6. Means of (1, 5/6, 0, 0) and (1, 0, 0, 0).
    assert found.curves[1].values == pytest.approx((2.5 / 8, (2 + 5 / 6) / 8, 3 / 8))
    assert "toy, 4 problems, 2 seeds (base 1); bands: 95% intervals over problems and seeds" in found.caption


def test_the_band_is_the_interval_of_the_table() -> None:
    grpo = group("grpo", [4, 2, 0, 0], [4, 0, 0, 1])
    (curve,) = passk.collect([grpo], Choices(k=(2,))).curves
    interval = crossed_interval([grpo.passed("toy", 2)])
    assert (curve.lows, curve.highs) == ((interval.low,), (interval.high,))


def test_a_single_problem_has_no_band() -> None:
    found = passk.collect([group("one", [2])], Choices())
    assert (found.curves[0].lows, found.curves[0].highs) == ((), ())
    assert found.caption.endswith("; no intervals, as there is a single problem.")


def test_the_interval_of_one_seed_is_over_problems_alone() -> None:
    assert passk.collect([group("one", [2, 1])], Choices()).caption.endswith("intervals over problems (bootstrap).")


def test_each_curve_goes_up_to_its_own_samples_unless_k_is_given() -> None:
    groups = [group("few", [1, 2]), group("many", [1, 2], n=8)]
    assert [curve.ks[-1] for curve in passk.collect(groups, Choices()).curves] == [4, 8]
    with pytest.raises(UsageError, match="pass@8 needs 8 samples per problem; few-seed0 has 4"):
        passk.collect(groups, Choices(k=(1, 8)))


def test_the_base_model_is_taken_from_the_runs_where_they_evaluated_it() -> None:
    found = passk.collect([also(group("grpo", [4, 4]), counts(0, [1, 0]))], Choices())
    assert [(curve.label, curve.values[0]) for curve in found.curves] == [("base", pytest.approx(1 / 8)), ("grpo", 1.0)]


def test_powers_of_two_end_with_the_samples() -> None:
    assert passk.powers_of_two(1) == (1,)
    assert passk.powers_of_two(6) == (1, 2, 4, 6)
    assert np.array_equal(passk.powers_of_two(8), (1, 2, 4, 8))


@pytest.mark.parametrize("many", [3, LOOKS])
def test_a_legend_has_its_place_whatever_its_length(tmp_path: Path, many: int) -> None:
    labels = [f"method {number}" for number in range(many)]
    with canvas(tmp_path / "x.png", "Words of the caption. " * 30, size=(5.6, 4.2), labels=labels) as (figure, panels):
        for number, label in enumerate(labels):
            panels[0][0].plot([1, 2], [1, number], **look(number).line(label=label))
        legend(figure, panels[0][0])
    assert (figure.get_figheight() == 4.2) == (many == 3)  # a short legend leaves the picture as it is
    figure.draw_without_rendering()  # measures all at one resolution
    caption = next(text for text in figure.texts if "caption" in text.get_text()).get_window_extent()
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert caption.y1 < box.y0 < box.y1 <= whole.y1
    assert whole.x0 < box.x0 < box.x1 <= whole.x1


def test_base_models_are_told_apart() -> None:
    first, policy, second = looks([True, False, True])
    assert first.colour == second.colour != policy.colour
    assert first.marker != second.marker
    assert first.style != second.style


def test_a_dollar_sign_in_a_label_is_a_dollar_sign(tmp_path: Path) -> None:
    path = tmp_path / "x.svg"
    passk.draw(passk.collect([group(r"$\foo_{$", [2, 1])], Choices()), path)
    assert r"<!-- $\foo_{$ -->" in path.read_text()


def test_of_a_group_with_one_seed_the_caption_promises_less() -> None:
    caption = passk.collect([group("one", [2, 1]), group("two", [2, 1], [1, 1])], Choices()).caption
    assert caption.endswith("over problems and seeds (pigeonhole bootstrap), of one over problems alone.")


def test_more_groups_than_can_be_told_apart_are_not_drawn(tmp_path: Path) -> None:
    assert len({look(number) for number in range(LOOKS)}) == LOOKS
    groups = [group(f"a{number}", [number % 4, 1]) for number in range(LOOKS + 1)]
    with pytest.raises(UsageError, match="has colours and markers for 24 groups, and these are 25") as refused:
        passk.draw(passk.collect(groups, Choices(k=(1,))), tmp_path / "x.svg")
    assert "name their runs or files" in refused.value.hint
