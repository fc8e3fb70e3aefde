"""A run's parts on several workers: what `Session.spread` is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from rsgrpo_cli.activity import Doing
from rsgrpo_cli.artifacts import package_versions, read_lineage
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import EngineError, MissingError
from rsgrpo_cli.pipeline.parts import Draw
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.spread.jobs import Done, Opening, SamplePart
from rsgrpo_cli.pipeline.spread.processes import Processes, gpus_of_workers
from rsgrpo_cli.pipeline.spread.queue import Queue, Workers
from rsgrpo_cli.pipeline.spread.worker import config_id
from rsgrpo_cli.run_dir import WHOLE
from rsgrpo_cli.schemas import ROLLOUTS
from rsgrpo_cli.stages.rollout import Part

SEEN_SECONDS = 15.0
"""How long a file that a worker has written may take to be seen here: NFS caches what a directory holds."""


class Spread:
    """Has parts made by workers, which start with the first part and stay until it is closed.

    Args:
        workers: Where they come from.
        part_timeout: As of `Queue`.
        say: The same.
    """

    def __init__(self, workers: Workers, part_timeout: float, say: Callable[[str], None]) -> None:
        self.workers, self._part_timeout, self._say = workers, part_timeout, say
        self._queue: Queue | None = None

    def __enter__(self) -> Spread:
        return self

    def __exit__(self, *exception: object) -> None:
        self.workers.close()

    def sample(
        self, session: Session, folder: Path, draw: Draw, parts: Sequence[Part], bar: Doing
    ) -> Iterator[tuple[Path, int]]:
        """Have parts sampled.

        Args:
            session: The run.
            folder: Where the files go.
            draw: What is drawn.
            parts: Which to make.
            bar: Told how the workers are doing.

        Yields:
            Each part's file and its rows, as they are finished; fewer if a stop is asked for.

        Raises:
            EngineError, MissingError: As of `Queue.run`, or if this process does not see what a worker wrote.
        """
        draw = replace(draw, engine=session.engine_name(draw.engine), prompts=draw.prompts.absolute())
        on_disk = draw.version == 0 or draw.version in session.run.versions()
        handing = nullcontext() if on_disk and session.at == WHOLE else session.files().of(draw.version, session.at)
        with handing as weights:
            if weights is not None:
                weights = replace(weights, directory=weights.directory.absolute())
            paths = {part.name: (folder / f"{part.name}.parquet").absolute() for part in parts}
            how = (draw, session.at, weights, session.trained_policy() is not None)
            jobs = {part.name: SamplePart(paths[part.name], part, *how) for part in parts}
            for name, done in self._opened(session).run(jobs, lambda: session.stop.requested, bar):
                _require_seen(paths[name], done)
                yield paths[name], done.rows

    def rest(self) -> None:
        """Let the trainer have the GPUs."""
        if self._queue is not None:
            self._queue.rest()

    def _opened(self, session: Session) -> Queue:
        if self._queue is None:
            self._queue = Queue(self.workers, opening_of(session), self._part_timeout, self._say)
        return self._queue


def opening_of(session: Session) -> Opening:
    """What a worker needs to open the run of a session."""
    import torch

    run = replace(session.run, path=session.run.path.absolute(), made_since=None)
    return Opening(
        run,
        session.config,
        config_id(run),
        Path.cwd(),
        package_versions(),
        torch.get_num_threads(),
        beside_trainer=session.trained_policy() is not None,
        asked=session.asked,
        trust=session.trust,
        accept_changes=session.accept_changes,
    )


def gpus_each(config: RunConfig, engine: str, *, there: bool) -> int:
    """How many GPUs a worker takes.

    Args:
        config: The run's.
        engine: Its engine. The dummy stands for any other: it is placed as vLLM would be, if told to.
        there: Whether there are GPUs at all.
    """
    if config.model.device == "cpu":
        return 0
    shared = config.vllm.tensor_parallel_size
    if engine == "dummy":
        return shared if shared > 1 else 0
    needed = config.model.device == "cuda" or there
    return (shared if engine == "vllm" else 1) if needed else 0


def on_this_machine(count: int, config: RunConfig, engine: str) -> Processes:
    """Workers that are processes of this machine.

    Raises:
        UsageError: If there are too few GPUs for them.
    """
    import torch

    each = gpus_each(config, engine, there=torch.cuda.is_available())
    return Processes(count, gpus_of_workers(count, each) if each else ())


def on_cluster(address: str, count: int, config: RunConfig, engine: str) -> Workers:
    """Workers that are actors of a Ray cluster; arguments as of `ray_actors.connect` and `require_room`.

    Raises:
        DependencyError, EngineError, UsageError: As of these.
    """
    from rsgrpo_cli.pipeline.spread import ray_actors

    ray_actors.connect(address)
    found = ray_actors.nodes()
    gpus = gpus_each(config, engine, there=any(node.get("GPU") for node in found))
    return ray_actors.RayActors(ray_actors.require_room(found, count, gpus), gpus)


def _require_seen(path: Path, done: Done) -> None:
    """Make sure that what a worker has written is what is here under that name.

    Raises:
        MissingError: If it is not here: the file system is not shared.
        EngineError: If something else is.
    """
    until = time.monotonic() + SEEN_SECONDS
    while not path.is_file():
        if time.monotonic() > until:
            raise MissingError(
                f"the worker on {done.worker} wrote {path}, and it is not to be seen here",
                "the run has to be on a file system that all machines share, under the same path",
            )
        time.sleep(0.2)
    found = read_lineage(path, ROLLOUTS).id
    if found != done.id:
        raise EngineError(
            f"{path} is not what the worker on {done.worker} wrote: its id is {found}, not {done.id}",
            "another command may be at work on this run; run the same command again once it has ended",
        )
