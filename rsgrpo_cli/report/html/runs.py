"""The page's section about the runs: curves, time, settings, lineage, versions, commands, warnings."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.config.sources import flat
from rsgrpo_cli.report.html import commands
from rsgrpo_cli.report.html.places import Arm
from rsgrpo_cli.report.inspect import other_settings, stale_parts
from rsgrpo_cli.run.run_commands import command
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import evaluations
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import METRICS, SUMMARY

CURVES = (
    *("reward_mean", "pass@1", "pass@G", "cumulative_solve_rate", "entropy", "groups_mixed", "completion_length_mean"),
    *("truncated_fraction", "advantage_rms", "grad_norm", "logprob_diff_mean", "importance_ratio_max"),
    *("ratio_capped_fraction", "clip_fraction_high", "clip_fraction_low", "kl", "lr", "seconds_step"),
)
"""Columns of metrics.parquet that are drawn, in this order."""
POINTS, ALL_POINTS = 400, 90_000
"""Points of a curve, and of all curves of the page together."""
MOST_EVALUATIONS = 200
"""Evaluations of a run whose results are shown; the newest."""
NEWEST, MOST_STALE = 10, 5
"""Steps that are looked at for warnings; and sentences about what is stale in them."""
STAGES = ("prepare", "rollout", "score", "advantage", "update", "eval")


def curves(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """For each arm with metrics: its steps, and of every curve the mean, the lowest and the highest over its runs."""
    tables = [(at, [_metrics(place.run) for place in arm.places]) for at, arm in enumerate(arms) if not arm.is_base]
    own = [(at, [table for table in found if table]) for at, found in tables]
    points = min(POINTS, max(20, ALL_POINTS // (max(len(own), 1) * 3 * len(CURVES))))
    return [_family(at, found, points) for at, found in own if found]


def _metrics(run: RunDir) -> dict[str, np.ndarray[Any, Any]]:
    if not run.metrics.is_file():
        return {}
    table = read_table(run.metrics, METRICS, ["step", *CURVES])
    return {name: table[name].to_numpy().astype(float) for name in table.column_names} if len(table) else {}


def _family(arm: int, runs: Sequence[Mapping[str, np.ndarray[Any, Any]]], points: int) -> dict[str, Any]:
    every = sorted({int(step) for run in runs for step in run["step"]})
    stride = -(-len(every) // points)
    steps = every[::-1][::stride][::-1]
    series = {}
    for name in CURVES:
        stacked = np.array([_at(run, name, steps) for run in runs])
        if np.isfinite(stacked).any():
            series[name] = _band(stacked)
    return {"arm": arm, "runs": len(runs), "steps": steps, "every": stride, "series": series}


def _at(run: Mapping[str, np.ndarray[Any, Any]], name: str, steps: Sequence[int]) -> list[float]:
    found = dict(zip(run["step"].astype(int).tolist(), run[name].tolist(), strict=True))
    return [found.get(step, np.nan) for step in steps]


def _band(stacked_RS: np.ndarray[Any, Any]) -> list[list[float | None]]:
    """Mean over the runs; with several, also the lowest and the highest."""
    known = np.isfinite(stacked_RS)
    count = known.sum(axis=0)
    total = np.where(known, stacked_RS, 0.0).sum(axis=0)
    rows = [np.where(count > 0, total / np.maximum(count, 1), np.nan)]
    if len(stacked_RS) > 1:
        rows.append(np.where(count > 0, np.where(known, stacked_RS, np.inf).min(axis=0), np.nan))
        rows.append(np.where(count > 0, np.where(known, stacked_RS, -np.inf).max(axis=0), np.nan))
    return [[_short(value) for value in row.tolist()] for row in rows]


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def evaluated(run: RunDir) -> list[dict[str, Any]]:
    """pass@k of the policies of a run that were evaluated, at the smallest and the largest k of each evaluation."""
    rows = []
    for version, name in evaluations(run)[-MOST_EVALUATIONS:]:
        table = read_table(run.evaluation(version, name) / "summary.parquet", SUMMARY).to_pylist()
        found = sorted((row for row in table if row["metric"] == "pass"), key=lambda row: row["k"])
        for row in found[:1] + found[1:][-1:]:
            rows.append({"policy": version, "benchmark": name, "samples": row["n_samples"], "k": row["k"]})
            rows[-1] |= {"value": row["value"], "low": row["ci_low"], "high": row["ci_high"]}
    return rows


def about(run: RunDir) -> dict[str, Any]:
    """Where a run's time went, what it was made of, and how to make it again."""
    config = run.config()
    return {
        "name": run.name,
        "path": str(run.path),
        "steps": [len(run.steps()), run.newest_version(), config.train.steps],
        "seconds": _seconds(run),
        "origin": run.origin(),
        "lineage": _lineage(run),
        "versions": _versions(run),
        "commands": commands.again(run, config),
        "next": commands.following(run),
        "warnings": [*stale(run), *warnings(run, config)],
        "evaluated": evaluated(run),
    }


