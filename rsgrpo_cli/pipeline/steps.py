"""The stages of one training step: read what a stage needs, run it unless it is done, write what it made."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import Lineage, count_rows, hash_json, read_json, read_lineage, read_table, write_table
from rsgrpo_cli.config import AdvantageConfig, RolloutConfig, RsGrpoConfig, ScoreConfig, UpdateConfig
from rsgrpo_cli.core.history import History
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.pipeline import earlier_steps, updating
from rsgrpo_cli.pipeline.base_model import accepted
from rsgrpo_cli.pipeline.grading import grade_step, grading_of, rewards_state
from rsgrpo_cli.pipeline.identity import (
    check_estimator,
    check_reward,
    keeps_its_advantages,
    keeps_its_rewards,
)
from rsgrpo_cli.pipeline.keeping import new_checkpoint
from rsgrpo_cli.pipeline.own_estimator import completed
from rsgrpo_cli.pipeline.parts import Draw, sample_parts
from rsgrpo_cli.pipeline.resampling import prompts_to_draw, wanted_parts
from rsgrpo_cli.pipeline.rollout_folder import finish_round, folder_state, rounds, start_round
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import Outcome, run_stage
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.run_commands import command
from rsgrpo_cli.run.staleness import Freshness, evaluations_of, freshness, require_fresh
from rsgrpo_cli.run.step_dir import Step, rewards_of
from rsgrpo_cli.schemas import ADVANTAGES, POLICY_LOGPROBS, ROLLOUTS, UPDATE_METRICS
from rsgrpo_cli.stages import advantage as advantage_stage
from rsgrpo_cli.stages import rollout as rollout_stage
from rsgrpo_cli.stages import score as score_stage
from rsgrpo_cli.wording import counted, verb

if TYPE_CHECKING:
    from rsgrpo_cli.policy.policy import Policy


# -- rollout --------------------------------------------------------------------------------------------------------


def rollout(session: Session, step: int, cfg: RolloutConfig, *, tag: str | None = None, force: bool = False) -> Outcome:
    """A step's completions, in part files, with a manifest once all are there.

    With `zero_variance = "resample"` and rewards, that includes the further parts that these call for.
    """
    run, engine = session.run, session.sampling_settings(cfg.engine)
    folder = run.rollouts(step, tag)
    lineage = Lineage(
        "rollout",
        cfg.decisive() | engine | {"seed": session.config.seed, "step": step},
        {"prompts": session.prompts_id, "policy": session.policy_id(step)},
        policy_version=step,
        outputs=accepted(session.run),
    )
    alone = cfg.model_copy(update={"zero_variance": "keep"}) if tag or force else cfg  # whatever rewards there are
    parts = wanted_parts(session, step, alone, lineage)

    def work() -> dict[str, Any]:
        before = start_round(folder, lineage, parts, force=force)
        states = {part.name: freshness(folder / f"{part.name}.parquet", ROLLOUTS, lineage) for part in parts}
        missing = [part for part in parts if states[part.name] != Freshness.CURRENT]
        if missing:
            _sample(session, step, cfg, folder, missing, lineage)
        return finish_round(folder, parts, before)

    return run_stage(
        session,
        "rollout",
        folder,
        folder_state(folder, lineage, parts),
        work,
        dependents=[] if tag else [rewards_of(run, step).place],
        force=force,
        done=lambda: {"completions": read_json(folder / manifests.NAME, rows=int)["rows"]},
        where=_where(step, tag)
        | _several(session.spread.samplers if session.spread else 1)
        | _round(sum(len(part.rows) for part in parts) > cfg.prompts_per_step),
    )


def _several(workers: int) -> dict[str, int]:
    """What the log says of a stage that several workers or ranks made."""
    return {"workers": workers} if workers > 1 else {}


def _sample(
    session: Session, step: int, cfg: RolloutConfig, folder: Path, parts: list[rollout_stage.Part], lineage: Lineage
) -> None:
    draw = Draw(
        session.run.prompts,
        cfg.engine,
        Sampling(cfg.temperature, 1.0, cfg.max_tokens),
        lineage,
        seed_parts=(session.config.seed, step),
        group_prefix=f"{step:06d}:",
    )
    title = (f"rollout of step {step}", f"the rollouts of step {step}")
    for _ in sample_parts(session, folder, draw, parts, title=title):
        pass


# -- score ----------------------------------------------------------------------------------------------------------


def score(session: Session, step: int, cfg: ScoreConfig, *, tag: str | None = None, force: bool = False) -> Outcome:
    """A step's rewards, in the parts of its rollouts. If rollouts were added since, existing rewards are kept."""
    run, found = session.run, Step(session.run, step)
    rollouts_id = found.complete_rollouts()
    require_fresh(run, step, "rollouts")
    grading = grading_of(session, found, cfg)
    if not tag:
        check_reward(session, cfg.reward, grading.identity, before=step)
    made = rewards_of(run, step, tag)
    state = rewards_state(found, made, grading, rollouts_id)
    if not tag and state == Freshness.OTHER_SETTINGS and keeps_its_rewards(run, step, grading.lineage(rollouts_id)):
        state = Freshness.CURRENT

    def work() -> dict[str, Any]:
        grade_step(session, found, run.rewards(step, tag), grading, force=force)
        rewards = rewards_of(run, step, tag).table(["reward_status"])
        return {"completions": len(rewards), "statuses": score_stage.count_statuses(rewards)} | to_draw()

    def to_draw() -> dict[str, Any]:
        count = 0 if tag else prompts_to_draw(session, step)
        return {"prompts_to_draw": count} if count else {}

    outcome = run_stage(
        session,
        "score",
        made.place,
        state,
        work,
        dependents=[] if tag else [run.advantages(step)],
        force=force,
        done=lambda: {"completions": made.rows} | to_draw(),
        where=_where(step, tag) | _round(len(rounds(found.manifest)) > 1),
    )
    return outcome if outcome.skipped else replace(outcome, path=run.rewards(step, tag))


