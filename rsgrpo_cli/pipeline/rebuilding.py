"""A policy without a checkpoint, rebuilt: the updates since the nearest earlier one are made again, in memory.

What these updates learned from is on disk, and their lineage says how they were made. On one CPU the result is the same
bit for bit. This is checked: every update must leave the metrics that it left the first time. Nothing is written into
the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rsgrpo_cli import activity, disk
from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.config import RunConfig, UpdateConfig
from rsgrpo_cli.console import Output, duration
from rsgrpo_cli.errors import MissingError, StaleError, UsageError
from rsgrpo_cli.pipeline import updating
from rsgrpo_cli.pipeline.base_model import open_base
from rsgrpo_cli.run import manifests, policies
from rsgrpo_cli.run.checkpoint_checks import check_checkpoint, checking
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import UPDATE_METRICS
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    from rsgrpo_cli.policy.policy import Policy

ACCEPT = "--accept-inexact"


@dataclass(frozen=True, slots=True)
class Route:
    """How a policy can be rebuilt.

    Args:
        run: The run.
        version: The policy.
        start: The policy to begin with: the nearest earlier checkpoint, or 0, the base model.
        seconds: What the updates took the first time; None where the log does not say.
    """

    run: RunDir
    version: int
    start: int
    seconds: float | None

    @property
    def cost(self) -> str:
        """What is done and how long it takes, in words."""
        count = self.version - self.start
        origin = f"checkpoint {self.start}" if self.start else "the base model"
        time = "" if self.seconds is None else f", about {duration(self.seconds)}"
        return (
            f"policy {self.version} of run {self.run.name} has no checkpoint: rebuilding it from {origin} "
            f"with {counted(count, 'update')}{time}"
        )


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A policy that was rebuilt.

    Args:
        policy: Opened for training.
        inexact: The first update that came to other numbers than the first time, as a sentence; None if none did.
    """

    policy: Policy
    inexact: str | None


def find_route(run: RunDir, version: int) -> Route:
    """How a policy can be rebuilt from what is on disk.

    Raises:
        MissingError: Naming the first step of which something is missing.
        StaleError: If what a step was made from has been replaced since.
    """
    policies.require_known(run, version)
    start = max((kept for kept in run.versions() if kept <= version), default=0)
    try:
        for step in range(start, version):
            policies.require_whole(run, version, step)
    except (MissingError, StaleError) as error:
        error.hint = "; ".join(part for part in (policies.told(run), error.hint) if part)
        raise
    times = {event["step"]: event["seconds"] for event in run.recorded() if _is_update(event)}
    known = [times[step] for step in range(start, version) if step in times]
    seconds = sum(known) / len(known) * (version - start) if known else None
    return Route(run, version, start, seconds)


def _is_update(event: dict[str, Any]) -> bool:
    return event["stage"] == "update" and isinstance(event.get("step"), int) and "tag" not in event


def rebuild(
    route: Route, config: RunConfig, base: Path, out: Output, *, train: bool = False, accept_inexact: bool = False
) -> Rebuilt:
    """Rebuild a policy in memory; what it costs is said first.

    Args:
        route: From `find_route`.
        config: The run's.
        base: Directory of the base model.
        out: Where messages go.
        train: Whether to keep the optimizer's state.
        accept_inexact: Take a policy that did not come out bit for bit.

    Raises:
        StaleError: If an update came to other numbers than the first time, and that is not accepted.
        UsageError: If an update was made with settings that this version or this run does not have.
    """
    from rsgrpo_cli.policy.checkpoints import open_policy

    out.info(route.cost)
    run, steps = route.run, range(route.start, route.version)
    what = f"policy {route.version} of run {run.name}"
    made = {step: _recorded(config, Step(run, step)) for step in steps}
    kl = max(cfg.kl_coef for cfg, _ in made.values())
    opening = config.model_copy(update={"update": made[route.start][0].model_copy(update={"kl_coef": kl})})
    checkpoint = run.checkpoint(route.start) if route.start else None
    with checking(run, route.start, trainer=True) if checkpoint else nullcontext():
        policy, inexact = open_policy(opening, base, checkpoint, version=route.start, train=True), None
    with activity.doing(f"rebuilding policy {route.version}", len(steps), "updates") as bar:
        for step in steps:
            inexact = inexact or _replay(Step(run, step), policy, *made[step], default_seed=config.seed)
            if inexact and not accept_inexact:
                raise StaleError(f"{what} cannot be rebuilt bit for bit: {inexact}", _WHY)
            bar.advance()
    if inexact:
        out.warn(f"{what} was not rebuilt bit for bit: {inexact}")
    if not train:
        policy.optimizer = policy.reference = None
        policy.lm.causal.requires_grad_(False)
    return Rebuilt(policy, inexact)


_WHY = (
    "another device, number of threads (OMP_NUM_THREADS) or version of torch rounds differently; "
    f"eval, fork and export take it as it is with {ACCEPT}, and record that"
)


