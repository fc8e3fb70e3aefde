"""A run's parts on several workers: what `Session.spread` is."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from rsgrpo_cli.activity import Doing
from rsgrpo_cli.artifacts import package_versions, read_lineage
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import EngineError, MissingError
from rsgrpo_cli.pipeline.grading import Grading, ToGrade
from rsgrpo_cli.pipeline.parts import Draw, discard
from rsgrpo_cli.pipeline.ranks.launcher import Launched
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.spread.jobs import Done, GradePart, Opening, SamplePart
from rsgrpo_cli.pipeline.spread.processes import Processes, gpus_of_workers
from rsgrpo_cli.pipeline.spread.queue import Queue, Workers
from rsgrpo_cli.pipeline.spread.worker import config_id
from rsgrpo_cli.run.run_dir import WHOLE
from rsgrpo_cli.schemas import REWARDS, ROLLOUTS, ArtifactSchema
from rsgrpo_cli.stages.rollout import Part
from rsgrpo_cli.wording import SHARE_THE_RUN

SEEN_SECONDS = 15.0
"""How long a file that a worker has written may take to be seen here: NFS caches what a directory holds."""


@dataclass(frozen=True, slots=True)
class Graders:
    """The workers that grade.

    Args:
        workers: Where they come from; the samplers, where these grade as well.
        verifiers: Verifier processes of each.
    """

    workers: Workers
    verifiers: int


class Spread:
    """Has parts made by workers, which start with the first part and stay until it is closed.

    Args:
        samplers: Where those come from that sample; None where nothing is sampled.
        part_timeout: As of `Queue`.
        say: The same.
        graders: Those that grade, if not the process of the command does.
    """

    def __init__(
        self, samplers: Workers | None, part_timeout: float, say: Callable[[str], None], graders: Graders | None = None
    ) -> None:
        self._samplers, self._graders = samplers, graders
        self._part_timeout, self._say = part_timeout, say
        self._queues: dict[int, Queue] = {}

    def __enter__(self) -> Spread:
        return self

    def __exit__(self, *exception: object) -> None:
        for workers in (self._graders.workers if self._graders else None, self._samplers):
            if workers is not None:
                workers.close()

    @property
    def samplers(self) -> int:
        """How many sample."""
        return self._samplers.count if self._samplers else 0

    @property
    def grades(self) -> bool:
        """Whether the workers grade as well."""
        return self._graders is not None

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
        assert self._samplers is not None  # a command that samples has some
        on_disk = draw.version == 0 or draw.version in session.run.versions()
        handing = nullcontext() if on_disk and session.at == WHOLE else session.files().of(draw.version, session.at)
        with handing as weights:
            if weights is not None:
                weights = replace(weights, directory=weights.directory.absolute())
            paths = {part.name: (folder / f"{part.name}.parquet").absolute() for part in parts}
            how = (draw, session.at, weights, session.trained_policy() is not None)
            jobs = {part.name: SamplePart(paths[part.name], part, *how) for part in parts}
            queue = self._opened(session, self._samplers)
            for name, done in queue.run(jobs, lambda: session.stop.requested, bar):
                _require_seen(paths[name], done, ROLLOUTS)
                yield paths[name], done.rows

    def grade(
        self, session: Session, grading: Grading, parts: Sequence[ToGrade], old: Collection[Path], bar: Doing
    ) -> Iterator[Path]:
        """Have parts graded.

        Args:
            session: The run.
            grading: How.
            parts: Which.
            old: Files that go once the first part is graded. That one is then graded before the others are begun, under
                another name, so that nothing goes that a worker has just written.
            bar: Told how the workers are doing.

        Yields:
            The file of each part's rewards, as they are finished; fewer if a stop is asked for.

        Raises:
            EngineError, MissingError: As of `sample`.
        """
        first = parts[:1] if old else []
        for part in first:
            staged = part.path.with_name(f".rsgrpo-{secrets.token_hex(4)}.tmp")
            try:
                for _ in self._graded(session, grading, {staged.absolute(): part}, bar):
                    for path in old:
                        discard(path, REWARDS)
                    staged.replace(part.path)
                    yield part.path
            finally:
                staged.unlink(missing_ok=True)
        yield from self._graded(session, grading, {part.path.absolute(): part for part in parts[len(first) :]}, bar)

    def _graded(self, session: Session, grading: Grading, parts: Mapping[Path, ToGrade], bar: Doing) -> Iterator[Path]:
        """Have parts graded into files."""
        assert self._graders is not None  # whoever asks has looked
        rules = replace(grading.rules, problems=grading.rules.problems.absolute())
        jobs, paths = {}, {}
        for path, part in parts.items():
            whole = replace(part, source=part.source.absolute(), path=part.path.absolute())
            jobs[part.path.stem] = GradePart(whole, path, rules, self._graders.verifiers)
            paths[part.path.stem] = path
        queue = self._opened(session, self._graders.workers)
        for name, done in queue.run(jobs, lambda: session.stop.requested, bar):
            _require_seen(paths[name], done, REWARDS)
            yield paths[name]

    def rest(self) -> None:
        """Let the trainer have the GPUs."""
        for queue in self._queues.values():
            queue.rest()

    def _opened(self, session: Session, workers: Workers) -> Queue:
        if id(workers) not in self._queues:
            opening = opening_of(session, samples=workers is self._samplers)
            self._queues[id(workers)] = Queue(workers, opening, self._part_timeout, self._say)
        return self._queues[id(workers)]


def opening_of(session: Session, *, samples: bool = True) -> Opening:
    """What a worker needs to open the run of a session.

    Args:
        session: It.
        samples: Whether the worker is to sample, and must round as this process would.
    """
    threads = 1
    if samples:
        import torch

        threads = torch.get_num_threads()
    run = replace(session.run, path=session.run.path.absolute(), made_since=None)
    return Opening(
        run,
        session.config,
        config_id(run),
        Path.cwd(),
        package_versions(),
        threads,
        beside_trainer=session.trained_policy() is not None,
        trust=session.trust,
        asked=session.asked,
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


def on_cluster(address: str, count: int, config: RunConfig, engine: str, ranks: int = 0) -> tuple[Workers, Graders]:
    """Workers of a Ray cluster that sample, which are actors, and those that grade.

    Where the samplers have GPUs, tasks grade on the CPUs beside them. Where they have all the CPUs that they can get,
    they rest while others would grade, and do it themselves.

    Args:
        address: As of `ray_actors.connect`.
        count: As of `ray_actors.require_room`.
        config: The run's.
        engine: Its engine.
        ranks: As of `ray_actors.require_room`.

    Raises:
        DependencyError, EngineError, UsageError: As of these.
    """
    from rsgrpo_cli.pipeline.spread import ray_actors

    ray_actors.connect(address)
    found = ray_actors.nodes()
    gpus = gpus_each(config, engine, there=any(node.get("GPU") for node in found))
    samplers = ray_actors.RayActors(ray_actors.require_room(found, count, gpus, ranks), gpus)
    left = ray_actors.left_beside(ray_actors.left_by_ranks(found, ranks, gpus > 0), gpus)
    return samplers, Graders(samplers, 1) if not gpus or not any(left) else _tasks(left, config)


def graders_on_cluster(address: str, config: RunConfig) -> Graders:
    """Tasks of a Ray cluster that grade, where nothing is sampled.

    Args:
        address: As of `ray_actors.connect`.
        config: The run's.

    Raises:
        DependencyError, EngineError, UsageError: If there is none, or no CPU in it.
    """
    from rsgrpo_cli.pipeline.spread import ray_actors

    ray_actors.connect(address)
    found = ray_actors.nodes()
    ray_actors.require_room(found, 0, 0)
    return _tasks([int(node.get("CPU", 0)) for node in found], config)


def ranks_on_cluster(address: str, session: Session) -> Callable[[], Launched]:
    """What starts the ranks of a session's updates on a Ray cluster.

    Args:
        address: As of `ray_actors.connect`.
        session: The run.

    Raises:
        DependencyError, EngineError, UsageError: If there is none, or it has no room for them.
    """
    from rsgrpo_cli.pipeline.ranks.together import PLACE
    from rsgrpo_cli.pipeline.spread import ray_actors

    ray_actors.connect(address)
    found, ranks = ray_actors.nodes(), session.config.update.ranks
    gpus = session.config.model.device != "cpu" and any(node.get("GPU") for node in found)
    ray_actors.left_by_ranks(found, ranks, gpus)

    def start() -> Launched:
        from rsgrpo_cli.pipeline.spread.ray_ranks import RayRanks

        return RayRanks(ranks, session.run.path / f"{PLACE}.log", lambda: session.stop.requested, gpus=gpus)

    return start


def _tasks(cpus: Sequence[int], config: RunConfig) -> Graders:
    """Tasks for nodes with so many CPUs: a CPU for every verifier process, all of them on one node."""
    from rsgrpo_cli.pipeline.spread.ray_actors import RayTasks

    verifiers = min(config.score.workers, max(cpus))
    return Graders(RayTasks(sum(count // verifiers for count in cpus), verifiers), verifiers)


def _require_seen(path: Path, done: Done, kind: ArtifactSchema) -> None:
    """Make sure that what a worker has written is what is here under that name.

    Raises:
        MissingError: If it is not here: the file system is not shared.
        EngineError: If something else is.
    """
    until = time.monotonic() + SEEN_SECONDS
    while not path.is_file():
        if time.monotonic() > until:
            raise MissingError(
                f"the worker on {done.worker} wrote {path}, and it is not visible here",
                SHARE_THE_RUN,
            )
        time.sleep(0.2)
    found = read_lineage(path, kind).id
    if found != done.id:
        raise EngineError(
            f"{path} is not what the worker on {done.worker} wrote: its id is {found}, not {done.id}",
            "another command may be at work on this run; run the same command again once it has ended",
        )