# -- advantage ------------------------------------------------------------------------------------------------------


def advantage(
    session: Session, step: int, cfg: AdvantageConfig, *, tag: str | None = None, force: bool = False
) -> Outcome:
    """A step's advantages."""
    run, rewards = session.run, Step(session.run, step).rewards
    rewards_id = rewards.id
    require_fresh(run, step, "rewards")
    path, own = run.advantages(step, tag), session.own_estimator(cfg)
    cfg = completed(cfg, own)
    settings = cfg.decisive() | ({"identity": own.identity} if own else {})
    if isinstance(cfg, RsGrpoConfig) and cfg.schedule != "constant":
        settings["step"] = step  # what the schedule goes by, beside the rewards
    known = _known_before(session, step) if cfg.LOOKS_BACK else None
    inputs = {"rewards": rewards_id} | ({"history": known.id} if known else {})
    lineage = Lineage("advantage", settings, inputs, policy_version=step)
    if own and not tag:
        check_estimator(session, cfg.estimator, own.identity, before=step)
    state = freshness(path, ADVANTAGES, lineage)
    if own and not tag and state == Freshness.OTHER_SETTINGS and keeps_its_advantages(run, step, lineage):
        state = Freshness.CURRENT

    def work() -> dict[str, Any]:
        further = 0 if tag else prompts_to_draw(session, step)
        if further:
            more = command(run, "rollout", "--step", str(step))
            session.out.warn(f"step {step} is used without {further} further prompts that its rewards call for: {more}")
        ready = partial(own, settings=cfg.knobs()) if own else None
        read, history = rewards.table(advantage_stage.COLUMNS), known.history if known else None
        made, used = _made_advantages(read, step, cfg, ready, history)
        outputs = {name: repr(value) for name, value in used.items()}
        if known:
            earlier_steps.write(run, known)
        write_table(path, made, ADVANTAGES, replace(lineage, outputs=outputs))
        return advantage_stage.facts(made) | used

    return run_stage(
        session,
        "advantage",
        path,
        state,
        work,
        dependents=[] if tag else [run.update_metrics(step)],
        force=force,
        done=lambda: {"completions": count_rows(path)},
        where=_where(step, tag),
    )