def _recorded(config: RunConfig, step: Step) -> tuple[UpdateConfig, dict[str, Any]]:
    """The settings that an update was made with, and all of what it recorded as such.

    Raises:
        UsageError: If they are not this version's, or the policy was computed in another way than this run does.
    """
    recorded = dict(step.updates.first.config)
    if recorded.get("model") != config.model.decisive():
        raise UsageError(
            f"the update of step {step.number} was made with model settings that run {step.run.name} does not have",
            "rebuild the policy in the run that it comes from",
        )
    known = {*UpdateConfig.model_fields}
    others = {*recorded} - known - {"model", "zero_variance", "seed", *UpdateConfig.FIXED}
    if others:
        raise UsageError(
            f"the update of step {step.number} was made with {', '.join(sorted(others))}, which this version lacks",
            "use the version of rsgrpo that made it",
        )
    own = {name: value for name, value in recorded.items() if name in known}
    return UpdateConfig.model_validate(config.update.model_dump(mode="json") | UpdateConfig.left_out() | own), recorded


def _replay(
    step: Step, policy: Policy, cfg: UpdateConfig, recorded: dict[str, Any], *, default_seed: int
) -> str | None:
    """Make an update again; how it differs from the first time, None if it does not."""
    rollouts, advantages, _ = updating.counted(step, recorded.get("zero_variance", "keep"))
    assert policy.optimizer is not None
    for group in policy.optimizer.param_groups:
        group["weight_decay"] = cfg.weight_decay
    cfg = updating.as_recorded(cfg, step)
    metrics = updating.change_policy(step, policy, cfg, rollouts, advantages, seed=recorded.get("seed", default_seed))
    return _difference(step, metrics)


def _difference(step: Step, metrics: pa.Table) -> str | None:
    """The first number of an update's metrics that is not what it was, as a sentence."""
    before, now = step.updates.table().to_pylist(), metrics.to_pylist()
    for old, new in zip(before, now, strict=True):
        for name, value in new.items():
            if name in old and repr(old[name]) != repr(value):
                return f"the update of step {step.number} has {name} {value!r} now, and had {old[name]!r}"
    return None


@contextmanager
def pulled_back(
    run: RunDir, version: int, checkpoint: Path, at: float, place: Path, *, accept_changes: bool
) -> Iterator[Path]:
    """A checkpoint's weights moved towards the base model, as a checkpoint beside `place` for the block.

    Args:
        run: The run.
        version: The policy.
        checkpoint: Its checkpoint.
        at: Where on the line from the base model (0) to the policy (1); the checkpoint itself at 1.
        place: Where the caller is going to write.
        accept_changes: Go on although the base model has changed.
    """
    if at == WHOLE:
        yield checkpoint
        return
    from rsgrpo_cli.policy.checkpoints import open_policy, save_with_companions
    from rsgrpo_cli.policy.interpolation import pull_back

    config = run.config()
    base, _ = open_base(run, config.model.name, accept=accept_changes, record=False)
    if checkpoint == run.checkpoint(version):
        check_checkpoint(run, version, trainer=False)
    policy = open_policy(config, base, checkpoint, version=version, train=False)
    pull_back(policy, base, config.model, at)
    with disk.explain_full_disk(place), disk.workshop(place) as folder:
        save_with_companions(policy, folder)
        manifests.seal(folder, read_lineage(run.update_metrics(version - 1), UPDATE_METRICS))
        names = [*manifests.files_of(folder / manifests.NAME), manifests.NAME]
        yield folder
    disk.clear_leftovers(place, names)


@contextmanager
def checkpoint_of(
    run: RunDir, version: int, place: Path, out: Output, *, accept_changes: bool, accept_inexact: bool
) -> Iterator[tuple[Path, str | None]]:
    """A policy's checkpoint for the block: the run's own, or one that is rebuilt beside `place` and removed again.

    Args:
        run: The run.
        version: The policy; not 0.
        place: Where the caller is going to write.
        out: Where messages go.
        accept_changes: Go on although the base model has changed.
        accept_inexact: Take a policy that did not come out bit for bit.

    Yields:
        Its directory, and how it is inexact, as a sentence, if it is.

    Raises:
        MissingError, StaleError, UsageError: As `find_route` and `rebuild`.
    """
    if version in run.versions():
        yield run.checkpoint(version), None
        return
    from rsgrpo_cli.policy.checkpoints import save_checkpoint

    config, route = run.config(), find_route(run, version)
    base, _ = open_base(run, config.model.name, accept=accept_changes, record=False)
    rebuilt = rebuild(route, config, base, out, train=True, accept_inexact=accept_inexact)
    with disk.explain_full_disk(place), disk.workshop(place) as folder:
        save_checkpoint(rebuilt.policy, folder)
        manifests.seal(folder, read_lineage(run.update_metrics(version - 1), UPDATE_METRICS))
        names = [*manifests.files_of(folder / manifests.NAME), manifests.NAME]
        yield folder, rebuilt.inexact
    disk.clear_leftovers(place, names)
