"""pass@k against k."""

import numpy as np
import pytest

from rsgrpo_cli.core.crossed_bootstrap import crossed_interval
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.studies.figures import passk
from rsgrpo_cli.studies.figures.inputs import Choices
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
    (curve,) = passk.collect([group("one", [2])], Choices()).curves
    assert (curve.lows, curve.highs) == ((), ())


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
