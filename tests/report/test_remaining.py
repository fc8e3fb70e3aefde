"""How long a run still takes."""

from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.report.remaining import Clock, evaluations_left
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import PROMPTS
from tests import run_on_disk
from tests.tables import prompts


def rows(*seconds: float) -> list[dict[str, float]]:
    return [{"step": step, "seconds_step": one, "seconds_rollout": one / 2} for step, one in enumerate(seconds)]


def run(folder: Path, **settings: Any) -> RunDir:
    return run_on_disk.new_run(folder / "run", train__steps=10, **settings)


def test_the_steps_that_are_left_take_what_the_last_ones_took(tmp_path: Path) -> None:
    made = run(tmp_path)
    clock = Clock(made, made.config())
    # The first one, with its imports, does not count: the middle of 30, 2, 2, 2 is 2. Six are left.
    assert clock.left(rows(30.0, 2.0, 2.0, 2.0), done=4) == 12.0
    assert clock.left(rows(2.0), done=4, age=1.5) == 10.5
    assert clock.left(rows(2.0), done=4, age=100.0) == 10.0  # a step that takes longer is not counted twice
    assert clock.left([], done=0) is None
    assert clock.left(rows(2.0), done=10) is None


def test_evaluations_count(tmp_path: Path) -> None:
    made = run(tmp_path, train__eval_every=4)
    clock = Clock(made, made.config())
    for seconds in (7.0, 0.01):
        made.record({"stage": "eval", "policy": 0, "benchmark": "toy", "seconds": seconds})
    # Policies 8 and 10 of 10 after 4 steps; one that found its samples there took no time, and says nothing.
    assert clock.left(rows(2.0), done=4) == 12.0 + 2 * 7.0
    # One is at work for 3 seconds: 4 more, and no part of a step has begun.
    assert clock.left(rows(2.0), done=4, age=3.0, evaluating=3.0) == 12.0 + 2 * 7.0 + 4.0
    assert clock.left(rows(2.0), done=10, evaluating=3.0) == 4.0


def test_before_the_first_evaluation_its_completions_tell(tmp_path: Path) -> None:
    sizes = {"rollout__group_size": 2, "rollout__prompts_per_step": 2, "eval__num_samples": 8, "eval__k": (1,)}
    made = run(tmp_path, train__eval_every=10, **sizes)
    lineage = Lineage("prepare", {"dataset": "toy"}, {})
    write_table(made.benchmark("toy"), prompts(["p-1", "p-2", "p-3"]), PROMPTS, lineage)
    # 4 completions took 1 second in training; 3 problems with 8 samples take 6.
    assert Clock(made, made.config()).left(rows(2.0), done=9) == 2.0 + 6.0


@pytest.mark.parametrize(
    ("done", "steps", "every", "left"), [(0, 10, 4, 3), (4, 10, 4, 2), (8, 10, 4, 1), (10, 10, 4, 0), (0, 8, 4, 2)]
)
def test_every_so_many_and_the_last_one(done: int, steps: int, every: int, left: int) -> None:
    assert evaluations_left(done, steps, every) == left
    assert evaluations_left(done, steps, 0) == 0
