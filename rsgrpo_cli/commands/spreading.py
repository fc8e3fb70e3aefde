"""The flags that have a run's parts made by several workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.errors import UsageError

if TYPE_CHECKING:
    from rsgrpo_cli.pipeline.session import Session
    from rsgrpo_cli.pipeline.spread.queue import Workers
    from rsgrpo_cli.pipeline.spread.spread import Graders

PANEL = "Workers"
PART_TIMEOUT = 6 * 3600.0

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|HOST:PORT",
        rich_help_panel=PANEL,
        help="Use a Ray cluster to sample, to grade, and for the ranks of an update if there are several: the one that "
        "runs on this machine or RAY_ADDRESS names, or the one whose head is at HOST:PORT.",
    ),
]
DataParallelOption = Annotated[
    int,
    typer.Option(
        "--data-parallel",
        metavar="N",
        min=0,
        rich_help_panel=PANEL,
        help="Sample with N workers side by side: processes of this machine, on a GPU each where there are any; with "
        "--ray, actors of the cluster. 0 samples in this process; with --ray, with as many as there is room for.",
    ),
]
PartTimeoutOption = Annotated[
    float,
    typer.Option(
        "--part-timeout",
        metavar="SECONDS",
        min=0.0,
        rich_help_panel=PANEL,
        help="Kill a worker that takes longer for one part, loading the model included, and give the part to another; "
        "0 waits for ever.",
    ),
]


@dataclass(frozen=True, slots=True)
class Spreading:
    """What the flags ask for.

    Args:
        ray: The cluster, None for none.
        count: How many workers.
        part_timeout: Seconds that a part may take.
        samples: Whether the command samples.
        grades: Whether it grades.
        updates: Whether it updates.
    """

    ray: str | None
    count: int
    part_timeout: float
    samples: bool = True
    grades: bool = True
    updates: bool = False


@contextmanager
def spread(session: Session, asked: Spreading | None) -> Iterator[None]:
    """Give a session the workers that were asked for; what can be wrong with that comes out now.

    Raises:
        DependencyError, EngineError, UsageError: If there are none to be had.
    """
    if asked is None or (asked.ray is None and asked.count == 0):
        yield
        return
    from rsgrpo_cli.pipeline.spread.spread import Spread

    with ExitStack() as opened:
        if asked.ray is not None and asked.updates:
            _place_ranks(session, asked.ray, opened, needed=not asked.samples)
        if asked.samples or asked.grades:
            samplers, graders = _workers(session, asked)
            session.spread = opened.enter_context(Spread(samplers, asked.part_timeout, session.out.warn, graders))
        opened.callback(session.let_ranks_go)  # before the cluster is left
        yield


def _place_ranks(session: Session, address: str, opened: ExitStack, *, needed: bool) -> None:
    """Have the ranks of updates placed by Ray, if there are several.

    Raises:
        UsageError: If one process makes the updates, and that needs no Ray.
    """
    from rsgrpo_cli.pipeline.spread import ray_actors
    from rsgrpo_cli.pipeline.spread.spread import ranks_on_cluster

    if session.config.update.ranks > 1:
        session.launcher = ranks_on_cluster(address, session)
        opened.callback(ray_actors.leave)
    elif needed:
        raise UsageError("--ray places the ranks of an update, and there is one", "--ranks N, or leave --ray out")


def _workers(session: Session, asked: Spreading) -> tuple[Workers | None, Graders | None]:
    """Those that sample, and those that grade."""
    from rsgrpo_cli.pipeline.spread.spread import graders_on_cluster, on_cluster, on_this_machine

    if asked.ray is not None and not asked.samples:
        return None, graders_on_cluster(asked.ray, session.config)
    engine = session.engine_name(session.config.rollout.engine)
    if asked.ray is not None:
        ranks = session.config.update.ranks if session.launcher is not None else 0
        return on_cluster(asked.ray, asked.count, session.config, engine, ranks)
    return on_this_machine(asked.count, session.config, engine), None
