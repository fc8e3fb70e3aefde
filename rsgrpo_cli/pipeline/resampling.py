"""Dynamic sampling: which parts of its rollouts a step has to have, given the rewards of those that it has.

With `zero_variance = "resample"` a step samples its own prompts and scores them; where groups came out without varied
rewards it samples further prompts and scores those, and so on until enough groups have them, or `draw_limit` is
reached. All of that is worked out from what is on disk, so that it is the same for `train`, for single commands
(`rollout`, `score`, `rollout`, `score` ...) and after a kill: which part files there could be and what is in each
follows from the settings, the policy and the prompts; how many of them there have to be, from the rewards.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import Lineage, combined_id, read_json, read_lineage, read_table
from rsgrpo_cli.config import RolloutConfig
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.run_dir import Freshness, RunDir, freshness, rollout_parts
from rsgrpo_cli.schemas import REWARDS, ROLLOUTS
from rsgrpo_cli.stages import advantage as advantage_stage
from rsgrpo_cli.stages import rollout as rollout_stage
from rsgrpo_cli.stages.rollout import Part


def wanted_parts(session: Session, step: int, cfg: RolloutConfig, lineage: Lineage) -> list[Part]:
    """The parts that a step has to have: its own, and with "resample" those that its rewards call for.

    Once there are advantages the step is settled, and nothing more is called for.

    Args:
        session: The run.
        step: From 0.
        cfg: How it is sampled.
        lineage: Of its part files; files of another do not count.
    """
    own, further = _possible_parts(session, step, cfg)
    if cfg.zero_variance != "resample":
        return own
    parts = [*own, *further]
    scored = _scored_parts(session.run, step, parts, lineage)
    if scored < len(own):
        return own
    if not session.run.advantages(step).exists():
        rewards = read_table(session.run.rewards(step), REWARDS, ["group_id", "reward"])
        drawn, varied = sum(len(part.rows) for part in parts[:scored]), advantage_stage.varied_groups(rewards)
        missing = rollout_stage.prompts_to_draw(drawn, varied, cfg.prompts_per_step)
        while missing > 0 and scored < len(parts):
            missing -= len(parts[scored].rows)
            scored += 1
    return parts[:scored]


def prompts_to_draw(session: Session, step: int) -> int:
    """How many further prompts `rollout` would sample now, given the step's rewards; they are as in its part files."""
    have = rollout_parts(session.run.rollouts(step))
    lineage = read_lineage(have[0], ROLLOUTS)
    sampled = {name: lineage.config[name] for name in ("group_size", "prompts_per_step")}
    cfg = session.config.rollout.model_copy(update=sampled)
    if cfg.zero_variance != "resample":
        return 0
    return sum(len(part.rows) for part in wanted_parts(session, step, cfg, lineage)[len(have) :])


def grown_rewards(run: RunDir, step: int, wanted: Lineage) -> Lineage | None:
    """The lineage of a step's rewards where they are of the first of its parts and more have been sampled since.

    Args:
        run: The run.
        step: From 0.
        wanted: The lineage that its rewards should have.
    """
    if not run.rewards(step).is_file():
        return None
    found = read_lineage(run.rewards(step), REWARDS)
    parts = list(read_json(run.rollouts(step) / "manifest.json", parts=dict)["parts"].values())
    before = (combined_id(parts[:number]) for number in range(1, len(parts)))
    grown = any({**wanted.inputs, "rollouts": earlier} == dict(found.inputs) for earlier in before)
    return found if grown else None


def counted_rows(run: RunDir, step: int, advantages: pa.Table, *, limit: int | None) -> pa.Array:
    """Which rows of a step an update is made from where only groups with varied rewards count.

    Args:
        run: The run.
        step: From 0.
        advantages: The step's.
        limit: At most so many groups, the first drawn; None for all.

    Returns:
        A mask over the rows of `advantages`.
    """
    chosen = advantage_stage.groups_that_count(advantages, _groups_drawn(run, step), limit)
    return pc.is_in(advantages["group_id"], pa.array(chosen, pa.string()))


def _possible_parts(session: Session, step: int, cfg: RolloutConfig) -> tuple[list[Part], list[Part]]:
    """The parts that a step begins with, and those that it may add, in order."""
    count, size = len(session.prompts), cfg.prompts_per_step
    order = rollout_stage.draw_order(count, seed=session.config.seed, step=step, prompts_per_step=size)
    own = rollout_stage.training_parts(sorted(order[:size]), cfg.group_size)
    further = rollout_stage.further_parts(
        order, first=len(own), prompts_per_step=size, limit=cfg.draw_limit, group_size=cfg.group_size
    )
    return own, further


def _scored_parts(run: RunDir, step: int, parts: Sequence[Part], lineage: Lineage) -> int:
    """How many of the parts, from the first on, the step's rewards are about; 0 if they are about something else."""
    if not run.rewards(step).is_file():
        return 0
    scored = read_lineage(run.rewards(step), REWARDS).inputs["rollouts"]
    ids: list[str] = []
    for part in parts:
        path = run.rollouts(step) / f"{part.name}.parquet"
        if freshness(path, ROLLOUTS, lineage) != Freshness.CURRENT:
            return 0
        ids.append(read_lineage(path, ROLLOUTS).id)
        if combined_id(ids) == scored:
            return len(ids)
    return 0


def _groups_drawn(run: RunDir, step: int) -> list[str]:
    """The groups of a step in the order drawn."""
    tables = [read_table(path, ROLLOUTS, ["group_id"]) for path in rollout_parts(run.rollouts(step))]
    return list(dict.fromkeys(group for table in tables for group in table["group_id"].to_pylist()))
