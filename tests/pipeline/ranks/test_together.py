"""What is refused before several ranks are started; what they do is in tests/ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]

from rsgrpo_cli.artifacts import package_versions
from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import EngineError, MissingError, UsageError
from rsgrpo_cli.pipeline.ranks import rank_order, together
from rsgrpo_cli.pipeline.ranks.rank import Place, _join, check_gpus
from rsgrpo_cli.pipeline.ranks.rank_order import Order
from rsgrpo_cli.pipeline.ranks.torchrun import Joined, join, started_by_torchrun
from tests.conftest import SMALL, Cli


@pytest.fixture
def order() -> Order:
    return Order({}, "base", None, "made", 0, {}, package_versions())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rollout.prompts_per_step": 1, "rollout.group_size": 2}, "3 ranks are too many for the 2 completions"),
        ({"model.compile": True}, "3 ranks need model.compile to be false"),
        ({"update.optimizer": "adamw_8bit"}, "3 ranks need update.optimizer to be adamw"),
    ],
)
def test_what_several_ranks_cannot_do_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        together.check(resolve({"update.ranks": 3, "model.device": "cpu"} | settings))


def test_a_refused_run_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    made = cli("train", "--run", "runs/new", *SMALL, "--ranks", "33")
    assert made.code == 2
    assert "error: 33 ranks are too many for the 32 completions of a step\n  --ranks 32" in made.err
    assert not (tmp_path / "runs" / "new").exists()


def test_every_rank_needs_a_gpu() -> None:
    check_gpus(2, 2)
    with pytest.raises(UsageError, match="4 ranks need as many GPUs, and this machine has 1 GPU\n  --ranks 1, or"):
        check_gpus(4, 1)


def test_a_rank_settles_its_gpu_before_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the model into RAM, where `load_model` settles nothing; cuBLAS refuses to add up in one order then."""
    called: list[str] = []
    monkeypatch.setattr("rsgrpo_cli.models.choose_device", lambda _: "cuda")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.set_device", lambda _: None)
    monkeypatch.setattr("torch.distributed.device_mesh.init_device_mesh", lambda *_: None)
    monkeypatch.setattr("rsgrpo_cli.modeling.cuda.settle", lambda: called.append("settled"))
    ranks = _join(resolve({"update.ranks": 2}), Place(0, 2, 0))
    assert (str(ranks.device), called) == ("cuda:0", ["settled"])


def test_ranks_with_other_versions_are_refused(order: Order) -> None:
    order.check_versions()
    other = replace(order, versions=order.versions | {"torch": "1.0"})
    with pytest.raises(UsageError, match=r"different versions: torch \S+ here, 1.0 there"):
        other.check_versions()


def test_an_order_that_a_rank_does_not_see_is_said_to_be_so(order: Order, tmp_path: Path) -> None:
    order.write(tmp_path)
    assert Order.read(tmp_path) == order
    with pytest.raises(MissingError, match="file system that all machines share"):
        Order.read(tmp_path / "elsewhere")


def test_a_table_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    table = pa.table({"advantage": [0.5, -0.5]})
    assert rank_order.read_table(tmp_path, "advantages") is None
    rank_order.write_table(table, tmp_path, "advantages")
    assert rank_order.read_table(tmp_path, "advantages") == table
    assert {path.name for path in tmp_path.iterdir()} <= set(rank_order.FILES)


def test_ranks_that_were_started_for_different_runs_are_refused() -> None:
    store = HashStore()
    store.set("run", "/shared/runs/mine")
    second = Joined(Place(rank=1, world=2, local=0), store)
    second.check_run("/shared/runs/mine")
    with pytest.raises(UsageError, match=r"rank 1 on .* was started for run /shared/runs/other, and rank 0 for .*mine"):
        second.check_run("/shared/runs/other")


def test_a_rank_that_is_lost_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def lost(*_: object) -> None:
        raise RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")

    monkeypatch.setattr("rsgrpo_cli.pipeline.ranks.torchrun.train_rank", lost)
    first, second = (Joined(Place(rank, 2, rank), HashStore()) for rank in range(2))
    second.store = first.store
    with pytest.raises(EngineError, match=r"rank 0 on .* has lost the connection to another rank\n  nothing is lost"):
        first.work(tmp_path)
    with pytest.raises(UsageError), second.explained():
        raise UsageError("the ranks have different versions", "install the same")
    with pytest.raises(EngineError, match="another rank gave up: the ranks have different versions"):
        first.work(tmp_path)


def test_an_error_of_our_own_is_not_taken_for_a_lost_rank() -> None:
    with pytest.raises(RuntimeError, match="shape"), Joined(Place(0, 2, 0), HashStore()).explained():
        raise RuntimeError("shape mismatch")


def test_another_number_of_ranks_than_torchruns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="torchrun has started 2 ranks, and --ranks asks for 3\n  leave --ranks out"):
        join(None, 3)


def test_more_ranks_than_gpus_are_refused_before_anything_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    together.check(resolve({"update.ranks": 2, "model.device": "cpu"}))
    with pytest.raises(UsageError, match="2 ranks need as many GPUs, and this machine has 1 GPU"):
        together.check(resolve({"update.ranks": 2}))


def test_torchrun_is_told_by_its_environment() -> None:
    known = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert started_by_torchrun(known)
    assert not started_by_torchrun({"RANK": "0", "WORLD_SIZE": "4"})
    assert not started_by_torchrun(known | {"WORLD_SIZE": "1"})
    assert Place.of(known) == Place(rank=3, world=4, local=1)


def test_more_ranks_than_cpus_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert together.crowded(2, "cpu") == ""
    assert together.crowded(3, "cpu") == "3 ranks share 2 CPUs and wait for each other: --ranks 2 is faster"


def test_torchrun_starts_train_and_update_only(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank would do all of another command, beside the others and into the same files."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in ("eval", "sweep", "status"):
        refused = cli(command)
        assert refused.code == 2
        assert refused.err.splitlines() == [
            f"error: torchrun runs {command} 2 times, and only train and update share their work among ranks",
            f"  run it once: rsgrpo {command}",
        ]
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert "torchrun" not in cli("status").err
