"""One rank of an update: the function that each of its processes runs, whoever started it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.modeling import cuda
from rsgrpo_cli.pipeline.gpu_memory import free_memory
from rsgrpo_cli.pipeline.ranks import rank_order
from rsgrpo_cli.pipeline.ranks.rank_order import Order
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from rsgrpo_cli.policy.policy import Policy
    from rsgrpo_cli.policy.sharding import Ranks

LONGEST_WAIT = timedelta(minutes=60)
"""For another rank: loading a large model takes some of them longer. One that has died is noticed at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """A process's place among the ranks, as torch's launcher tells it.

    Args:
        rank: Its number among all.
        world: How many there are.
        local: Its number on this machine, which is that of its GPU.
    """

    rank: int
    world: int
    local: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place:
        """The place that a launcher has given."""
        return cls(int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment["LOCAL_RANK"]))


def train_rank(folder: Path, place: Place) -> None:
    """Do one rank's part of an update; returns when all are done and the new policy's files are written.

    Args:
        folder: The order and what it is about (`rank_order`).
        place: This process's. The ranks have met.

    Raises:
        UsageError: If the ranks do not run the same code, or there is no GPU for this one.
        EngineError: If the update diverges or memory runs out.
    """
    order = Order.read(folder)
    order.check_versions()
    config = RunConfig.model_validate(order.config)
    ranks = _join(config, place)
    from rsgrpo_cli.policy.checkpoints import open_policy, save_checkpoint

    checkpoint = Path(order.checkpoint) if order.checkpoint else None
    policy = open_policy(config, Path(order.base), checkpoint, version=order.version, train=True, ranks=ranks)
    metrics = _update(policy, config, order, folder)
    save_checkpoint(policy, Path(order.made))
    if place.rank == 0:
        rank_order.write_table(metrics, folder, rank_order.METRICS)
    ranks.gather(None)  # nobody goes before everything is written
    del policy
    free_memory()


def _update(policy: Policy, config: RunConfig, order: Order, folder: Path) -> pa.Table:
    """The update as one process makes it; each rank has all completions and works on its own."""
    from rsgrpo_cli.stages import update as update_stage

    assert policy.ranks is not None
    cfg, sampling, first = config.update, order.sampling, policy.ranks.rank == 0
    rollouts, advantages = (
        rank_order.read_table(folder, name) for name in (rank_order.ROLLOUTS, rank_order.ADVANTAGES)
    )
    assert rollouts is not None
    assert advantages is not None
    said = rank_order.read_table(folder, rank_order.LOGPROBS)
    policy.ranks.gather(None)  # all have looked before the first writes it
    if said is None and cfg.optimizer_steps > 1:
        temperature = sampling["temperature"]
        said = update_stage.read_policy_logprobs(rollouts, advantages, policy, cfg, temperature=temperature)
        if first:
            rank_order.write_table(said, folder, rank_order.LOGPROBS)

    def keep(found: pa.Table) -> None:
        if first:
            rank_order.write_table(found, folder, rank_order.LOGPROBS)

    made: dict[str, Any] = {"policy_logprobs": said, "keep": keep}
    return update_stage.update(rollouts, advantages, policy, cfg, seed=config.seed, **made, **sampling)


def _join(config: RunConfig, place: Place) -> Ranks:
    """This process among the ranks, on its device."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh

    from rsgrpo_cli.models import choose_device
    from rsgrpo_cli.policy.sharding import Ranks

    kind = choose_device(config.model.device)
    device = torch.device(kind)
    if kind == "cuda":
        check_gpus(place.local + 1, torch.cuda.device_count())
        device = torch.device(kind, place.local)
        torch.cuda.set_device(device)
        cuda.settle()  # the model is read into RAM first, where nothing is set
    mesh = init_device_mesh(kind, (place.world,))
    cfg = config.update
    return Ranks(place.rank, place.world, mesh, device, cfg.cpu_offload, cfg.gradient_sync == "each")


def backend() -> str:
    """How ranks talk to each other: NCCL for what is on GPUs, gloo for all else."""
    import torch

    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def check_gpus(wanted: int, there: int) -> None:
    """Make sure that every rank of this machine has a GPU.

    Raises:
        UsageError: If there are fewer.
    """
    if wanted > there:
        gpus = f"{counted(there, 'GPU')}"
        raise UsageError(
            f"{wanted} ranks need as many GPUs, and this machine has {gpus}",
            f"--ranks {max(there, 1)}, or --device cpu, or more machines: torchrun (docs/scaling.md)",
        )
