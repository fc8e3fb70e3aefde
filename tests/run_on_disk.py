"""A run directory with steps of a few completions, written without sampling or training anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import Lineage, combined_id, read_lineage, write_json, write_table
from rsgrpo_cli.config import resolve
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import rewards_of
from rsgrpo_cli.schemas import ADVANTAGES, PROBLEMS, PROMPTS, REWARDS, ROLLOUTS, SUMMARY, UPDATE_METRICS
from tests.tables import advantages, problems, prompts, rewards, rollouts, summary, update_metrics

LENGTHS = {"p-000001": [1, 2], "p-000002": [3, 9]}
VALUES = {"p-000001": [1, 0], "p-000002": [1, 1]}
ADVANTAGE = {"p-000001": [0.5, -0.5], "p-000002": [0.0, 0.0]}
STATUSES = {"p-000001": "mixed", "p-000002": "all_right"}
UPDATE = {"loss": 1.0, "grad_norm": 2.0, "learning_rate": 0.1, "tokens_forward": 3}


def new_run(path: Path, ids: Sequence[str] = ("p-000001", "p-000002"), **settings: Any) -> RunDir:
    """A run with problems and no steps; settings as `advantage__beta=3.0`."""
    run = RunDir.create(path, resolve({name.replace("__", "."): value for name, value in settings.items()}))
    write_prompts(run, ids)
    return run


def write_prompts(run: RunDir, ids: Sequence[str]) -> None:
    write_table(run.prompts, prompts(ids), PROMPTS, Lineage("prepare", {"dataset": "made"}, {}))


def write_step(run: RunDir, number: int, *, policy: str = "base", made: str = "next") -> None:
    """A whole step.

    Args:
        run: The run.
        number: From 0.
        policy: Id of the policy that was sampled.
        made: Id of the policy that the update made.
    """
    write_rollouts(run, number, LENGTHS, policy)
    write_rewards(run, number, VALUES)
    write_advantages(run, number)
    write_update(run, number, made)


def write_rollouts(run: RunDir, number: int, lengths: Mapping[str, Sequence[int]], policy: str = "base") -> None:
    folder = run.step(number) / "rollouts"
    sampled = run.config().rollout.decisive() | {"engine": "hf"}
    inputs = {"prompts": read_lineage(run.prompts, PROMPTS).id, "policy": policy}
    table = rollouts(lengths, step=number, version=number)
    part = folder / "part-00000.parquet"
    write_table(part, table, ROLLOUTS, Lineage("rollout", sampled, inputs, policy_version=number))
    parts = {part.stem: read_lineage(part, ROLLOUTS).id}
    write_json(folder / "manifest.json", {"id": combined_id(parts.values()), "rows": len(table), "parts": parts})


def write_rewards(
    run: RunDir,
    number: int,
    values: Mapping[str, Sequence[Any]],
    *,
    own: bool = False,
    config: Mapping[str, Any] | None = None,
) -> None:
    """With the run's settings unless others are given."""
    made_from = read_lineage(run.rollouts(number) / "part-00000.parquet", ROLLOUTS).id
    lineage = Lineage("score", config or run.config().score.decisive(), {"rollouts": made_from})
    write_table(run.rewards(number) / "part-00000.parquet", rewards(values, step=number, own=own), REWARDS, lineage)


def write_older_rewards(run: RunDir, number: int, values: Mapping[str, Sequence[Any]]) -> None:
    """In one file, as before there were parts."""
    made_from = combined_id([read_lineage(run.rollouts(number) / "part-00000.parquet", ROLLOUTS).id])
    lineage = Lineage("score", run.config().score.decisive(), {"rollouts": made_from})
    write_table(run.step(number) / "rewards.parquet", rewards(values, step=number), REWARDS, lineage)


def write_advantages(run: RunDir, number: int, **changed: Any) -> None:
    """With the run's settings, but for those that are changed."""
    made_from = rewards_of(run, number).id
    lineage = Lineage("advantage", run.config().advantage.decisive() | changed, {"rewards": made_from})
    write_table(run.advantages(number), advantages(ADVANTAGE, STATUSES, step=number), ADVANTAGES, lineage)


def write_update(run: RunDir, number: int, made: str) -> None:
    made_from = read_lineage(run.advantages(number), ADVANTAGES).id
    lineage = Lineage(
        "update", run.config().update.decisive(), {"advantages": made_from}, number, outputs={"policy": made}
    )
    write_table(run.update_metrics(number), update_metrics(UPDATE), UPDATE_METRICS, lineage)


def write_evaluation(run: RunDir, version: int, right: Mapping[str, Sequence[int]], at: float = 1.0) -> None:
    """An evaluation of the first two samples of each problem, whatever more the parts hold.

    Args:
        run: The run.
        version: The policy.
        right: Whether each sample of a problem is right.
        at: Where on the line from the base model to the policy.
    """
    folder = run.evaluation(version, "toy", at)
    lineage = Lineage("eval", {"num_samples": 2}, {"policy": "base", "prompts": "x", "rollouts": "x", "rewards": "x"})
    part = "part-00000-00003-00000.parquet"
    counts = {name: sum(values[:2]) for name, values in right.items()}
    values: dict[tuple[str, int | None], float] = {
        ("pass", 1): sum(counts.values()) / len(counts) / 2,
        ("pass", 256): 1.0,
    }
    write_table(folder / "rollouts" / part, rollouts(right, step=None), ROLLOUTS, lineage)
    write_table(folder / "rewards" / part, rewards(right, step=None), REWARDS, lineage)
    write_table(folder / "problems.parquet", problems(counts, 2), PROBLEMS, lineage)
    write_table(folder / "summary.parquet", summary(2, values), SUMMARY, lineage)
