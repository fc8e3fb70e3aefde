"""The functions that decide a run, a reward and a user's estimator: compared with those that the run was made with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from rsgrpo_cli.artifacts import Lineage, read_lineage
from rsgrpo_cli.errors import StaleError
from rsgrpo_cli.pipeline.base_model import ACCEPT, known_from_artifacts
from rsgrpo_cli.rewards.rules import can_be_compared, same_rules
from rsgrpo_cli.run.identity import Function, Identity, read_identity, write_identity
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import GRADED, evaluation_parts, evaluations
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import REWARDS

if TYPE_CHECKING:
    from rsgrpo_cli.pipeline.session import Session


def check_reward(
    session: Session, name: str, identity: str, *, before: int | None = None, benchmark: str | None = None
) -> None:
    """Compare a reward with the one that the run's other rewards were made with.

    Only rewards of the same name are compared, and no step that a fork shares with its source: a fork may have others.

    Args:
        session: The run.
        name: The reward, as in the settings.
        identity: What it is now, of the tasks that are graded.
        before: Compare with the nearest step before this one; with the newest unless given.
        benchmark: Compare with the run's evaluations on this benchmark, too.

    Raises:
        StaleError: If it has changed and that is not to be accepted.
    """
    run = session.run
    if f"reward {identity}" in session.checked:
        return
    others = chain(_rewards_of_steps(run, before), _rewards_of_evaluations(run, benchmark))
    of_it = (rewards for rewards in others if rewards.config.get("reward") == name)
    made = next((one for one in of_it if can_be_compared(str(one.config.get("identity")), identity)), None)
    _compare_function(session, "reward", name, identity, made)


def check_estimator(session: Session, name: str, identity: str, *, before: int | None = None) -> None:
    """Compare a user's estimator with the one that the run's other advantages were made with, as `check_reward` does.

    Raises:
        StaleError: If it has changed and that is not to be accepted.
    """
    if f"estimator {identity}" not in session.checked:
        _compare_function(session, "estimator", name, identity, _made_with(session.run, name, before))


def require_same_estimator(run: RunDir, name: str, identity: str) -> None:
    """Refuse to show what a user's estimator does where it is not the one that a run was made with.

    Raises:
        StaleError: If it has changed since.
    """
    made = _made_with(run, name, None)
    was = str(made.config.get("identity")) if made else identity
    if not same_rules(was, identity):
        raise StaleError(_other_function(run, "estimator", name, was, identity), "put the old one back")


def _made_with(run: RunDir, name: str, before: int | None) -> Lineage | None:
    """The newest advantages that were made with a user's estimator."""
    others = _advantages_of_steps(run, before)
    return next((advantages for advantages in others if advantages.config.get("estimator") == name), None)


def _other_function(run: RunDir, kind: Function, name: str, was: str, identity: str) -> str:
    return f"the {kind} {name} is not the one that run {run.name} was made with: {was}, now {identity}"


def _compare_function(session: Session, kind: Function, name: str, identity: str, made: Lineage | None) -> None:
    run = session.run
    recorded = read_identity(run.path)
    was = str(made.config.get("identity")) if made else identity
    if not same_rules(was, identity) and not _accepted(recorded, kind, identity):
        if not session.accept_changes:
            raise StaleError(
                _other_function(run, kind, name, was, identity),
                f"put the old one back; branch off with the new one: rsgrpo fork NEW --run {run.path}; to continue "
                f"on purpose: {ACCEPT}",
            )
        changes = [{"name": f"{kind} {name}", "was": was, "is": identity}]
        run.record({"stage": "accept-changes", "changes": changes})
        kept = recorded or Identity({"model": session.config.model.name, **known_from_artifacts(run)})
        write_identity(run.path, kept.with_function(kind, identity))
    session.checked.add(f"{kind} {identity}")


def _accepted(recorded: Identity | None, kind: Function, identity: str) -> bool:
    """Whether a function was accepted as it is now."""
    names = recorded.accepted_functions(kind) if recorded else ()
    return any(can_be_compared(name, identity) and same_rules(name, identity) for name in names)


def keeps_its_rewards(run: RunDir, step: int, wanted: Lineage) -> bool:
    """Whether a step was scored and used before a changed reward was accepted: it stays as it is."""
    found = Step(run, step)
    if not found.rewards or not found.advantages:
        return False
    made = found.rewards.first
    inputs = {**made.inputs, "rollouts": str(found.rewards.made_from("rollouts"))}
    return _made_before_accepted(run, "reward", replace(made, inputs=inputs), wanted)


def keeps_its_advantages(run: RunDir, step: int, wanted: Lineage) -> bool:
    """Whether a step's advantages were made and used before a changed estimator was accepted: they stay as they are."""
    found = Step(run, step)
    used = bool(found.advantages and found.updates)
    return used and _made_before_accepted(run, "estimator", found.advantages.first, wanted)


def _made_before_accepted(run: RunDir, kind: Function, made: Lineage, wanted: Lineage) -> bool:
    identity = read_identity(run.path)
    if not _accepted(identity, kind, str(wanted.config.get("identity"))):
        return False
    same = dict(made.config) | {"identity": wanted.config["identity"]} == dict(wanted.config)
    return same and dict(made.inputs) == dict(wanted.inputs)


def _first_own_step(run: RunDir) -> int:
    origin = run.origin()
    return origin["step"] if origin else 0


def _own_steps(run: RunDir, before: int | None) -> Iterator[Step]:
    """The steps that the run does not share with the one that it was forked from, the newest first."""
    first = _first_own_step(run)
    return (Step(run, step) for step in reversed(run.steps()) if step >= first and (before is None or step < before))


def _rewards_of_steps(run: RunDir, before: int | None) -> Iterator[Lineage]:
    """The rewards of the run's own steps that something was made from, the newest first."""
    for step in _own_steps(run, before):
        if step.rewards and step.advantages:
            yield step.rewards.first


def _advantages_of_steps(run: RunDir, before: int | None) -> Iterator[Lineage]:
    """The advantages of the run's own steps that a policy was made from, the newest first."""
    for step in _own_steps(run, before):
        if step.advantages and step.updates:
            yield step.advantages.first


def _rewards_of_evaluations(run: RunDir, benchmark: str | None) -> Iterator[Lineage]:
    first = _first_own_step(run) if run.origin() else -1
    own = [(version, name) for version, name in evaluations(run) if name == benchmark and version > first]
    for version, name in reversed(own):
        for path in evaluation_parts(run.evaluation(version, name) / GRADED)[:1]:
            yield read_lineage(path, REWARDS)
