"""Ranks of an update that Ray Train places on a cluster; they stay for the next update."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rsgrpo_cli import disk
from rsgrpo_cli.errors import EngineError, RsgrpoError, first_line
from rsgrpo_cli.pipeline.ranks.launcher import Launched
from rsgrpo_cli.pipeline.ranks.rank import LONGEST_WAIT, Place
from rsgrpo_cli.pipeline.ranks.rank_process import took_part
from rsgrpo_cli.pipeline.ranks.torchrun import OURS, Joined
from rsgrpo_cli.pipeline.spread.ray_actors import environment, leave
from rsgrpo_cli.pipeline.spread.worker import write_to

NAME = "ray"
"""What the directory is named after by which Ray Train finds out whether its workers see the same files."""
_MARKER = "ranks/.validate_storage_marker"


def _take_part(told: dict[str, Any]) -> None:
    """What a worker of Ray Train runs: a rank, which has met the others."""
    import torch.distributed as dist
    from ray import train

    write_to(Path(told["log"]))
    here = train.get_context()
    place = Place(here.get_world_rank(), here.get_world_size(), here.get_local_rank())
    store = dist.TCPStore(told["host"], told["port"], is_master=False)  # type: ignore[attr-defined]
    if not took_part(Joined(place, dist.PrefixStore(OURS, store))):  # type: ignore[attr-defined]
        raise RuntimeError("this rank gave up")  # the others are ended then; why, the store says


class RayRanks(Launched):
    """As `Launched`, on a cluster that this process has joined.

    Args:
        ranks: How many.
        gpus: Whether each has a GPU.
        log: Where all that they print goes; in the run, which all machines see.
        stopping: Whether a polite stop was asked for.
    """

    def __init__(self, ranks: int, log: Path, stopping: Callable[[], bool], *, gpus: bool) -> None:
        import ray

        self._gpus, self._failed = gpus, dict[int, int]()
        self._broken = ""
        self._place, self._resources = log.absolute().with_name(NAME), ExitStack()
        super().__init__(ranks, log, stopping, host=ray.util.get_node_ip_address())

    def _begin(self, host: str, port: int) -> None:
        folder = self._resources.enter_context(disk.workshop(self._place))
        fit = self._trainer({"log": str(self._log), "host": host, "port": port}, folder).fit
        # In the main thread Ray Train would take Ctrl-C over.
        self._thread = threading.Thread(target=self._follow, args=(fit,), daemon=True)
        self._thread.start()

    def _trainer(self, told: dict[str, Any], folder: Path) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # what went wrong is said by us
        return TorchTrainer(
            _take_part,
            train_loop_config=told,
            torch_config=TorchConfig(
                backend="cpu:gloo,cuda:nccl" if self._gpus else "gloo", timeout_s=int(LONGEST_WAIT.total_seconds())
            ),
            scaling_config=ScalingConfig(
                num_workers=self.ranks,
                use_gpu=self._gpus,
                resources_per_worker={"CPU": 1} | ({"GPU": 1} if self._gpus else {}),
            ),
            run_config=RunConfig(
                name="ranks",
                storage_path=str(folder),
                failure_config=FailureConfig(max_failures=0),
                worker_runtime_env={"env_vars": environment(1)},
            ),
        )

    def _follow(self, fit: Callable[[], Any]) -> None:
        """Wait for the ranks to end, and note which of them failed."""
        try:
            fit()
        except Exception as error:  # its own have no base in common
            self._failed = dict.fromkeys(getattr(error, "worker_failures", {}), 1)
            self._broken = first_line(error)

    def _ended(self) -> dict[int, int] | None:
        return None if self._thread.is_alive() else self._failed

    def _end(self) -> None:
        if self._thread.is_alive():  # nothing but leaving the cluster ends what Ray Train waits for
            leave()
        self._resources.close()
        disk.clear_leftovers(self._place, [_MARKER])

    def _killed(self, codes: dict[int, int]) -> RsgrpoError | None:
        """What it means that a rank has failed without a word."""
        silent = [rank for rank in sorted(codes) if not self._has_told(rank)]
        again = f"nothing is lost: run the same command again. The log: {self._log}"
        if silent:
            hint = f"perhaps memory ran out, or its machine is gone; {again}"
            return EngineError(f"rank {silent[0]} of {self.ranks} died during the update", hint)
        return None if codes else EngineError(f"Ray Train ended the ranks of the update: {self._broken[:300]}", again)
