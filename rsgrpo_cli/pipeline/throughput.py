"""What a run has measured of its own speed: for `rsgrpo plan`, which may be asked about more GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from statistics import median
from typing import Any

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import part_files
from rsgrpo_cli.schemas import METRICS
from rsgrpo_cli.stages.rollout import PART_COMPLETIONS

STEPS = 20
"""The newest steps that count; medians are taken over them, since a command's first step loads what others find."""
COLUMNS = ("step", "groups_sampled", "completion_length_mean", "seconds_rollout", "seconds_score", "seconds_update")


def read_throughput(run: RunDir) -> dict[str, float] | None:
    """The run's own rates, None if no step of it was timed.

    Returns:
        steps: How many it is taken from.
        mean_tokens: Of a completion.
        sampler_tokens: Per second of one sampler, while it has parts.
        update_completions: Per second of one rank.
        verdicts: Per second of one scorer.
        parquet: Bytes of a part's file per token; where parts are there.

    Raises:
        ArtifactError: If the metrics are damaged.
    """
    if not run.metrics.is_file():
        return None
    timed = [row for row in read_table(run.metrics, METRICS, COLUMNS).to_pylist() if all(map(row.get, COLUMNS[2:]))]
    rows = timed[-STEPS:]
    if not rows:
        return None
    config, numbers = run.config(), _workers(run)
    group = config.rollout.group_size
    found: dict[str, list[float]] = {"sampler_tokens": [], "update_completions": [], "verdicts": []}
    for row in rows:
        completions = (row["groups_sampled"] or config.rollout.prompts_per_step) * group
        workers, ranks = (numbers.get((stage, row["step"]), 1) for stage in ("rollout", "update"))
        parts = ceil(completions / PART_COMPLETIONS)
        busy = parts / ceil(parts / workers)  # samplers at work, on average
        tokens = completions * row["completion_length_mean"]
        found["sampler_tokens"].append(tokens / row["seconds_rollout"] / busy)
        found["update_completions"].append(completions / row["seconds_update"] / ranks)
        found["verdicts"].append(completions / row["seconds_score"] / config.score.workers)
    mean = median(row["completion_length_mean"] for row in rows)
    newest = run.rollouts(rows[-1]["step"])
    written = sum(path.stat().st_size for path in part_files(newest)) if newest.is_dir() else 0
    made = {"steps": len(rows), "mean_tokens": mean} | {name: median(values) for name, values in found.items()}
    size = (rows[-1]["groups_sampled"] or config.rollout.prompts_per_step) * group * rows[-1]["completion_length_mean"]
    return made | ({"parquet": written / size} if written else {})


def _workers(run: RunDir) -> Mapping[tuple[str, int], int]:
    """(stage, step) -> how many made it, where the log says that there were several."""
    return {
        (event["stage"], event["step"]): event["workers"]
        for event in run.recorded()
        if "step" in event and _is_count(event.get("workers"))
    }


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0
