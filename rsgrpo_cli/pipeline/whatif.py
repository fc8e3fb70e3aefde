"""What other estimators would make of the rewards of a step: computed, compared, not written.

Shape suffixes: N completions with a reward, K groups, B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rsgrpo_cli.config import AdvantageConfig
from rsgrpo_cli.core.history import History
from rsgrpo_cli.core.risk import advantage_rms, effective_sample_size
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.pipeline.earlier_steps import known_before
from rsgrpo_cli.pipeline.own_estimator import opened
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import require_fresh
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.stages import advantage as advantage_stage

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
NO_SIGNAL = 1e-12
"""Rounding leaves about this much of an advantage that is zero by its formula."""
MOST_POINTS = 33
FEW_POINTS = 12
"""Points of a curve over accuracies, and over rewards of any kind, which need more averaging to be read."""
DIFFICULTIES = 4


def compare(run: RunDir, step: int, methods: Sequence[tuple[str, AdvantageConfig]]) -> dict[str, Any]:
    """Apply several estimators to the saved rewards of a step.

    Args:
        run: The run; nothing in it is changed, and it need not be idle.
        step: A step that has rewards.
        methods: Label and settings of each estimator, in the order of the result.

    Returns:
        What there is to print and to draw: facts of the step, and under "methods" for each of them

        * "rms", "lowest", "highest", "effective_sample_size" of its advantages, as in metrics.parquet,
        * "silent_groups", the share of groups all of whose advantages are zero,
        * "share_by_difficulty", the share of sum |A| that goes to each fourth of the scale (see "difficulty_edges"),
        * "by_difficulty", points (mean reward of a group, groups, mean advantage of right and of wrong answers where
          rewards are 0/1, mean |A|),
        * "by_reward", points (reward, completions, mean advantage).

    Raises:
        StaleError: If the rewards were made from rollouts that have been replaced since.
        DataError: If the rewards do not suit an estimator, or there is none.
        UsageError: If an estimator of the user's own cannot be loaded or does not have these settings.
    """
    require_fresh(run, step, "rewards")
    rewards = Step(run, step).rewards.table(advantage_stage.COLUMNS)
    if not pc.any(pc.is_valid(rewards["reward"])).as_py():
        raise DataError(f"no completion of step {step} has a reward", "choose another step with --step")
    looks_back = any(cfg.LOOKS_BACK for _, cfg in methods)
    history = known_before(run, step).history if looks_back else None
    return {"run": str(run.path), "step": step} | of_rewards(rewards, methods, history)


def of_rewards(
    rewards: pa.Table, methods: Sequence[tuple[str, AdvantageConfig]], history: History | None = None
) -> dict[str, Any]:
    """Apply several estimators to rewards; as `compare`, without what is of the run.

    Args:
        rewards: Table of `schemas.REWARDS`, or the columns that the stage reads; at least one is there.
        methods: Label and settings of each estimator.
        history: What the steps before came to, where an estimator looks at them.
    """
    scored = rewards.filter(pc.is_valid(rewards["reward"]))
    batch = _Batch(scored)
    return {
        "completions": len(scored),
        "groups": batch.groups,
        "binary": batch.binary,
        "constant_groups": float((batch.lowest_K == batch.highest_K).mean()),
        "difficulty_edges": batch.edges.tolist(),
        "methods": [_method(label, cfg, rewards, batch, history) for label, cfg in methods],
    }


class _Batch:
    """What the rewards of a step say before any estimator looks at them."""

    def __init__(self, scored: pa.Table) -> None:
        codes = pc.dictionary_encode(scored["group_id"].combine_chunks()).indices.to_numpy()
        self.group_N: IntArray = codes.astype(np.int64)
        self.reward_N: FloatArray = scored["reward"].to_numpy()
        self.groups = int(self.group_N.max()) + 1
        self.size_K = np.bincount(self.group_N)
        self.mean_K = self.per_group(self.reward_N)
        self.lowest_K, self.highest_K = np.full(self.groups, np.inf), np.full(self.groups, -np.inf)
        np.minimum.at(self.lowest_K, self.group_N, self.reward_N)
        np.maximum.at(self.highest_K, self.group_N, self.reward_N)
        self.binary = bool(np.isin(self.reward_N, (0.0, 1.0)).all())
        low, high = (0.0, 1.0) if self.binary else (float(self.mean_K.min()), float(self.mean_K.max()))
        self.edges = np.linspace(low, high, DIFFICULTIES + 1)
        self.difficulty_K = np.searchsorted(self.edges[1:-1], self.mean_K, side="right")
        most = MOST_POINTS if self.binary else FEW_POINTS
        self.bin_K, self.bin_N = _bins(self.mean_K, most), _bins(self.reward_N, most)

    def per_group(self, values_N: FloatArray) -> FloatArray:
        """Means over the groups, shape (K,)."""
        means: FloatArray = np.bincount(self.group_N, weights=values_N) / self.size_K
        return means


def _method(
    label: str, cfg: AdvantageConfig, rewards: pa.Table, batch: _Batch, history: History | None
) -> dict[str, Any]:
    try:
        with opened(cfg) as (cfg, own):
            table, used = advantage_stage.advantage_and_used(rewards, cfg, own, history)
    except DataError as error:
        about = "" if error.message.startswith(label) else f"{label}: "
        raise DataError(f"{about}{error.message}", error.hint or "leave it out of --compare") from error
    made = table["advantage"].to_numpy()
    advantage_N = made[pc.is_valid(rewards["reward"]).to_numpy()]
    weight_K = batch.per_group(np.abs(advantage_N))
    total_K = weight_K * batch.size_K
    shares = np.bincount(batch.difficulty_K, weights=total_K, minlength=DIFFICULTIES)
    loudest_K = np.zeros(batch.groups)
    np.maximum.at(loudest_K, batch.group_N, np.abs(advantage_N))
    return {
        "label": label,
        **cfg.model_dump(mode="json", exclude_none=True),
        **used,
        "rms": advantage_rms(made),
        "lowest": float(made.min()),
        "highest": float(made.max()),
        "effective_sample_size": effective_sample_size(made),
        "silent_groups": float((loudest_K < NO_SIGNAL).mean()),
        "share_by_difficulty": (shares / max(total_K.sum(), NO_SIGNAL)).tolist(),
        "by_difficulty": _by_difficulty(advantage_N, weight_K, batch),
        "by_reward": _by_reward(advantage_N, batch),
    }


def _by_difficulty(advantage_N: FloatArray, weight_K: FloatArray, batch: _Batch) -> list[dict[str, Any]]:
    columns = {
        "mean_reward": _means(batch.bin_K, batch.mean_K),
        "groups": np.bincount(batch.bin_K).tolist(),
        "weight": _means(batch.bin_K, weight_K),
    }
    if batch.binary:
        for name, chosen_N in (("right", batch.reward_N == 1), ("wrong", batch.reward_N == 0)):
            bins = batch.bin_K[batch.group_N[chosen_N]]
            columns[name] = _means(bins, advantage_N[chosen_N], count=len(columns["groups"]))
    return _points(columns)


def _by_reward(advantage_N: FloatArray, batch: _Batch) -> list[dict[str, Any]]:
    columns = {
        "reward": _means(batch.bin_N, batch.reward_N),
        "completions": np.bincount(batch.bin_N).tolist(),
        "advantage": _means(batch.bin_N, advantage_N),
    }
    return _points(columns)


def _points(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _bins(values: FloatArray, most: int) -> IntArray:
    """Which point of a curve each value belongs to: equal values share one; where there are many, neighbours do."""
    low, spread = values.min(), max(np.ptp(values), np.finfo(np.float64).tiny)
    # Means that differ in their last digit only are one place.
    _, bins = np.unique(np.round((values - low) / spread, 9), return_inverse=True)
    if bins.max() >= most:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)[1:-1]))
        _, bins = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)
    return bins.astype(np.int64)


def _means(bins: IntArray, values: FloatArray, count: int = 0) -> list[float | None]:
    """Mean of the values of each bin, None where it has none."""
    sizes = np.bincount(bins, minlength=count)
    sums = np.bincount(bins, weights=values, minlength=count)
    return [float(total / size) if size else None for total, size in zip(sums, sizes, strict=True)]