def _made_advantages(
    rewards: pa.Table,
    step: int,
    cfg: AdvantageConfig,
    own: advantage_stage.OwnEstimator | None,
    history: History | None,
) -> tuple[pa.Table, dict[str, float]]:
    """A step's advantages, and the numbers that a schedule or the steps before came to in it."""
    at_step = advantage_stage.with_beta_of_step(cfg, step, rewards)
    made, used = advantage_stage.advantage_and_used(rewards, at_step, own, history)
    return made, used if at_step is cfg else used | {"beta": at_step.knobs()["beta"]}


def _known_before(session: Session, step: int) -> earlier_steps.Known:
    """What the steps before came to. What was compared once is not compared again: the run is locked."""
    checked = session.checked_history if session.checked_history <= step else -1
    known = earlier_steps.known_before(session.run, step, checked=checked)
    session.checked_history = step
    return known


# -- update ---------------------------------------------------------------------------------------------------------


def update(session: Session, step: int, cfg: UpdateConfig, *, force: bool = False, save: bool = True) -> Outcome:
    """Policy `step` becomes policy `step + 1`: its checkpoint, and what happened on the way.

    With `save` off there is no checkpoint, and the new policy lives in this process only. After a crash the update is
    done again from the newest checkpoint and the rollouts that are there. Several ranks always leave a checkpoint.
    """
    run, found = session.run, Step(session.run, step)
    at_step, bonus = updating.with_entropy_bonus(cfg, found)
    lineage = _update_lineage(session, found, cfg, bonus)
    require_fresh(run, step, "advantages")
    path, checkpoint = run.update_metrics(step), run.checkpoint(step + 1)
    state = freshness(path, UPDATE_METRICS, lineage)
    if state == Freshness.CURRENT and not manifests.is_complete(checkpoint):
        state = Freshness.MISSING  # the same policy again

    def work() -> dict[str, Any]:
        session.rest_sampler()
        policy = session.policy(step, train=True) if cfg.ranks == 1 else None
        rollouts, advantages, left_out = updating.counted(found, session.config.rollout.zero_variance)
        if policy is None:
            from rsgrpo_cli.pipeline.ranks import together

            kept = _kept_logprobs(session, found, at_step, lineage)
            metrics = together.update(session, found, at_step, lineage, rollouts, advantages, kept)
        else:
            metrics = _change_policy(session, found, policy, at_step, lineage, rollouts, advantages)
            with new_checkpoint(policy, checkpoint, lineage) if save else nullcontext():
                write_table(path, metrics, UPDATE_METRICS, lineage)
        facts = _update_facts(metrics, cfg) | {name: float(value) for name, value in bonus.items()}
        if dropped := facts.get("sampler_logprobs_dropped"):
            why = "the sampler's log-probabilities of them are not finite numbers"
            session.out.warn(
                f"step {step}: {counted(dropped, 'token')} {verb(dropped, 'is')} left out of the loss: {why}"
            )
        return facts | {"groups_dropped": facts["groups_dropped"] + left_out}

    dependents = [*([] if run.beside else [run.step(step + 1)]), *evaluations_of(run, step + 1)]
    return run_stage(
        session,
        "update",
        checkpoint,
        state,
        work,
        dependents=dependents,
        force=force,
        tagged=run.beside is not None,
        where=_where(step, run.beside.tag if run.beside else None) | _several(cfg.ranks),
    )


def _update_lineage(session: Session, step: Step, cfg: UpdateConfig, found: Mapping[str, str]) -> Lineage:
    mode = session.config.rollout.zero_variance
    settings = cfg.decisive() | {"model": session.config.model.decisive()}
    settings |= {"zero_variance": mode} if mode != "keep" else {}
    if cfg.minibatches > 1:
        settings["seed"] = session.config.seed
    inputs = {
        "rollouts": step.complete_rollouts(),
        "advantages": step.advantages.first.id,
        "policy": session.policy_id(step.number),
    }
    # A policy is known by what it was made of, not by its bytes: that costs nothing and is there before they are.
    made = {"policy": hash_json({"settings": settings, "inputs": inputs})} | accepted(session.run)
    used = session.run.beside.advantages if session.run.beside else None
    made |= {"advantages": used} if used else {}
    return Lineage("update", settings, inputs, policy_version=step.number, outputs=made | dict(found))


