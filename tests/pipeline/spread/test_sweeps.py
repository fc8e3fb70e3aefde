"""The cells of a sweep on a Ray cluster."""

from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.studies.jobs import Job, Jobs
from tests.conftest import SMALL, Cli
from tests.pipeline.spread.conftest import contents, ray_is_here

pytestmark = pytest.mark.ray
CELLS = ("--set", "advantage.beta=4", "--steps", "1", "-n", "2", "--k", "1", *SMALL)
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


@ray_is_here
def test_a_cell_on_a_cluster_is_the_run_that_train_makes(cli: Cli, cluster: Any) -> None:
    """Then one whose node is lost is begun again on another."""
    assert cli("train", "--run", "runs/here", *CELLS).code == 0
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    done = cli("sweep", "--name", "there", *CELLS, "--ray", cluster.address, "--json")
    assert done.code == 0, done.err
    assert done.json["done"] == 1
    made, wanted = (
        {name: content for name, content in contents(run).items() if name.startswith(("steps/", "checkpoints/"))}
        for run in (Path("runs/there/seed0"), Path("runs/here"))
    )
    assert made == wanted
    assert len(wanted) > 4
    again_after_a_loss(cluster, nodes)


def again_after_a_loss(cluster: Any, nodes: list[Any]) -> None:
    """A command is begun, its node goes, and the same command is begun on the node that is left."""
    import ray

    from rsgrpo_cli.pipeline.spread.ray_commands import RayCommands

    started: list[Any] = []
    commands = RayCommands(cluster.address, 1, gpus=True)

    def start(*given: Any) -> Any:
        started.append(commands.start(*given))
        return started[-1]

    def lose() -> None:
        if len(started) == 1 and nodes and (run / "checkpoints").is_dir():
            where = ray.get(
                started[0].actor.__ray_call__.remote(lambda _: __import__("ray").get_runtime_context().get_node_id())
            )
            node = next(node for node in nodes if node.node_id == where)
            nodes.clear()
            cluster.remove_node(node, allow_graceful=False)

    run = Path("runs/lost").absolute()
    words = ["train", "--run", str(run), "--steps", "8", *SMALL]
    job = Job("lost", [words], Path("runs/lost.log"))
    Jobs([job], commands.room, {"RSGRPO_TRUST": "1"}, lambda _: None, start).run(lose)
    assert (job.state, len(started)) == ("done", 2), job.why
    assert (run / "checkpoints" / "000008").is_dir()


@ray_is_here
def test_what_cannot_be_had_is_said_at_once(cli: Cli, cluster: Any) -> None:
    cluster.add_node(**NODE)
    result = cli("sweep", "--name", "s", *CELLS, "--threads", "2", "--ray", cluster.address)
    assert result.code == 2
    assert "no node of the Ray cluster has 2 CPUs for a run" in result.err
    assert not Path("runs/s").exists()
