"""An update by several ranks, from the command's side: say what to do, wait, and take over what they made."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pyarrow as pa

from rsgrpo_cli import disk
from rsgrpo_cli.artifacts import Lineage, package_versions, write_table
from rsgrpo_cli.config import RunConfig, UpdateConfig
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.pipeline import updating
from rsgrpo_cli.pipeline.gpu_memory import free_memory
from rsgrpo_cli.pipeline.keeping import checkpoint_made
from rsgrpo_cli.pipeline.ranks import rank_order, torchrun
from rsgrpo_cli.pipeline.ranks.rank import check_gpus
from rsgrpo_cli.pipeline.ranks.rank_order import Order
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.run.checkpoint_checks import checking
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import POLICY_LOGPROBS, UPDATE_METRICS
from rsgrpo_cli.wording import counted

PLACE = "ranks"
"""What the directory that the ranks work in is named after, and their log."""

Kept = tuple[Path, Lineage, pa.Table | None]
"""Where the log-probabilities before an update's first optimizer step are kept, their lineage, and their table where an
interrupted update in several steps has left it."""


def check(config: RunConfig, *, here: bool = True, flag: str = "--ranks") -> None:
    """Find out what cannot be done with several ranks, before anything is sampled or loaded.

    Args:
        config: The run's, with the update's settings.
        here: Whether this machine has them.
        flag: What their number was given with.

    Raises:
        UsageError: If there are more ranks than completions or GPUs, or a setting is for one process only.
    """
    cfg = config.update
    check_number(cfg.ranks, config.rollout.prompts_per_step * config.rollout.group_size, flag)
    single = {"model.compile=false": config.model.compile, "update.optimizer=adamw": cfg.optimizer != "adamw"}
    for other in (name for name, used in single.items() if used):
        setting, _, value = other.partition("=")
        message = f"{cfg.ranks} ranks need {setting} to be {value}"
        raise UsageError(message, f"--set {other}, or leave {flag} out")
    if here and torchrun.joined() is None and config.model.device != "cpu":
        import torch

        if torch.cuda.is_available():
            check_gpus(cfg.ranks, torch.cuda.device_count())


def check_number(ranks: int, completions: int, flag: str = "--ranks") -> None:
    """Make sure that there is something to do for every rank.

    Raises:
        UsageError: If there is not.
    """
    if ranks > completions:
        few = f"{counted(completions, 'completion')}"
        raise UsageError(f"{ranks} ranks are too many for the {few} of a step", f"{flag} {max(completions, 1)}")


def crowded(ranks: int, device: str) -> str:
    """What is wrong with more ranks than CPUs where ranks compute on these; empty where nothing is."""
    import torch

    cpus = os.cpu_count() or 1
    if ranks <= cpus or torchrun.joined() is not None or (device != "cpu" and torch.cuda.is_available()):
        return ""
    return f"{ranks} ranks share {counted(cpus, 'CPU')} and wait for each other: --ranks {cpus} is faster"


def update(
    session: Session,
    step: Step,
    cfg: UpdateConfig,
    lineage: Lineage,
    rollouts: pa.Table,
    advantages: pa.Table,
    kept: Kept,
) -> pa.Table:
    """Make the next policy's checkpoint and the update's metrics, which appear one after the other.

    Args:
        session: The run; a policy that it has in memory is let go first.
        step: The step that the update belongs to.
        cfg: The update's settings.
        lineage: Of what it makes.
        rollouts: What it learns from.
        advantages: Their advantages.
        kept: Where its log-probabilities go.

    Returns:
        Table of `schemas.UPDATE_METRICS`.

    Raises:
        RsgrpoError: The first reason that a rank gives, or that one has died; nothing is left behind then.
    """
    check(session.config, here=session.launcher is None)
    run, place = session.run, session.run.path / PLACE
    start = _start(session, step.number)
    session.drop_policy()
    free_memory()
    with disk.workshop(place) as folder:
        tables = {rank_order.ROLLOUTS: rollouts, rank_order.ADVANTAGES: advantages}
        for name, table in (tables | {rank_order.LOGPROBS: kept[2]}).items():
            if table is not None:
                rank_order.write_table(table, folder, name)

        def save(partial: Path) -> None:
            _order(session, step, cfg, start, partial).write(folder)
            _work(session, folder.absolute(), cfg.ranks)

        made = run.checkpoint(step.number + 1)
        with checkpoint_made(save, f"updating on {cfg.ranks} ranks", made, lineage):
            metrics = _take_over(folder, kept)
            write_table(run.update_metrics(step.number), metrics, UPDATE_METRICS, lineage)
    disk.clear_leftovers(place, rank_order.FILES)
    return metrics


def _start(session: Session, version: int) -> Path | None:
    """The checkpoint that the ranks start from, None for the base model.

    Raises:
        MissingError: If there is none: they do not rebuild policies.
    """
    if version == 0:
        return None
    if version not in session.run.versions():
        hint = "make it with one process, which rebuilds the policy: --ranks 1"
        raise MissingError(f"policy {version} has no checkpoint (any more), which several ranks start from", hint)
    with checking(session.run, version, trainer=True):
        return session.run.checkpoint(version)


def _order(session: Session, step: Step, cfg: UpdateConfig, start: Path | None, made: Path) -> Order:
    return Order(
        config=session.config.model_copy(update={"update": cfg}).model_dump(mode="json"),
        base=str(session.base.absolute()),
        checkpoint=str(start.absolute()) if start else None,
        made=str(made.absolute()),
        version=step.number,
        sampling=updating.sampling_of(step),
        versions=package_versions(),
    )


def _work(session: Session, folder: Path, ranks: int) -> None:
    """Have an update made by the ranks that torchrun started, or by our own, which stay until the session ends.

    Those that Ray places are our own as well.
    """
    if (joined := torchrun.joined()) is not None:
        joined.work(folder)
        return
    from rsgrpo_cli.pipeline.ranks.launcher import Launched

    log = session.run.path / f"{PLACE}.log"
    if session.launched is None:
        here = partial(Launched, ranks, log, lambda: session.stop.requested)
        session.launched = (session.launcher or here)()
    try:
        session.launched.work(folder)
    except BaseException:
        session.launched.close(at_once=True)
        session.launched = None
        raise


def _take_over(folder: Path, kept: Kept) -> pa.Table:
    """The metrics that the ranks have left; what else they made goes where it is kept."""
    if kept[2] is None:
        said = rank_order.read_table(folder, rank_order.LOGPROBS)
        assert said is not None  # the first rank wrote it before the metrics
        write_table(kept[0], said, POLICY_LOGPROBS, kept[1])
    metrics = rank_order.read_table(folder, rank_order.METRICS)
    assert metrics is not None  # the first rank wrote it before it said that it was done
    return metrics
