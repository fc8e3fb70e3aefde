"""The stages of one training step: read what a stage needs, run it unless it is done, write what it made."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import (
    Lineage,
    count_rows,
    hash_json,
    read_json,
    read_lineage,
    read_table,
    write_table,
)
from rsgrpo_cli.config import AdvantageConfig, RolloutConfig, RsGrpoConfig, ScoreConfig, UpdateConfig
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import ArtifactError, MissingError, UsageError
from rsgrpo_cli.pipeline.freshness import decide
from rsgrpo_cli.pipeline.identity import (
    accepted,
    check_base,
    check_estimator,
    check_reward,
    keeps_its_advantages,
    keeps_its_rewards,
)
from rsgrpo_cli.pipeline.keeping import new_checkpoint
from rsgrpo_cli.pipeline.own_estimator import completed
from rsgrpo_cli.pipeline.resampling import counted_rows, grown_rewards, prompts_to_draw, wanted_parts
from rsgrpo_cli.pipeline.rollout_folder import finish_folder, folder_state, start_folder
from rsgrpo_cli.pipeline.session import Outcome, Session
from rsgrpo_cli.rewards.shaping import Shaping
from rsgrpo_cli.run_dir import Freshness, RunDir, freshness, require_fresh, rollout_parts
from rsgrpo_cli.schemas import ADVANTAGES, KEYS, POLICY_LOGPROBS, REWARDS, ROLLOUTS, UPDATE_METRICS
from rsgrpo_cli.stages import advantage as advantage_stage
from rsgrpo_cli.stages import rollout as rollout_stage
from rsgrpo_cli.stages import score as score_stage
from rsgrpo_cli.staleness import evaluations_of

if TYPE_CHECKING:
    from rsgrpo_cli.policy.policy import Policy


# -- rollout --------------------------------------------------------------------------------------------------------


def rollout(session: Session, step: int, cfg: RolloutConfig, *, tag: str | None = None, force: bool = False) -> Outcome:
    """A step's completions, in part files, with a manifest once all are there.

    With `zero_variance = "resample"` and rewards, that includes the further parts that these call for.
    """
    check_base(session)
    run, engine = session.run, session.sampling_settings(cfg.engine)
    folder = run.rollouts(step, tag)
    lineage = Lineage(
        "rollout",
        cfg.decisive() | engine | {"seed": session.config.seed, "step": step},
        {"prompts": session.prompts_id, "policy": session.policy_id(step)},
        policy_version=step,
        outputs=accepted(session),
    )
    alone = cfg.model_copy(update={"zero_variance": "keep"}) if tag or force else cfg  # whatever rewards there are
    parts = wanted_parts(session, step, alone, lineage)
    dependents = [] if tag else [run.rewards(step)]
    if not decide(folder_state(folder, lineage, parts), folder, dependents=dependents, force=force):
        rows = read_json(folder / "manifest.json", rows=int)["rows"]
        return Outcome("rollout", folder, True, 0.0, {"completions": rows})

    def work() -> dict[str, Any]:
        start_folder(folder, {part.name for part in parts}, force=force)
        missing = [
            part for part in parts if freshness(folder / f"{part.name}.parquet", ROLLOUTS, lineage) != Freshness.CURRENT
        ]
        if missing:
            _make_parts(session, step, cfg, folder, missing, lineage)
        return finish_folder(folder)

    goes_on = sum(len(part.rows) for part in parts) > cfg.prompts_per_step
    return session.carry_out("rollout", folder, work, step=step, **_round(goes_on))


def _make_parts(
    session: Session,
    step: int,
    cfg: RolloutConfig,
    folder: Path,
    parts: list[rollout_stage.Part],
    lineage: Lineage,
) -> None:
    engine = session.engine(cfg.engine, step)
    made = rollout_stage.rollout(
        session.prompts,
        parts,
        engine,
        Sampling(cfg.temperature, 1.0, cfg.max_tokens),
        seed_parts=(session.config.seed, step),
        group_prefix=f"{step:06d}:",
        policy_version=step,
    )
    with session.out.progress(f"rollout of step {step}", len(parts)) as ticker:
        for done, (part, table) in enumerate(made, start=1):
            noted = replace(lineage, outputs=rollout_stage.notes(table))
            write_table(folder / f"{part.name}.parquet", table, ROLLOUTS, noted)
            ticker.advance()
            if done < len(parts):
                session.stop.check(f"part {done} of {len(parts)} of the rollouts of step {step}", again(session))


def complete_rollouts(folder: Path) -> str:
    """The id of a step's rollouts.

    Raises:
        MissingError: If they are not all there.
        ArtifactError: If a part is not the one the manifest names.
    """
    if not (folder / "manifest.json").is_file():
        have = len(rollout_parts(folder))
        raise MissingError(
            f"no complete rollouts in {folder}" + (f" ({have} parts so far)" if have else ""),
            "make them first: rsgrpo rollout",
        )
    manifest = read_json(folder / "manifest.json", parts=dict, id=str)
    for name, expected in manifest["parts"].items():
        path = folder / f"{name}.parquet"
        if read_lineage(path, ROLLOUTS).id != expected:
            raise ArtifactError(f"{path} does not belong to the other parts", "rsgrpo rollout --force")
    return str(manifest["id"])


def prompts_in_thought(folder: Path) -> frozenset[str]:
    """The prompts of a step that end inside a thought, as its rollouts noted."""
    noted = [read_lineage(path, ROLLOUTS).outputs for path in rollout_parts(folder)]
    return frozenset().union(*map(rollout_stage.prompts_in_thought, noted))


def read_rollouts(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """All completions of a step, in key order.

    Raises:
        MissingError: If there are none.
    """
    tables = [read_table(path, ROLLOUTS, columns) for path in rollout_parts(folder)]
    if not tables:
        raise MissingError(f"there are no rollouts in {folder}", "make them first: rsgrpo rollout")
    table = pa.concat_tables(tables)
    # Parts hold ascending prompts, and so does a step's own series of parts; what was drawn later goes in between.
    ascending = all(one["group_id"][-1].as_py() < other["group_id"][0].as_py() for one, other in pairwise(tables))
    return table if ascending else table.sort_by([(key, "ascending") for key in KEYS])


# -- score ----------------------------------------------------------------------------------------------------------


def score(session: Session, step: int, cfg: ScoreConfig, *, tag: str | None = None, force: bool = False) -> Outcome:
    """A step's rewards. If rollouts were added since, existing rewards are kept."""
    run = session.run
    rollouts_id = complete_rollouts(run.rollouts(step))
    require_fresh(run, step, "rollouts")
    path = run.rewards(step, tag)
    reward = session.reward(cfg.reward, workers=cfg.workers, timeout=cfg.timeout)
    lineage = Lineage(
        "score",
        cfg.decisive() | {"identity": reward.identity},
        {"rollouts": rollouts_id, "prompts": session.prompts_id},
        policy_version=step,
    )
    if not tag:
        check_reward(session, cfg.reward, reward.identity, before=step)
    dependents = [] if tag else [run.advantages(step)]
    grown = None if tag else grown_rewards(run, step, lineage)
    state = Freshness.MISSING if grown else freshness(path, REWARDS, lineage)
    if not tag and state == Freshness.OTHER_SETTINGS and keeps_its_rewards(run, step, lineage):
        state = Freshness.CURRENT
    if not decide(state, path, dependents=dependents, force=force):
        return Outcome("score", path, True, 0.0, {"completions": count_rows(path)} | _to_draw(session, step, tag))

    def work() -> dict[str, Any]:
        same = grown is not None and grown.config_hash == lineage.config_hash and not force
        known = read_table(path, REWARDS) if same else None
        shaping = _shaping(cfg, run.rollouts(step))
        columns = score_stage.columns_read(reward, shaping)
        rollouts = read_rollouts(run.rollouts(step), list(columns))
        in_thought = prompts_in_thought(run.rollouts(step))
        rewards = score_stage.score(rollouts, session.prompts, reward, shaping, known, in_thought)
        write_table(path, rewards, REWARDS, lineage)
        statuses = score_stage.count_statuses(rewards)
        return {"completions": len(rewards), "statuses": statuses} | _to_draw(session, step, tag)

    return session.carry_out("score", path, work, step=step, **_round(grown is not None))


