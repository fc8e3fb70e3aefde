"""Dynamic sampling: which parts of its rollouts a step has to have, given the rewards of those that it has.

With `zero_variance = "resample"` a step samples its own prompts and scores them. If some groups have equal rewards, it
samples further prompts and scores those, and so on until enough groups have varied rewards or `draw_limit` is reached.
The manifest of the rollouts names the parts of all finished rounds; the next round follows from these, from their
rewards and from the settings. So it is the same for `train`, for single commands (`rollout`, `score`, `rollout`,
`score` ...) and after a kill.
"""

from __future__ import annotations

from collections.abc import Sequence

from rsgrpo_cli.artifacts import Lineage
from rsgrpo_cli.config import RolloutConfig
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.run.staleness import Freshness, freshness
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import ROLLOUTS
from rsgrpo_cli.stages import advantage as advantage_stage
from rsgrpo_cli.stages import rollout as rollout_stage
from rsgrpo_cli.stages.rollout import Part


def wanted_parts(session: Session, step: int, cfg: RolloutConfig, lineage: Lineage) -> list[Part]:
    """The parts that a step has to have: its own, and with "resample" those that its rewards call for.

    Once there are advantages, nothing more is called for.

    Args:
        session: The run.
        step: From 0.
        cfg: How it is sampled.
        lineage: Of its part files; files of another do not count.
    """
    own, further = _possible_parts(session, step, cfg)
    if cfg.zero_variance != "resample":
        return own
    found, parts = Step(session.run, step), [*own, *further]
    count = _finished_parts(found, parts, lineage)
    if count < len(own):
        return own
    missing = _further_prompts(found, parts[:count], cfg)
    while missing > 0 and count < len(parts):
        missing -= len(parts[count].rows)
        count += 1
    return parts[:count]


def prompts_to_draw(session: Session, step: int) -> int:
    """How many further prompts `rollout` would sample now, given the step's rewards.

    Group size and prompts per step are those that the step was sampled with.
    """
    found = Step(session.run, step)
    sampled = {name: found.sampled.config[name] for name in ("group_size", "prompts_per_step")}
    cfg = session.config.rollout.model_copy(update=sampled)
    if cfg.zero_variance != "resample":
        return 0
    parts = wanted_parts(session, step, cfg, found.sampled)
    return sum(len(part.rows) for part in parts[len(found.rollouts.paths) :])


def _possible_parts(session: Session, step: int, cfg: RolloutConfig) -> tuple[list[Part], list[Part]]:
    """The parts that a step begins with, and those that it may add, in order."""
    count, size = len(session.prompts), cfg.prompts_per_step
    order = rollout_stage.draw_order(count, seed=session.config.seed, step=step, prompts_per_step=size)
    own = rollout_stage.training_parts(sorted(order[:size]), cfg.group_size)
    further = rollout_stage.further_parts(
        order, first=len(own), prompts_per_step=size, limit=cfg.draw_limit, group_size=cfg.group_size
    )
    return own, further


def _finished_parts(step: Step, parts: Sequence[Part], lineage: Lineage) -> int:
    """How many of the parts the finished rounds have made; 0 if something else was sampled."""
    names = list(step.manifest["parts"]) if step.manifest else []
    if not names and step.rewards.single:  # an older run, stopped in a later round: it had no manifest meanwhile
        names = step.rollouts.names[: step.scored]
    if names != [part.name for part in parts[: len(names)]] or not step.rollouts:
        return 0
    return len(names) if freshness(step.rollouts.paths[0], ROLLOUTS, lineage) == Freshness.CURRENT else 0


def _further_prompts(step: Step, parts: Sequence[Part], cfg: RolloutConfig) -> int:
    """How many prompts the rewards call for beyond `parts`; none while some of these have no rewards."""
    if step.advantages or step.scored != len(parts) or step.rewards.made_from("rollouts") != step.scored_id:
        return 0
    varied = advantage_stage.varied_groups(step.rewards.table(["group_id", "reward"]))
    return rollout_stage.prompts_to_draw(sum(len(part.rows) for part in parts), varied, cfg.prompts_per_step)
