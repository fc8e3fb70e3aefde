"""A run in small parts, and Ray clusters on this machine."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.stages import rollout as rollout_stage
from tests.conftest import SMALL, Cli

RUN = [*SMALL, "--set", "rollout.prompts_per_step=12", "--steps", "2", "--max-tokens", "40"]
"""48 completions a step, in parts of 8."""
PARTS = 6
TIMED = ("metrics.parquet", "checked.parquet")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_stage, "PART_COMPLETIONS", 8)


def contents(run: Path) -> dict[str, bytes]:
    """Every artifact of a run but the times."""
    files = [path for kind in ("parquet", "safetensors") for path in run.rglob(f"*.{kind}")]
    return {str(path.relative_to(run)): path.read_bytes() for path in files if path.name not in TIMED}


@pytest.fixture
def whole(cli: Cli, tmp_path: Path, small_parts: None) -> Path:
    """A run of two steps, made by one process."""
    assert cli("train", "--run", "runs/whole", *RUN, "--set", "train.checkpoint_every=2").code == 0
    return tmp_path / "runs" / "whole"


ray_is_here = pytest.mark.filterwarnings("ignore")
"""Ray warns of what is not ours."""
SMALL_NODE = {"object_store_memory": 80_000_000, "include_dashboard": False}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that takes no work, to which a test adds nodes."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry or os.getcwd() for entry in sys.path))
    import ray
    from ray.cluster_utils import Cluster

    try:
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **SMALL_NODE})
    except Exception as error:  # a container may not let it have its ports or its shared memory
        pytest.skip(f"no Ray cluster starts here: {error}")
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