def _shaping(cfg: ScoreConfig, rollouts: Path) -> Shaping:
    sampled = read_lineage(rollout_parts(rollouts)[0], ROLLOUTS).config
    return Shaping(sampled["max_tokens"], cfg.overlong_buffer, cfg.format_weight)


def _to_draw(session: Session, step: int, tag: str | None) -> dict[str, Any]:
    """What `rollout` has still to do, as facts about the rewards; nothing where it has not."""
    count = 0 if tag else prompts_to_draw(session, step)
    return {"prompts_to_draw": count} if count else {}


# -- advantage ------------------------------------------------------------------------------------------------------


def advantage(
    session: Session, step: int, cfg: AdvantageConfig, *, tag: str | None = None, force: bool = False
) -> Outcome:
    """A step's advantages."""
    run = session.run
    rewards_id = read_lineage(run.rewards(step), REWARDS).id
    require_fresh(run, step, "rewards")
    path, own = run.advantages(step, tag), session.own_estimator(cfg)
    cfg = completed(cfg, own)
    settings = cfg.decisive() | ({"identity": own.identity} if own else {})
    scheduled = isinstance(cfg, RsGrpoConfig) and cfg.schedule != "constant"
    if scheduled:
        settings["step"] = step  # what the schedule goes by, beside the rewards
    lineage = Lineage("advantage", settings, {"rewards": rewards_id}, policy_version=step)
    if own and not tag:
        check_estimator(session, cfg.estimator, own.identity, before=step)
    dependents = [] if tag else [run.update_metrics(step)]
    state = freshness(path, ADVANTAGES, lineage)
    if own and not tag and state == Freshness.OTHER_SETTINGS and keeps_its_advantages(run, step, lineage):
        state = Freshness.CURRENT
    if not decide(state, path, dependents=dependents, force=force):
        return Outcome("advantage", path, True, 0.0, {"completions": count_rows(path)})

    def work() -> dict[str, Any]:
        rewards = read_table(run.rewards(step), REWARDS, list(advantage_stage.COLUMNS))
        at_step = advantage_stage.settled(cfg, step, rewards)
        made = advantage_stage.advantage(rewards, at_step, partial(own, settings=cfg.knobs()) if own else None)
        used = {"beta": at_step.knobs()["beta"]} if scheduled else {}
        outputs = {name: repr(value) for name, value in used.items()}
        write_table(path, made, ADVANTAGES, replace(lineage, outputs=outputs))
        return advantage_stage.facts(made) | used

    return session.carry_out("advantage", path, work, step=step)


