import math
from pathlib import Path

import pytest

from rsgrpo_cli.errors import ArtifactError, EngineError
from rsgrpo_cli.probe import Loaded, Probe, mean_difference, require_same

TRAINER = [-1.0, -2.0, -3.0]


def near(numbers: list[float], by: float) -> list[float]:
    return [number + by for number in numbers]


def test_the_difference_is_a_mean_over_the_tokens() -> None:
    # |0.3| + |-0.6| + |0| over three tokens.
    assert mean_difference([-0.7, -2.6, -3.0], TRAINER) == pytest.approx(0.3)


def test_a_sampler_within_tolerance_passes_and_one_beyond_does_not() -> None:
    assert require_same(Loaded(near(TRAINER, 0.0005), TRAINER), None, "float32") == pytest.approx(0.0005)
    with pytest.raises(EngineError, match=r"weights are not the trainer's.* 0.03 nats") as raised:
        require_same(Loaded(near(TRAINER, 0.03), TRAINER), None, "float32")
    assert "--engine hf" in raised.value.hint
    # The same distance is rounding in bfloat16.
    require_same(Loaded(near(TRAINER, 0.03), TRAINER), None, "bfloat16")


def test_a_load_that_changed_nothing_is_seen_within_the_tolerance() -> None:
    # The trainer's numbers moved by 0.002, far below the tolerance; the sampler's did not move at all.
    before = Loaded(near(TRAINER, 0.001), TRAINER)
    now = Loaded(near(TRAINER, 0.001), near(TRAINER, 0.002))
    with pytest.raises(EngineError, match="still has the weights of an earlier policy"):
        require_same(now, before, "bfloat16")
    # By one unit in the last place is enough: with the same weights it would say the same to the bit.
    moved = Loaded([*now.sampler[:2], math.nextafter(now.sampler[2], 0)], now.trainer)
    require_same(moved, before, "bfloat16")


def test_a_policy_that_did_not_move_need_not_move_the_sampler() -> None:
    # An update in which every group had the same reward leaves the weights alone.
    same = Loaded(near(TRAINER, 0.0005), TRAINER)
    require_same(same, same, "float32")
    # And one that moves the trainer's numbers by no more than rounding proves nothing either way.
    require_same(Loaded(same.sampler, near(TRAINER, 5e-5)), same, "float32")


def test_no_number_is_no_agreement() -> None:
    with pytest.raises(EngineError):
        require_same(Loaded([float("nan")] * 3, TRAINER), None, "bfloat16")


def test_a_probe_survives_its_file(tmp_path: Path) -> None:
    probe = Probe([6, 12, 14], [-0.1, -1 / 3], [-0.2, -2 / 3])
    probe.save(tmp_path / "probe.json")
    assert Probe.load(tmp_path / "probe.json") == probe
    for damage in ('{"token_ids": [6', '{"ids": []}', "[]"):
        (tmp_path / "probe.json").write_text(damage)
        with pytest.raises(ArtifactError, match=r"probe\.json is missing or damaged"):
            Probe.load(tmp_path / "probe.json")
