"""The bandit's runs as a table for the screen and as the paper's figure of two panels."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.console import table
from rsgrpo_cli.report.figures import BASE_COLOUR, COLOURS, check_drawable, pyplot, save

if TYPE_CHECKING:
    from rich.table import Table

INITIAL_COLOUR = COLOURS[1]
POINTS = 250  # of a line: more cannot be seen, and an .svg holds every one


def summary(runs: pa.Table) -> list[dict[str, Any]]:
    """What the seeds of each beta came to, a row a beta.

    Args:
        runs: Table of `schemas.BANDIT_RUNS`.
    """
    rows = runs.to_pylist()
    return [
        _summarise(beta, [row for row in rows if row["beta"] == beta]) for beta in sorted({r["beta"] for r in rows})
    ]


def _summarise(beta: float, rows: list[dict[str, Any]]) -> dict[str, Any]:
    rewards = [row["expected_reward"] for row in rows]
    moments = [math.inf if row["samples_to_escape"] is None else row["samples_to_escape"] for row in rows]
    middle = statistics.median_low(moments)
    return {
        "beta": beta,
        "seeds": len(rows),
        "expected_reward": statistics.fmean(rewards),
        "sd": statistics.stdev(rewards) if len(rewards) > 1 else None,
        "exact_expected_reward": rows[0]["exact_expected_reward"],
        "escaped": sum(moment < math.inf for moment in moments),
        "samples_to_escape": int(middle) if middle < math.inf else None,
        "best_arms": sorted({row["best_arm"] for row in rows}),
        "entropy": statistics.fmean(row["entropy"] for row in rows),
    }


def bandit_table(rows: list[dict[str, Any]], samples: int) -> Table:
    """The summary, a row a beta."""
    made = table(
        *("beta", "final reward", "sd", "exact gradient", "escaped", "samples to 0.9", "best arm", "entropy"),
        text=("best arm",),
        title=f"{samples:,} samples; median over seeds of the samples to 0.9",
    )
    for row in rows:
        made.add_row(
            f"{row['beta']:g}",
            f"{row['expected_reward']:.4f}",
            "" if row["sd"] is None else f"{row['sd']:.4f}",
            f"{row['exact_expected_reward']:.4f}",
            f"{row['escaped']} of {row['seeds']}",
            "never" if row["samples_to_escape"] is None else f"{row['samples_to_escape']:,}",
            ", ".join(map(str, row["best_arms"])),
            f"{row['entropy']:.3f}",
        )
    return made


def bandit_figure(runs: pa.Table, curves: pa.Table, policies: pa.Table, path: Path) -> None:
    """Left the arms, where the policy starts and where each beta ends; right the expected reward over the samples.

    Args:
        runs: Table of `schemas.BANDIT_RUNS`.
        curves: Table of `schemas.BANDIT_CURVES`.
        policies: Table of `schemas.BANDIT_POLICIES`.
        path: A .svg, .png or .pdf file.
    """
    plt = pyplot()
    check_drawable(path)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.0), constrained_layout=True)
    _draw_arms(left, policies.slice(0, policies["arm"].to_numpy().max() + 1), summary(runs))
    _draw_curves(right, curves, plt.get_cmap("viridis"))
    for axes in (left, right):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    save(figure, path)
    plt.close(figure)


def _draw_arms(axes: Any, arms: pa.Table, rows: list[dict[str, Any]]) -> None:
    """Rewards as a hill, the initial policy on an axis of its own, and a note at each summit on who ends there."""
    number, reward = arms["arm"].to_numpy(), arms["reward"].to_numpy()
    axes.fill_between(number, reward, color=BASE_COLOUR, alpha=0.25, linewidth=0)
    axes.plot(number, reward, color=BASE_COLOUR, label="reward of the arm")
    probability = axes.twinx()
    probability.plot(number, arms["initial_probability"].to_numpy(), color=INITIAL_COLOUR, label="initial policy")
    probability.set(ylabel="initial probability", ylim=(0, 3 * pc.max(arms["initial_probability"]).as_py()))
    probability.yaxis.label.set_color(INITIAL_COLOUR)
    probability.tick_params(axis="y", colors=INITIAL_COLOUR)
    probability.spines["top"].set_visible(False)
    for escaped, summit in ((True, reward.argmax()), (False, arms["initial_probability"].to_numpy().argmax())):
        if betas := _ended(rows, escaped=escaped):
            axes.text(number[summit], reward[summit] + 0.03, f"β = {betas}", ha="center", va="bottom")
    axes.set(xlabel="arm", ylabel="reward", ylim=(0, 1.28), xlim=(number[0], number[-1]), title="Where each β ends")
    axes.set_yticks(np.linspace(0, 1, 6))
    lines = [*axes.get_lines(), *probability.get_lines()]
    axes.legend(lines, [line.get_label() for line in lines], frameon=False, loc="upper left", fontsize="small")


def _ended(rows: list[dict[str, Any]], *, escaped: bool) -> str:
    """The betas that end at the best arm, or do not, with the share of seeds where they differ."""
    parts = []
    for row in rows:
        count = row["escaped"] if escaped else row["seeds"] - row["escaped"]
        if count:
            parts.append(f"{row['beta']:g}" + (f" ({count} of {row['seeds']})" if count < row["seeds"] else ""))
    return ", ".join(parts)


def _draw_curves(axes: Any, curves: pa.Table, colours: Any) -> None:
    """A line a beta, the mean over seeds, with the seeds' range as a band; darker is smaller, beta = 0 grey."""
    betas = sorted(set(curves["beta"].to_pylist()))
    for place, beta in enumerate(betas):
        of_beta = curves.filter(pc.equal(curves["beta"], beta))
        samples = np.unique(of_beta["samples"].to_numpy())
        reward_ST = of_beta["expected_reward"].to_numpy().reshape(-1, len(samples))
        shown = np.unique(np.r_[0 : len(samples) : max(1, len(samples) // POINTS), len(samples) - 1])
        thousands, reward_ST = samples[shown] / 1000, reward_ST[:, shown]
        # The map's last tenth is a yellow too pale for a line.
        colour, style = (colours(0.9 * place / max(len(betas) - 1, 1)), "-") if beta else (BASE_COLOUR, "--")
        axes.plot(thousands, reward_ST.mean(axis=0), style, color=colour, label=f"{beta:g}", zorder=2 if beta else 3)
        axes.fill_between(thousands, reward_ST.min(axis=0), reward_ST.max(axis=0), color=colour, alpha=0.2, lw=0)
    seeds = len(set(curves["seed"].to_pylist()))
    axes.set(xlabel="samples (thousands)", ylabel="expected reward", ylim=(None, 1.04))
    axes.set_xlim(0, curves["samples"].to_numpy().max() / 1000)
    axes.set_title(f"Mean and range of {seeds} seeds" if seeds > 1 else "One seed")
    axes.grid(alpha=0.25)
    axes.legend(title="β", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
