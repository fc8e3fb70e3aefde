"""Figures, drawn with matplotlib (the extra `report`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsgrpo_cli.errors import DependencyError, UsageError
from rsgrpo_cli.report.evaluations import Evaluation

# Okabe and Ito's colours, which readers with any colour vision can tell apart; the base model is grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BASE_COLOUR = "#777777"


def pyplot() -> Any:
    """matplotlib.pyplot, set to draw into files.

    Raises:
        DependencyError: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise DependencyError("figures need matplotlib", "pip install 'rsgrpo[report]'") from error
    matplotlib.use("agg")
    # No date and no random ids in the file: equal data give equal bytes.
    matplotlib.rcParams.update({"svg.hashsalt": "rsgrpo", "svg.fonttype": "path"})
    import matplotlib.pyplot as plt

    return plt


def check_drawable(path: Path) -> None:
    """Refuse a file of a kind that cannot be drawn into, before any work is done for it.

    Raises:
        UsageError: If it is neither .svg, .png nor .pdf.
    """
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise UsageError(f"cannot draw into {path}", "give a file that ends in .svg, .png or .pdf")


def save(figure: Any, path: Path) -> None:
    """Write a figure, with nothing in the file that would differ the next time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160, metadata=_UNDATED.get(path.suffix, {}))


_UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def passk_figure(evaluations: Sequence[tuple[str, Evaluation]], path: Path) -> None:
    """pass@k against k, a line per policy, with the interval over problems as a band.

    Args:
        evaluations: Label and evaluation, all of one benchmark.
        path: A .svg, .png or .pdf file.

    Raises:
        UsageError: If the file cannot be drawn into, or an evaluation has no pass@k.
        DependencyError: If matplotlib is not installed.
    """
    graded = next((evaluation.label for _, evaluation in evaluations if evaluation.is_graded), None)
    if graded:
        raise UsageError(f"{graded} was graded, and grades have no pass@k to draw", "leave --figure out")
    plt = pyplot()
    check_drawable(path)
    figure, axes = plt.subplots(figsize=(6.4, 4.0), constrained_layout=True)
    colours = iter(COLOURS * len(evaluations))
    for label, evaluation in evaluations:
        curve = evaluation.curve()
        ks = [row["k"] for row in curve]
        colour = BASE_COLOUR if evaluation.version == 0 else next(colours)
        style = "--" if evaluation.version == 0 else "-"
        axes.plot(ks, [row["value"] for row in curve], style, color=colour, marker="o", markersize=3.5, label=label)
        if all(row["ci_low"] is not None for row in curve):
            low, high = [row["ci_low"] for row in curve], [row["ci_high"] for row in curve]
            axes.fill_between(ks, low, high, color=colour, alpha=0.10, linewidth=0)
    first = evaluations[0][1]
    axes.set_xscale("log", base=2)
    ticks = [row["k"] for row in first.curve()]
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.set(xlabel="k", ylabel="pass@k", title=f"{first.benchmark}, {len(first.problems)} held-out problems")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    save(figure, path)
    plt.close(figure)
