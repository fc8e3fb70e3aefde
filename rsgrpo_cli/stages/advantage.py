"""`advantage`: from the rewards of each group to one advantage per completion.

Shape suffixes: N completions, K groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rsgrpo_cli.config import AdvantageConfig, RsGrpoConfig
from rsgrpo_cli.core.estimators import WITH_HISTORY, estimator_function
from rsgrpo_cli.core.grouping import Groups, by_group, zero_if_single
from rsgrpo_cli.core.history import History
from rsgrpo_cli.core.history_advantages import Batch
from rsgrpo_cli.core.risk import advantage_rms, risk_value, scale_advantages
from rsgrpo_cli.core.schedules import beta_by_solve_rate, beta_by_step
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards import verdicts
from rsgrpo_cli.rewards.types import Status
from rsgrpo_cli.schemas import ADVANTAGES

FloatArray = NDArray[np.float64]
STATUSES = np.array(["mixed", "shaped", "constant", "all_wrong", "all_right", "empty"])
VARIED = ("mixed", "shaped")
"""The statuses of groups whose rewards are not all equal."""
OwnEstimator = Callable[[Sequence[tuple[str, FloatArray]]], Sequence[FloatArray]]
"""A user's estimator with its settings: name and rewards (G,) of each group in, advantages (G,) of each out."""
COLUMNS = ("group_id", "sample_index", *verdicts.COLUMNS)
"""The columns of the rewards that are read."""


def advantage(
    rewards: pa.Table, cfg: AdvantageConfig, own: OwnEstimator | None = None, history: History | None = None
) -> pa.Table:
    """Compare each completion's reward within its group.

    A completion without a reward (null) gets advantage 0 and is left out of its group's statistics; so does one that is
    left with nothing to be compared with.

    Args:
        rewards: Table of `schemas.REWARDS`, or its COLUMNS.
        cfg: The estimator with its own settings, beta that of one step (see `with_beta_of_step`).
        own: What `cfg` names, where that is a function of the user's own; it gets no group of one.
        history: What the steps before came to, where `cfg` looks at them.

    Returns:
        Table of `schemas.ADVANTAGES`, same keys in the same order.

    Raises:
        DataError: If a reward is NaN or infinite, or a group does not suit the estimator.
        ValueError: If `cfg` has a schedule, names a function of the user's own that is not there, or looks at earlier
            steps and has no history.
    """
    return advantage_and_used(rewards, cfg, own, history)[0]


def advantage_and_used(
    rewards: pa.Table, cfg: AdvantageConfig, own: OwnEstimator | None = None, history: History | None = None
) -> tuple[pa.Table, dict[str, float]]:
    """`advantage`; and what an estimator that looks at earlier steps came to in this one: its beta, alpha, delta.

    The latter is empty for all others. Arguments and errors as of `advantage`.
    """
    if isinstance(cfg, RsGrpoConfig) and cfg.schedule != "constant":
        raise ValueError("a schedule has no beta without a step: see with_beta_of_step")
    codes_N, reward_N, scored_N = _columns(rewards)
    groups = Groups.of(codes_N[scored_N])
    names_K = rewards["group_id"].filter(scored_N).take(groups.starts_K).to_pylist()

    def per_row(function: Callable[[FloatArray], FloatArray], without_reward: float) -> FloatArray:
        values_N = np.full(len(rewards), without_reward)
        values_N[scored_N] = by_group(groups, reward_N[scored_N], function)
        return values_N

    advantage_N = np.zeros(len(rewards))
    used: dict[str, float] = {}
    if cfg.LOOKS_BACK:
        advantage_N[scored_N], used = _by_history(cfg, history, groups, names_K, reward_N[scored_N])
    elif own is None:
        advantage_N[scored_N] = _by_built_in(cfg, groups, reward_N[scored_N])
    else:
        advantage_N[scored_N] = _by_own(own, groups, names_K, reward_N[scored_N])
    beta = used.get("beta") if cfg.LOOKS_BACK else getattr(cfg, "beta", None)
    mean_N = per_row(lambda rewards_PG: rewards_PG.mean(axis=-1), np.nan)
    risk_N = per_row(partial(risk_value, beta=beta or 0.0), np.nan)
    made = pa.table(
        {
            "group_id": rewards["group_id"],
            "sample_index": rewards["sample_index"],
            "advantage": scale_advantages(advantage_N, cfg.scale, beta),
            "group_mean": pa.array(mean_N, mask=np.isnan(mean_N)),
            "group_risk_value": pa.array(risk_N, mask=np.isnan(risk_N)),
            "group_status": _group_status(codes_N, reward_N, scored_N, *_right_and_wrong(rewards)),
        },
        schema=ADVANTAGES.schema,
    )
    return made, used