def _seconds(run: RunDir) -> list[list[Any]]:
    total: dict[str, float] = defaultdict(float)
    for event in run.recorded():
        total[f"tag {event['tag']}" if "tag" in event else str(event["stage"])] += event["seconds"]
    order = [*(name for name in STAGES if name in total), *sorted(set(total) - set(STAGES))]
    return [[name, round(total[name], 2)] for name in order]


def settings(runs: Sequence[RunDir]) -> dict[str, Any]:
    """Every setting of the first run, and for the others what differs from it."""
    values = [flat(run.config().model_dump(mode="json")) for run in runs]
    names = list(dict.fromkeys(name for own in values for name in own))
    differ = [name for name in names if any(own.get(name) != values[0].get(name) for own in values)]
    return {
        "all": {name: _typed(values[0][name]) for name in names if name in values[0]},
        "differ": {name: [_typed(own[name]) if name in own else None for own in values] for name in differ},
    }


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _lineage(run: RunDir) -> list[list[str]]:
    """What the run was made of: ids that are equal where the content is."""
    rows = []
    done = [step for step in run.steps() if Step(run, step).updates]
    for step in dict.fromkeys(done[:1] + done[-1:]):
        lineage = Step(run, step).updates.first
        rows += [[f"{role} of step {step}", str(value)] for role, value in sorted(lineage.inputs.items())]
        rows += [[f"policy after step {step}", str(lineage.outputs["policy"])]] if "policy" in lineage.outputs else []
    sampled = [step for step in run.steps() if Step(run, step).rollouts]
    if sampled:
        rows.append(["prompts", Step(run, sampled[-1]).sampled.inputs["prompts"]])
    return rows


def _versions(run: RunDir) -> dict[str, str]:
    """Versions of the packages that made the newest step, or the newest evaluation."""
    lineage = _newest(run)
    return dict(lineage.versions) if lineage else {}


def _newest(run: RunDir) -> Lineage | None:
    steps = [step for step in run.steps() if Step(run, step).rollouts]
    if steps:
        return Step(run, steps[-1]).sampled
    for version, name in reversed(evaluations(run)):
        return read_lineage(run.evaluation(version, name) / "summary.parquet", SUMMARY)
    return None


def stale(run: RunDir) -> list[str]:
    """What of the newest steps was made from something that has been replaced since, or with other settings."""
    steps, origin = run.steps()[-NEWEST:], run.origin()
    told = [text for step in steps for text in stale_parts(run, step)]
    own = [step for step in steps if origin is None or step >= origin["step"]]
    told += [text for step in own for text in other_settings(run, step)]
    less = len(told) - MOST_STALE
    return told[:MOST_STALE] + ([f"and {less} more of the kind: {command(run, 'status')}"] if less > 0 else [])


def warnings(run: RunDir, config: RunConfig) -> list[str]:
    """What should be looked into, over the newest steps."""
    if not run.metrics.is_file():
        return []
    table = read_table(run.metrics, METRICS).slice(0)
    rows = table.to_pylist()
    newest = rows[-NEWEST:]
    told = []

    def mean(name: str) -> float:
        known = [row[name] for row in newest if row[name] is not None]
        return sum(known) / len(known) if known else 0.0

    learnt_from = [
        row["groups_mixed"] + (row["groups_shaped"] or 0) for row in newest if row["groups_mixed"] is not None
    ]
    if learnt_from and not any(learnt_from):
        told.append("no group of the newest steps has a gradient: all answers of each prompt got the same reward")
    if mean("truncated_fraction") > 0.2:
        told.append(f"{mean('truncated_fraction'):.0%} of the completions were cut at max_tokens: raise --max-tokens")
    completions = config.rollout.group_size * config.rollout.prompts_per_step
    failed = mean("scorer_errors") + mean("scorer_timeouts")
    if failed > 0.01 * completions:
        told.append(f"the verifier failed or timed out on {failed:.1f} of {completions} completions of a step")
    if mean("ratio_capped_fraction") > 0.01:
        told.append(f"the importance ratio of {mean('ratio_capped_fraction'):.1%} of the tokens was capped")
    if mean("logprob_diff_mean") > 0.05:
        told.append(f"sampler and trainer differ by {mean('logprob_diff_mean'):.3f} nats per token on average")
    first = next((row["entropy"] for row in rows if row["entropy"]), None)
    if first and newest[-1]["entropy"] is not None and newest[-1]["entropy"] < first / 10:
        told.append(f"the entropy fell from {first:.3f} to {newest[-1]['entropy']:.3f} nats per token")
    return told
