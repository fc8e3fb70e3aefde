"""An update in memory: what it learns from, and what that makes of the policy. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.core.schedules import adaptive_entropy_coef
from rsgrpo_cli.engines.registry import WITH_OWN_WEIGHTS
from rsgrpo_cli.pipeline.metrics import mean_over_tokens
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import ROLLOUTS
from rsgrpo_cli.stages import advantage as advantage_stage

COEF, APPLIED = "entropy_coef", "entropy_bonus"
"""What the lineage of an update calls the weight of an adaptive entropy bonus, and what of it was in the loss."""

if TYPE_CHECKING:
    from rsgrpo_cli.policy.policy import Policy


def counted(step: Step, mode: str) -> tuple[pa.Table, pa.Table, int]:
    """The completions that an update learns from, their advantages, and how many groups are left out of both.

    Args:
        step: The step.
        mode: `rollout.zero_variance`.
    """
    from rsgrpo_cli.stages.update import ADVANTAGE_COLUMNS, ROLLOUT_COLUMNS

    rollouts = step.rollouts.table(ROLLOUT_COLUMNS)
    advantages = step.advantages.table((*ADVANTAGE_COLUMNS, "group_status"))
    if mode == "keep":
        return rollouts, advantages, 0
    groups = pc.count_distinct(advantages["group_id"]).as_py()
    chosen = _counted_rows(step, advantages, limit=_most_groups(step, mode))
    rollouts, advantages = rollouts.filter(chosen), advantages.filter(chosen)
    return rollouts, advantages, groups - pc.count_distinct(advantages["group_id"]).as_py()


def counted_limit(step: Step) -> int | None:
    """How many groups at most the update of a step learned from; None where that had no limit.

    As the update recorded it: a fork may go on in another way than the steps it shares were made.
    """
    return _most_groups(step, step.updates.first.config.get("zero_variance", "keep"))


def _most_groups(step: Step, mode: str) -> int | None:
    return int(step.sampled.config["prompts_per_step"]) if mode == "resample" else None


def _counted_rows(step: Step, advantages: pa.Table, *, limit: int | None) -> pa.Array:
    """A mask over the rows of `advantages`: those of groups with varied rewards, of at most the `limit` first drawn."""
    tables = [read_table(path, ROLLOUTS, ["group_id"]) for path in step.rollouts.paths]
    drawn = list(dict.fromkeys(group for table in tables for group in table["group_id"].to_pylist()))
    chosen = advantage_stage.groups_that_count(advantages, drawn, limit)
    return pc.is_in(advantages["group_id"], pa.array(chosen, pa.string()))


def sampling_of(step: Step) -> dict[str, Any]:
    """What an update has to know of how its completions were sampled."""
    sampled = step.sampled.config
    return {
        "temperature": sampled["temperature"],
        "max_tokens": sampled["max_tokens"],
        "correct_sampler": sampled["engine"] in WITH_OWN_WEIGHTS,
    }


def with_entropy_bonus(cfg: UpdateConfig, step: Step) -> tuple[UpdateConfig, dict[str, str]]:
    """The settings of one update, and what its lineage is to say beside: an adaptive entropy bonus made a fixed one.

    Its weight follows from the update before, by the weight and the entropy that this has recorded. The first update
    has no bonus, as nothing has been measured.
    """
    if cfg.entropy_target is None:
        return cfg, {}
    coef, applied = cfg.entropy_coef, 0.0
    if step.number:
        before = Step(step.run, step.number - 1).updates
        entropy = mean_over_tokens(before.table(), "entropy")
        coef = float(before.first.outputs.get(COEF, coef))
        if entropy is not None:
            coef, applied = adaptive_entropy_coef(coef, entropy, cfg.entropy_target)
    told = {COEF: repr(coef), APPLIED: repr(applied)}
    return cfg.model_copy(update={"entropy_coef": applied}), told


def as_recorded(cfg: UpdateConfig, step: Step) -> UpdateConfig:
    """The settings of an update that was made, with the entropy bonus that it had."""
    applied = step.updates.first.outputs.get(APPLIED)
    return cfg if applied is None else cfg.model_copy(update={"entropy_coef": float(applied)})


def change_policy(
    step: Step,
    policy: Policy,
    cfg: UpdateConfig,
    rollouts: pa.Table,
    advantages: pa.Table,
    *,
    seed: int,
    policy_logprobs: pa.Table | None = None,
    keep: Callable[[pa.Table], object] | None = None,
) -> pa.Table:
    """Update a policy, in place, from the completions of a step; all else as in `stages.update.update`."""
    from rsgrpo_cli.stages import update as update_stage

    sampling = sampling_of(step)
    return update_stage.update(
        rollouts, advantages, policy, cfg, seed=seed, policy_logprobs=policy_logprobs, keep=keep, **sampling
    )
