"""The same bytes with any number of workers, on processes and on Ray, whatever becomes of a worker."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.artifacts import package_versions
from rsgrpo_cli.console import Output
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import StaleError
from rsgrpo_cli.pipeline import steps
from rsgrpo_cli.pipeline.parts import Draw
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.spread import spread as spreading
from rsgrpo_cli.pipeline.spread.jobs import Failed, Opening, SamplePart
from rsgrpo_cli.pipeline.spread.processes import Processes
from rsgrpo_cli.pipeline.spread.queue import Queue
from rsgrpo_cli.pipeline.spread.spread import Spread
from rsgrpo_cli.pipeline.spread.worker import PartWorker
from rsgrpo_cli.pipeline.stopping import StopSignal
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.stages import rollout as rollout_stage
from tests.conftest import Cli
from tests.pipeline.spread.conftest import PARTS, RUN, contents, ray_is_here

pytestmark = pytest.mark.ray


def sample(run: Path, spread: Any, tag: str, engine: str = "hf") -> dict[str, bytes]:
    """The parts of step 1 of a run, sampled again; by this process if there is no spread."""
    opened = RunDir(run)
    with Session(opened, opened.config(), Output(), StopSignal(), trust=False) as session:
        session.spread = spread
        steps.rollout(session, 1, session.config.rollout.model_copy(update={"engine": engine}), tag=tag)
    return {path.name: path.read_bytes() for path in (run / "steps" / "000001" / f"rollouts.{tag}").glob("*.parquet")}


# -- processes --------------------------------------------------------------------------------------------------------


def test_a_run_has_the_same_bytes_with_workers(cli: Cli, whole: Path) -> None:
    """Policy 1 has no checkpoint: its weights are handed over."""
    done = cli("train", "--run", "runs/two", *RUN, "--set", "train.checkpoint_every=2", "--data-parallel", 2)
    assert done.code == 0, done.err
    assert contents(whole.with_name("two")) == contents(whole)
    sampled = [event for event in RunDir(whole.with_name("two")).recorded() if event["stage"] == "rollout"]
    assert [event["workers"] for event in sampled] == [2, 2]  # what `plan` divides the run's speed by
    assert len(list((whole / "steps/000001/rollouts").glob("*.parquet"))) == PARTS


def test_adapters_alone_are_handed_to_workers(cli: Cli, small_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policy 1 of a LoRA run has no checkpoint either."""
    handed: list[set[str]] = []

    def noted(path: Any, part: Any, draw: Any, at: float, weights: Any, trains: bool) -> SamplePart:
        if weights is not None:
            handed.append({path.name for path in weights.directory.glob("*.safetensors")})
        return SamplePart(path, part, draw, at, weights, trains)

    monkeypatch.setattr(spreading, "SamplePart", noted)
    lora = ["--lora-rank", "4", "--set", "train.checkpoint_every=2"]
    for name, workers in (("one", 0), ("two", 2)):
        done = cli("train", "--run", f"runs/{name}", *RUN, *lora, "--data-parallel", workers)
        assert done.code == 0, done.err
    assert handed == [{"adapter_model.safetensors"}] * PARTS
    found = contents(Path("runs/one"))
    assert "checkpoints/000002/adapter_model.safetensors" in found
    assert contents(Path("runs/two")) == found


@pytest.mark.parametrize("engine", ["hf", "dummy"])
def test_rollouts_have_the_same_bytes_with_any_number_of_workers(whole: Path, engine: str) -> None:
    expected = sample(whole, None, "here", engine)
    assert len(expected) == PARTS
    for count in (1, 3):
        with Spread(Processes(count), 0.0, print) as spread:
            assert sample(whole, spread, f"with{count}", engine) == expected


def test_evaluations_have_the_same_bytes_too(cli: Cli, whole: Path) -> None:
    asked = ["eval", "--run", "runs/whole", "--benchmark", "toy", "-n", "2", "--k", "1", "--interpolate", "0.5"]
    assert cli(*asked, "--tag", "here").code == 0
    assert cli(*asked, "--tag", "there", "--data-parallel", 2).code == 0
    here, there = (
        {path.parts[-4] + path.name: path.read_bytes() for path in whole.glob(f"evals/*/toy.{tag}/rollouts/*.parquet")}
        for tag in ("here", "there")
    )
    assert len(here) == 16  # 256 problems, 16 in a part
    assert there == here


class Killing(Processes):
    """Kills the first worker as soon as it has been given a part."""

    killed = 0

    def wait(self, busy: Any, seconds: float) -> Any:
        heard = super().wait(busy, seconds)
        if not self.killed and any(getattr(answer, "rows", 0) for _, answer in heard):
            victim = next((one for one in busy if one not in [worker for worker, _ in heard]), None)
            if victim is not None:
                os.kill(victim.process.pid, signal.SIGKILL)
                self.killed = victim.number + 1
        return heard


def test_a_worker_that_is_killed_loses_its_part_to_another(whole: Path) -> None:
    said: list[str] = []
    expected = sample(whole, None, "here")
    workers = Killing(2)
    with Spread(workers, 0.0, said.append) as spread:
        assert sample(whole, spread, "there") == expected
    assert workers.killed
    assert "SIGKILL" in said[0]


