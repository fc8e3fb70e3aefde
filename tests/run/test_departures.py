"""Steps that were made with other settings than the run's own, and the flags that tell these."""

import shlex
from pathlib import Path
from typing import Any

from rsgrpo_cli.config import ScoreConfig
from rsgrpo_cli.run.departures import departures, own_settings
from rsgrpo_cli.run.run_dir import RunDir
from tests import run_on_disk


def with_advantages(path: Path, made: dict[str, Any], **own: Any) -> RunDir:
    """A run with a step whose advantages were made with other settings than the run's own."""
    run = run_on_disk.new_run(path / "run", **own)
    run_on_disk.write_step(run, 0)
    run_on_disk.write_advantages(run, 0, **made)
    return run


def test_a_setting_that_is_left_out_at_its_default_can_differ(tmp_path: Path) -> None:
    schedule = {"schedule": "linear", "beta_end": 8.0, "schedule_steps": 100}
    run = with_advantages(tmp_path, schedule)
    usual = {"schedule": "constant", "beta_end": None, "schedule_steps": None}
    assert sorted(departures(run, 0)) == [
        ("advantages", name, schedule[name], usual[name]) for name in sorted(schedule)
    ]
    flags = {"advantage.schedule=linear", "advantage.beta_end=8.0", "advantage.schedule_steps=100"}
    assert {*own_settings(run, 0, "advantages")} == {"--set"} | flags


def test_one_that_only_the_run_has_differs_too(tmp_path: Path) -> None:
    run = run_on_disk.new_run(tmp_path / "run", score__format_weight=0.5)
    run_on_disk.write_step(run, 0)
    assert departures(run, 0) == []
    run_on_disk.write_rewards(run, 0, run_on_disk.VALUES, config=ScoreConfig(overlong_buffer=4).decisive())
    assert sorted(departures(run, 0)) == [("rewards", "format_weight", 0.0, 0.5), ("rewards", "overlong_buffer", 4, 0)]


def test_another_estimator_brings_its_own_settings(tmp_path: Path) -> None:
    made = {"estimator": "rs_grpo", "beta": 8.0, "denominator": "group"}
    run = with_advantages(tmp_path, made, advantage__estimator="grpo", advantage__scale="rms")
    assert departures(run, 0) == [("advantages", "estimator", "rs_grpo", "grpo")]
    assert shlex.join(own_settings(run, 0, "advantages")) == (
        "--set advantage.estimator=rs_grpo --set advantage.beta=8.0 --set advantage.denominator=group "
        "--set advantage.scale=rms"
    )


def test_what_no_flag_can_say_is_left_out(tmp_path: Path) -> None:
    made = {"schedule": "constant", "beta_end": None, "schedule_steps": None}
    run = with_advantages(tmp_path, made, advantage__schedule="linear", advantage__beta_end=8.0)
    assert own_settings(run, 0, "advantages") == ["--set", "advantage.schedule=constant"]