def prompt_of(group_id: str) -> str:
    """The prompt of a group: group_id is "<step>:<prompt_id>" in training."""
    step, colon, prompt = group_id.partition(":")
    return prompt if colon else step


def _columns(rewards: pa.Table) -> tuple[NDArray[np.int64], FloatArray, NDArray[np.bool_]]:
    """Group numbers, rewards and which there are, shape (N,) each."""
    codes_N = pc.dictionary_encode(rewards["group_id"].combine_chunks()).indices.to_numpy()
    reward_N = rewards["reward"].to_numpy().astype(np.float64)
    scored_N = pc.is_valid(rewards["reward"]).to_numpy()
    _check_finite(rewards, reward_N, scored_N)
    return codes_N, reward_N, scored_N


def _by_built_in(cfg: AdvantageConfig, groups: Groups, reward_N: FloatArray) -> FloatArray:
    """The advantages of one of our estimators, shape (N,)."""
    estimate = zero_if_single(estimator_function(cfg.estimator, **cfg.knobs()))
    try:
        return by_group(groups, reward_N, estimate)
    except ValueError as error:
        about = "" if str(error).startswith(cfg.estimator) else f"{cfg.estimator}: "
        raise DataError(f"{about}{error}") from error


def _by_history(
    cfg: AdvantageConfig, history: History | None, groups: Groups, names_K: Sequence[str], reward_N: FloatArray
) -> tuple[FloatArray, dict[str, float]]:
    """The advantages of an estimator that looks at earlier steps, shape (N,), and what it came to."""
    if history is None:
        raise ValueError(f"{cfg.estimator} needs the history of the steps before")
    try:
        batch = Batch(groups, [prompt_of(name) for name in names_K], reward_N, cfg.estimator)
        weighing = WITH_HISTORY[cfg.estimator](batch, history, **cfg.knobs())
    except ValueError as error:
        raise DataError(str(error)) from error
    return weighing.advantages(batch), dict(weighing.used)


def _by_own(own: OwnEstimator, groups: Groups, names_K: Sequence[str], reward_N: FloatArray) -> FloatArray:
    """The advantages of a user's estimator, shape (N,); 0 for groups of one, which have nothing to be compared with."""
    advantage_N = np.zeros_like(reward_N)
    rows = [slice(start, start + size) for start, size in zip(groups.starts_K, groups.sizes_K, strict=True)]
    large = [(name, row) for name, row in zip(names_K, rows, strict=True) if row.stop - row.start > 1]
    made = own([(name, reward_N[row]) for name, row in large])
    for (_, row), advantage_G in zip(large, made, strict=True):
        advantage_N[row] = advantage_G
    return advantage_N


def with_beta_of_step(cfg: AdvantageConfig, step: int, rewards: pa.Table) -> AdvantageConfig:
    """The settings of one step: a schedule of beta replaced by the beta it gives.

    Depends only on its arguments, so that a step that is repeated alone gets the same beta.

    Args:
        cfg: The estimator with its own settings.
        step: The training step, from 0.
        rewards: The step's table of `schemas.REWARDS`, or its COLUMNS.

    Raises:
        DataError: If the schedule looks at a solve rate and the rewards have none.
    """
    if not isinstance(cfg, RsGrpoConfig) or cfg.schedule == "constant":
        return cfg
    match cfg:
        case RsGrpoConfig(schedule="solve_rate", beta_end=float(end)):
            beta = beta_by_solve_rate(cfg.beta, end, solve_rate(rewards))
        case RsGrpoConfig(schedule="linear" | "cosine" as way, beta_end=float(end), schedule_steps=int(steps)):
            beta = beta_by_step(way, cfg.beta, end, step=step, steps=steps)
        case _:
            raise ValueError(f"schedule {cfg.schedule} lacks its beta_end or schedule_steps")
    return RsGrpoConfig(scale=cfg.scale, beta=beta, denominator=cfg.denominator)