def test_a_part_of_another_policy_cannot_be_written(whole: Path) -> None:
    opened = RunDir(whole)
    with Session(opened, opened.config(), Output(), StopSignal(), trust=False) as session:
        worker = PartWorker(spreading.opening_of(session), 0)
        asked: list[Any] = []

        class Asking(Queue):
            def run(self, jobs: Any, *rest: Any) -> Iterator[Any]:
                asked.extend(jobs.values())
                return iter(())

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(spreading, "Queue", Asking)
            session.spread = Spread(Processes(1), 0.0, print)
            steps._sample(session, 0, session.config.rollout, whole / "other", parts_of(session), foreign(session))
    answer = worker.do(asked[0])
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, StaleError)
    assert "sees another policy 0" in answer.error.message
    assert not (whole / "other").exists()


def test_a_worker_without_the_model_says_so(whole: Path) -> None:
    opened = RunDir(whole)
    with Session(opened, opened.config(), Output(), StopSignal(), trust=False) as session:
        opening = spreading.opening_of(session)
        model = opening.config.model.model_copy(update={"name": "/nowhere/model"})
        worker = PartWorker(replace(opening, config=opening.config.model_copy(update={"model": model})), 0)
        draw = Draw(opened.prompts, "hf", Sampling(1.0, 1.0, 8), foreign(session), (0, 0), "")
        (part, *_) = parts_of(session)
        answer = worker.do(SamplePart(whole / "part.parquet", part, draw, 1.0, None, False))
    assert isinstance(answer, Failed)
    assert answer.final
    assert f"{worker.host} does not have the model: no model at '/nowhere/model'" in answer.error.message


def parts_of(session: Session) -> list[rollout_stage.Part]:
    return rollout_stage.training_parts(range(12), session.config.rollout.group_size)


def foreign(session: Session) -> Any:
    from rsgrpo_cli.artifacts import Lineage

    return Lineage("rollout", {}, {"prompts": session.prompts_id, "policy": "of another model"}, policy_version=0)


def test_other_versions_and_another_run_are_refused_before_anything_is_loaded(whole: Path) -> None:
    opened = RunDir(whole)
    with Session(opened, opened.config(), Output(), StopSignal(), trust=False) as session:
        opening = spreading.opening_of(session)
    told: dict[str, dict[str, Any]] = {
        "has torch 1.0, and this process": {"versions": dict(package_versions()) | {"torch": "0.1"}},
        "does not see the run": {"run": RunDir(whole.with_name("elsewhere"))},
        "sees another run": {"config_id": "0"},
    }
    for text, changed in told.items():
        answer = hello(opening, changed)
        assert answer.final
        assert text.replace("1.0", package_versions()["torch"]) in answer.error.message


def hello(opening: Opening, changed: dict[str, Any]) -> Failed:
    from rsgrpo_cli.pipeline.spread.jobs import Hello

    answer = PartWorker(replace(opening, **changed), 0).do(Hello())
    assert isinstance(answer, Failed)
    return answer


# -- Ray --------------------------------------------------------------------------------------------------------------


@ray_is_here
@pytest.mark.parametrize("engine", ["hf", "dummy"])
def test_a_node_that_is_lost_costs_the_part_at_work_alone(cluster: Any, whole: Path, engine: str) -> None:
    from rsgrpo_cli.pipeline.spread import ray_actors

    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
    said: list[str] = []
    expected = sample(whole, None, "here", engine)
    ray_actors.connect(cluster.address)

    class Losing(ray_actors.RayActors):
        lost = False

        def wait(self, busy: Any, seconds: float) -> Any:
            heard = super().wait(busy, seconds)
            if not self.lost and any(getattr(answer, "rows", 0) for _, answer in heard):
                cluster.remove_node(nodes[0], allow_graceful=False)
                self.lost = True
            return heard

    workers = Losing(ray_actors.require_room(ray_actors.nodes(), 0, 0), 0)
    assert workers.count == 2
    with Spread(workers, 0.0, said.append) as spread:
        assert sample(whole, spread, "there", engine) == expected
    assert workers.lost


@ray_is_here
def test_live_workers_share_no_gpu(cluster: Any, whole: Path) -> None:
    """Four workers of two GPUs on two nodes of four; a fifth is refused. Two CPUs of each node are left to grade."""
    import ray

    from rsgrpo_cli.pipeline.spread import ray_actors

    for _ in range(2):
        cluster.add_node(num_cpus=4, num_gpus=4, object_store_memory=80_000_000)
    workers, graders = spreading.on_cluster(cluster.address, 0, dummy_with_two_gpus(RunDir(whole)), "dummy")
    assert isinstance(workers, ray_actors.RayActors)
    assert (workers.count, workers.gpus) == (4, 2)
    assert (graders.workers.count, graders.verifiers) == (4, 1)
    with pytest.raises(ValueError, match="room for 4 workers of 2 GPUs and a CPU each, not for 5"):
        ray_actors.require_room(ray_actors.nodes(), 5, 2)
    with Spread(workers, 0.0, print, graders) as spread:
        assert len(sample(whole, spread, "there", "dummy")) == PARTS
        asked = [
            worker.actor.__ray_call__.remote(
                lambda _: (__import__("ray").get_runtime_context().get_node_id(), __import__("ray").get_gpu_ids())
            )
            for worker in workers.started
        ]
        held = [(node, gpu) for node, gpus in ray.get(asked) for gpu in gpus]
    assert len(held) == len(set(held)) == 8
    assert len({node for node, _ in held}) == 2


def dummy_with_two_gpus(run: RunDir) -> Any:
    config = run.config()
    return config.model_copy(update={"vllm": config.vllm.model_copy(update={"tensor_parallel_size": 2})})