# -- update ---------------------------------------------------------------------------------------------------------


def update(session: Session, step: int, cfg: UpdateConfig, *, force: bool = False, save: bool = True) -> Outcome:
    """Policy `step` becomes policy `step + 1`: its checkpoint, and what happened on the way.

    With `save` off there is no checkpoint, and the new policy lives in this process only. After a crash the update is
    done again from the newest checkpoint and the rollouts that are there.
    """
    check_base(session)
    run = session.run
    rollouts_id, advantages_id = (
        complete_rollouts(run.rollouts(step)),
        read_lineage(run.advantages(step), ADVANTAGES).id,
    )
    require_fresh(run, step, "advantages")
    mode = session.config.rollout.zero_variance
    settings = cfg.decisive() | {"model": session.config.model.decisive()}
    settings |= {"zero_variance": mode} if mode != "keep" else {}
    if cfg.minibatches > 1:
        settings["seed"] = session.config.seed
    inputs = {"rollouts": rollouts_id, "advantages": advantages_id, "policy": session.policy_id(step)}
    # A policy is known by what it was made of, not by its bytes: that costs nothing and is there before they are.
    made = {"policy": hash_json({"settings": settings, "inputs": inputs})} | accepted(session)
    lineage = Lineage("update", settings, inputs, policy_version=step, outputs=made)
    path, checkpoint = run.update_metrics(step), run.checkpoint(step + 1)
    state = freshness(path, UPDATE_METRICS, lineage)
    if state == Freshness.CURRENT and not _is_complete(checkpoint):
        state = Freshness.MISSING  # the same policy again
    dependents = [run.step(step + 1), *evaluations_of(run, step + 1)]
    if not decide(state, path, dependents=dependents, force=force, tagged=False):
        return Outcome("update", checkpoint, True, 0.0, {})

    def work() -> dict[str, Any]:
        session.rest_sampler()
        policy = session.policy(step, train=True)
        rollouts, advantages, left_out = _counted(session, step)
        metrics = _change_policy(session, step, policy, cfg, lineage, rollouts, advantages)
        with new_checkpoint(policy, checkpoint, lineage) if save else nullcontext():
            write_table(path, metrics, UPDATE_METRICS, lineage)
        facts = _update_facts(metrics, cfg)
        if dropped := facts.get("sampler_logprobs_dropped"):
            why = "the sampler's log-probabilities of them are not finite numbers"
            session.out.warn(f"step {step}: {dropped} tokens are left out of the loss: {why}")
        return facts | {"groups_dropped": facts["groups_dropped"] + left_out}

    return session.carry_out("update", checkpoint, work, step=step)