def solve_rate(rewards: pa.Table) -> float:
    """Share of right completions among those with a reward; where a user's numbers are no verdicts, their mean.

    Raises:
        DataError: If there is no reward, or numbers that are no verdicts lie outside [0, 1].
    """
    scored = rewards.filter(pc.is_valid(rewards["reward"]))
    if not len(scored):
        raise DataError("no completion of the step has a reward", "use a linear schedule of beta, or a constant beta")
    if not pc.any(pc.equal(scored["reward_status"], Status.SCORED.value)).as_py():
        return float(pc.mean(pc.equal(scored["reward_status"], Status.OK.value)).as_py())
    lowest, highest = pc.min_max(scored["reward"]).as_py().values()
    if not 0 <= lowest <= highest <= 1:
        raise DataError(
            f"schedule solve_rate needs rewards in [0, 1]; these go from {lowest:g} to {highest:g}",
            "scale the rewards, or use a linear or cosine schedule",
        )
    return float(pc.mean(scored["reward"]).as_py())


def facts(advantages: pa.Table) -> dict[str, float | int]:
    """A summary of a table of advantages: how many groups of each status, and how large they are."""
    counts = group_statuses(advantages)
    values = advantages["advantage"].to_numpy()
    return {"groups": sum(counts.values())} | dict(sorted(counts.items())) | {"advantage_rms": advantage_rms(values)}


def group_statuses(advantages: pa.Table) -> dict[str, int]:
    """How many groups there are of each status."""
    # min: all rows of a group have the same.
    statuses = advantages.group_by("group_id").aggregate([("group_status", "min")])["group_status_min"]
    return dict(Counter(statuses.to_pylist()))


def groups_that_count(advantages: pa.Table, order: Sequence[str], limit: int | None = None) -> list[str]:
    """The groups that an update is made from where those without varied rewards do not count.

    Args:
        advantages: Table of `schemas.ADVANTAGES`.
        order: All its groups, in the order drawn.
        limit: At most so many, the first drawn; None for all.
    """
    varied = pc.is_in(advantages["group_status"], pa.array(VARIED))
    groups = set(advantages["group_id"].filter(varied).to_pylist())
    return [group for group in order if group in groups][:limit]


def varied_groups(rewards: pa.Table) -> int:
    """How many groups there are whose rewards are not all equal."""
    spread = rewards.group_by("group_id").aggregate([("reward", "min"), ("reward", "max")])
    return int(pc.sum(pc.less(spread["reward_min"], spread["reward_max"])).as_py() or 0)


def _check_finite(rewards: pa.Table, reward_N: FloatArray, scored_N: NDArray[np.bool_]) -> None:
    bad = np.flatnonzero(scored_N & ~np.isfinite(reward_N))
    if bad.size:
        row = int(bad[0])
        group, sample = rewards["group_id"][row].as_py(), rewards["sample_index"][row].as_py()
        raise DataError(
            f"reward of {group} sample {sample} is {reward_N[row]}; {bad.size} of {len(rewards)} are not finite",
            "make the reward function return finite numbers (or None for no reward) and run `rsgrpo score` again",
        )


def _right_and_wrong(rewards: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which completions are right, and which wrong, shape (N,); grades are neither."""
    right = verdicts.right(rewards)
    if right is None:
        return (neither_N := np.zeros(len(rewards), dtype=bool)), neither_N
    right_N = right.to_numpy()
    return right_N, ~right_N


def _group_status(
    codes_N: NDArray[np.int64],
    reward_N: FloatArray,
    scored_N: NDArray[np.bool_],
    right_N: NDArray[np.bool_],
    wrong_N: NDArray[np.bool_],
) -> pa.Array:
    """By the rewards whether there is a gradient, by the verdicts what the group is.

    Rewards that differ: mixed, or shaped where all verdicts are alike and only length or format tells the completions
    apart. Rewards that are equal: all_right, all_wrong, or constant where there are no such verdicts.
    """
    count = int(codes_N.max(initial=-1)) + 1
    lowest_K, highest_K = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(lowest_K, codes_N[scored_N], reward_N[scored_N])
    np.maximum.at(highest_K, codes_N[scored_N], reward_N[scored_N])
    size_K = np.bincount(codes_N[scored_N], minlength=count)
    all_right_K = np.bincount(codes_N[scored_N & right_N], minlength=count) == size_K
    all_wrong_K = np.bincount(codes_N[scored_N & wrong_N], minlength=count) == size_K
    varied_K = lowest_K < highest_K
    status_K = np.select(
        [size_K == 0, varied_K & (all_right_K | all_wrong_K), varied_K, all_right_K, all_wrong_K],
        [5, 1, 0, 4, 3],
        default=2,
    )
    return pa.array(STATUSES[status_K[codes_N]], type=pa.string())