def _change_policy(
    session: Session,
    step: Step,
    policy: Policy,
    cfg: UpdateConfig,
    lineage: Lineage,
    rollouts: pa.Table,
    advantages: pa.Table,
) -> pa.Table:
    """The update itself, in memory; what an interrupted one has left of the old log-probabilities is used."""
    from rsgrpo_cli.stages import update as update_stage

    path, before, policy_logprobs = _kept_logprobs(session, step, cfg, lineage)

    def keep(found: pa.Table) -> None:
        write_table(path, found, POLICY_LOGPROBS, before)

    if cfg.optimizer_steps > 1 and policy_logprobs is None:
        temperature = step.sampled.config["temperature"]
        keep(update_stage.read_policy_logprobs(rollouts, advantages, policy, cfg, temperature=temperature))
        policy_logprobs = read_table(path, POLICY_LOGPROBS)
    made: dict[str, Any] = {"policy_logprobs": policy_logprobs, "keep": keep}
    metrics = updating.change_policy(step, policy, cfg, rollouts, advantages, seed=session.config.seed, **made)
    if not policy.lm.has_order:
        session.warn_once(_NO_ORDER)
    return metrics


_NO_ORDER = (
    "this model's gradient is added up in no fixed order on a GPU: two equal runs may differ in their last bits, and "
    "so may updates that are made again after a kill (none is with --checkpoint-every 1)"
)


def _kept_logprobs(
    session: Session, step: Step, cfg: UpdateConfig, lineage: Lineage
) -> tuple[Path, Lineage, pa.Table | None]:
    """Where the log-probabilities before the first optimizer step are kept.

    Returns:
        The file, its lineage, and its table if an interrupted update in several steps has left it.
    """
    from rsgrpo_cli.stages import update as update_stage

    path = session.run.policy_logprobs(step.number)
    before = replace(lineage, config=update_stage.decides_logprobs(lineage.config), outputs={})
    current = freshness(path, POLICY_LOGPROBS, before) == Freshness.CURRENT and cfg.optimizer_steps > 1
    return path, before, read_table(path, POLICY_LOGPROBS) if current else None


def _update_facts(metrics: pa.Table, cfg: UpdateConfig) -> dict[str, Any]:
    """A summary of an update: means over its optimizer steps, each group counted once."""
    facts: dict[str, Any] = {"optimizer_steps": len(metrics)} if len(metrics) > 1 else {}
    facts |= {name: pc.mean(metrics[name]).as_py() for name in ("loss", "grad_norm", "entropy")}
    facts["groups_dropped"] = pc.sum(metrics["groups_dropped"]).as_py() // cfg.epochs
    unusable = pc.sum(metrics["sampler_logprobs_dropped"]).as_py()
    return facts | ({"sampler_logprobs_dropped": unusable} if unusable else {})


def save_policy(session: Session) -> int | None:
    """Save the policy that is being trained, where no checkpoint has it yet; its version, None if nothing was saved."""
    run, policy = session.run, session.trained_policy()
    if policy is None or policy.version <= run.newest_version():
        return None
    lineage = read_lineage(run.update_metrics(policy.version - 1), UPDATE_METRICS)
    with new_checkpoint(policy, run.checkpoint(policy.version), lineage):
        pass
    return policy.version


# -- shared ---------------------------------------------------------------------------------------------------------


def _where(step: int, tag: str | None) -> dict[str, int | str]:
    """What the log says of a stage; what has a tag is none of the run's own time."""
    return {"step": step} | ({"tag": tag} if tag else {})


def _round(goes_on: bool) -> dict[str, int]:
    """How an event is marked whose time adds to that of an earlier one of the same stage and step."""
    return {"round": 1} if goes_on else {}