def _counted(session: Session, step: int) -> tuple[pa.Table, pa.Table, int]:
    """The completions that an update learns from, their advantages, and how many groups are left out of both."""
    from rsgrpo_cli.stages.update import ADVANTAGE_COLUMNS, ROLLOUT_COLUMNS

    run, mode = session.run, session.config.rollout.zero_variance
    rollouts = read_rollouts(run.rollouts(step), list(ROLLOUT_COLUMNS))
    advantages = read_table(run.advantages(step), ADVANTAGES, [*ADVANTAGE_COLUMNS, "group_status"])
    if mode == "keep":
        return rollouts, advantages, 0
    groups = pc.count_distinct(advantages["group_id"]).as_py()
    counted = counted_rows(run, step, advantages, limit=_most_groups(run, step, mode))
    rollouts, advantages = rollouts.filter(counted), advantages.filter(counted)
    return rollouts, advantages, groups - pc.count_distinct(advantages["group_id"]).as_py()


def _most_groups(run: RunDir, step: int, mode: str) -> int | None:
    sampled = read_lineage(rollout_parts(run.rollouts(step))[0], ROLLOUTS).config
    return int(sampled["prompts_per_step"]) if mode == "resample" else None


def counted_limit(run: RunDir, step: int) -> int | None:
    """How many groups at most the update of a step learned from; None where that had no limit.

    As the update recorded it: a fork may go on in another way than the steps it shares were made.
    """
    mode = read_lineage(run.update_metrics(step), UPDATE_METRICS).config.get("zero_variance", "keep")
    return _most_groups(run, step, mode)


def _change_policy(
    session: Session,
    step: int,
    policy: Policy,
    cfg: UpdateConfig,
    lineage: Lineage,
    rollouts: pa.Table,
    advantages: pa.Table,
) -> pa.Table:
    """The update itself, in memory; what an interrupted one has left of the old log-probabilities is used."""
    from rsgrpo_cli.stages import update as update_stage

    run = session.run
    sampled = read_lineage(rollout_parts(run.rollouts(step))[0], ROLLOUTS).config
    policy_logprobs = None
    if cfg.optimizer_steps > 1:
        before = replace(lineage, config=update_stage.decides_logprobs(lineage.config), outputs={})
        if freshness(run.policy_logprobs(step), POLICY_LOGPROBS, before) != Freshness.CURRENT:
            temperature = sampled["temperature"]
            made = update_stage.read_policy_logprobs(rollouts, advantages, policy, cfg, temperature=temperature)
            write_table(run.policy_logprobs(step), made, POLICY_LOGPROBS, before)
        policy_logprobs = read_table(run.policy_logprobs(step), POLICY_LOGPROBS)
    return update_stage.update(
        rollouts,
        advantages,
        policy,
        cfg,
        temperature=sampled["temperature"],
        max_tokens=sampled["max_tokens"],
        correct_sampler=sampled["engine"] == "vllm",
        seed=session.config.seed,
        policy_logprobs=policy_logprobs,
    )


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


def _is_complete(checkpoint: Path) -> bool:
    return (checkpoint / "manifest.json").is_file()


# -- shared ---------------------------------------------------------------------------------------------------------


def _round(goes_on: bool) -> dict[str, int]:
    """How an event is marked whose time adds to that of an earlier one of the same stage and step."""
    return {"round": 1} if goes_on else {}


def again(session: Session) -> str:
    """The command that resumes this run."""
    return f"run the same command again with --run {session.run.path}"


def newest_step(run: RunDir, has: str) -> int:
    """The newest step that has a stage's input.

    Args:
        run: The run.
        has: "rollouts", "rewards" or "advantages".

    Raises:
        UsageError: If no step has it.
    """
    places = {"rollouts": run.rollouts, "rewards": run.rewards, "advantages": run.advantages}
    steps = [step for step in run.steps() if places[has](step).exists()]
    if not steps:
        stage = {"rollouts": "rollout", "rewards": "score", "advantages": "advantage"}[has]
        raise UsageError(f"run {run.name} has no {has} yet", f"make them first: rsgrpo {stage} --run {run.path}")
    return steps[-1]
