"""The same rewards with any number of workers, in processes and in tasks of Ray, whatever a verifier does."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.config import override
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import StaleError
from rsgrpo_cli.pipeline import evaluation, steps
from rsgrpo_cli.pipeline.grading import grading_of
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.spread.processes import Processes
from rsgrpo_cli.pipeline.spread.queue import Workers
from rsgrpo_cli.pipeline.spread.spread import Graders, Spread
from rsgrpo_cli.pipeline.stopping import StopSignal
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import Step
from tests.conftest import Cli
from tests.pipeline.spread.conftest import PARTS, RUN, contents, ray_is_here

pytestmark = pytest.mark.ray
HANGING = """
import os, time

def hangs(completions, **columns):
    if os.environ.get("HANGS") and "0" in [str(index) for index in columns["sample_index"]]:
        time.sleep(3600)
    return [0.25] * len(completions)
"""


def score(run: Path, workers: Workers | None, tag: str, **settings: Any) -> dict[str, bytes]:
    """The rewards of step 1 of a run, given again; by this process if there are no workers."""
    opened = RunDir(run)
    config = opened.config()
    with Session(opened, config, Output(), StopSignal(), trust=False) as session:
        cfg = config.score.model_copy(update=settings)
        if workers is None:
            steps.score(session, 1, cfg, tag=tag)
        else:
            with Spread(None, 0.0, print, Graders(workers, 1)) as session.spread:
                steps.score(session, 1, cfg, tag=tag)
    return rewards(run, tag)


def rewards(run: Path, tag: str) -> dict[str, bytes]:
    folder = run / "steps" / "000001" / f"rewards.{tag}"
    assert not [path for path in folder.iterdir() if path.suffix != ".parquet"]
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_rewards_have_the_same_bytes_with_any_number_of_workers(whole: Path) -> None:
    expected = score(whole, None, "here", format_weight=0.5)
    assert len(expected) == PARTS
    for count in (1, 3):
        assert score(whole, Processes(count), f"with{count}", format_weight=0.5) == expected


def test_old_rewards_go_once_the_first_part_is_graded(whole: Path) -> None:
    """What is left of them would be taken for new ones: parts of other names, and the single file of older runs."""
    folder = whole / "steps" / "000001"
    expected = score(whole, None, "new", format_weight=0.5)
    score(whole, None, "old")
    old = folder / "rewards.old"
    shutil.copy(old / "part-00000.parquet", old / "part-00099.parquet")
    shutil.copy(old / "part-00000.parquet", folder / "rewards.old.parquet")
    assert score(whole, Processes(2), "old", format_weight=0.5) == expected
    assert not (folder / "rewards.old.parquet").exists()


def test_old_rewards_stay_where_nothing_can_be_graded(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward of the workers is another one than that of this process."""
    before = score(whole, None, "old")

    def other(*given: Any) -> Any:
        return replace(grading_of(*given), reward=SimpleNamespace(identity="another"))

    monkeypatch.setattr(steps, "grading_of", other)
    with pytest.raises(StaleError, match=r"has another reward: .*, not another"):
        score(whole, Processes(2), "old", format_weight=0.5)
    assert rewards(whole, "old") == before


def test_evaluations_are_graded_by_workers_as_by_one_process(cli: Cli, whole: Path) -> None:
    """First what is sampled and ungraded, then again what was graded: no verdict changes."""
    asked = ["eval", "--run", "runs/whole", "--benchmark", "toy", "-n", "2", "--k", "1"]
    assert cli(*asked).code == 0
    here = whole / "evals" / "000002" / "toy"
    expected = {path.name: path.read_bytes() for path in (here / "rewards").iterdir()}
    assert len(expected) > 1
    shutil.rmtree(here / "rewards")
    opened = RunDir(whole)
    with Session(opened, opened.config(), Output(), StopSignal(), trust=False) as session:
        cfg = override(session.config, {"eval.num_samples": 2, "eval.k": (1,)}).eval
        workers = Processes(2)
        with Spread(workers, 0.0, print, Graders(workers, 1)) as session.spread:
            first = evaluation.evaluate(session, 2, cfg, evaluation.Request("toy"))
            again = evaluation.evaluate(session, 2, cfg, evaluation.Request("toy", rescore=True))
    assert {path.name: path.read_bytes() for path in (here / "rewards").iterdir()} == expected
    assert first.facts["sampled"] == again.facts["changed_verdicts"] == 0


def test_a_step_is_graded_to_the_end_after_a_stop(whole: Path) -> None:
    """Parts that are there are not graded again."""
    expected = score(whole, None, "here")
    folder = whole / "steps" / "000001" / "rewards.part"
    folder.mkdir()
    for name in sorted(expected)[:2]:
        (folder / name).write_bytes(expected[name])
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert score(whole, Processes(1), "part") == expected
    assert {name: (folder / name).stat().st_mtime_ns for name in times} == times
    assert len(Step(RunDir(whole), 1).rollouts.paths) == PARTS


# -- Ray --------------------------------------------------------------------------------------------------------------


@ray_is_here
def test_a_run_on_a_cluster_has_the_same_bytes(cli: Cli, whole: Path, cluster: Any) -> None:
    """Sampled by actors that have all CPUs, and graded by them; then graded again by tasks, a CPU each."""
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    address = cluster.address
    done = cli("train", "--run", "runs/two", *RUN, "--set", "train.checkpoint_every=2", "--ray", address)
    assert done.code == 0, done.err
    assert contents(whole.with_name("two")) == contents(whole)
    done = cli("score", "--run", "runs/whole", "--step", "1", "--tag", "tasks", "--ray", address)
    assert done.code == 0, done.err
    assert rewards(whole, "tasks") == score(whole, None, "here")


@ray_is_here
def test_a_verifier_that_hangs_on_one_node_times_out_there_alone(cli: Cli, whole: Path, cluster: Any) -> None:
    """On the node that hangs, each group's call is late and then the first of its four completions."""
    (whole.parents[1] / "mine.py").write_text(HANGING)
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000, env_vars={"HANGS": "1"})
    asked = ["--reward", "mine:hangs", "--timeout", "1", "--workers", "1"]
    done = cli("score", "--run", "runs/whole", "--step", "1", "--tag", "mine", *asked, "--ray", cluster.address)
    assert done.code == 0, done.err
    found = {name: pq.read_table(whole / "steps/000001/rewards.mine" / name) for name in rewards(whole, "mine")}
    assert len(found) == PARTS
    kinds = set()
    for table in found.values():
        statuses = table["reward_status"].to_pylist()
        late = [0 if status == "timeout" else 1 for status in statuses]
        assert set(statuses) <= {"timeout", "scored"}
        assert late in ([0, 1, 1, 1] * 2, [1] * 8)
        kinds.add(min(late))
    assert kinds == {0, 1}
