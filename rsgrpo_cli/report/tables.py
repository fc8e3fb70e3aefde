"""Evaluations as tables for the screen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.console import number, p_value, table
from rsgrpo_cli.report.evaluations import Evaluation, columns
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    from rich.table import Table


def with_interval(row: dict[str, Any] | None) -> str:
    """A value with its interval over problems: 0.404 [0.362, 0.447]."""
    if row is None:
        return ""
    interval = "" if row["ci_low"] is None else f" [{row['ci_low']:z.3f}, {row['ci_high']:z.3f}]"
    return f"{row['value']:z.3f}{interval}"


def passk_table(evaluations: Sequence[tuple[str, Evaluation]], ks: Sequence[int]) -> Table:
    """pass@k of several policies side by side, a row each; of grades, their mean reward."""
    first = evaluations[0][1]
    alike = all(evaluation.num_samples == first.num_samples for _, evaluation in evaluations)
    each = f", {counted(first.num_samples, 'sample')} each" if alike else ""
    title = f"{first.benchmark}: {counted(len(first.problems), 'problem')}{each}; 95% over problems"
    shown = columns([evaluation for _, evaluation in evaluations], ks)
    made = table("policy", *(() if alike else ("samples",)), *(heading for heading, _, _ in shown), title=title)
    for label, evaluation in evaluations:
        samples = () if alike else (str(evaluation.num_samples),)
        made.add_row(label, *samples, *(with_interval(evaluation.value(metric, k)) for _, metric, k in shown))
    return made


def evaluation_table(evaluation: Evaluation, ks: Sequence[int]) -> Table:
    """pass@k and maj@k of one policy with both kinds of error, and what there is to know about its samples."""
    title = (
        f"{evaluation.benchmark}: {counted(len(evaluation.problems), 'problem')}, "
        f"{counted(evaluation.num_samples, 'sample')} each, "
        f"temperature {evaluation.sampling['temperature']:g}, top_p {evaluation.sampling['top_p']:g}"
    )
    made = table(evaluation.label, "value", "± sampling", "95% over problems", title=title)
    for metric, name in (("pass", "pass"), ("pass_lenient", "pass (lenient)"), ("maj", "maj")):
        for k in ks:
            _add(made, f"{name}@{k}", evaluation.value(metric, k))
    for row in evaluation.summary.to_pylist():
        if row["k"] is None:
            _add(made, row["metric"].replace("_", " ", 1), row)
    return made


def macro_table(evaluations: Sequence[Evaluation], rows: Sequence[dict[str, Any]]) -> Table:
    """The mean over benchmarks, and each of them, a row per k."""
    names = [evaluation.benchmark for evaluation in evaluations]
    title = f"macro mean of {counted(len(names), 'benchmark')}, {counted(rows[0]['n_problems'], 'problem')}"
    made = table(evaluations[0].label, "mean", "± sampling", "95% over problems", *names, title=title)
    for row in rows:
        values = [evaluation.value("pass", row["k"]) for evaluation in evaluations]
        error = "-" if row["sampling_error"] is None else number(row["sampling_error"], 4)
        interval = "" if row["ci_low"] is None else f"{number(row['ci_low'])} .. {number(row['ci_high'])}"
        made.add_row(
            f"pass@{row['k']}",
            number(row["value"]),
            error,
            interval,
            *(number(v["value"] if v else None) for v in values),
        )
    return made


def _add(made: Table, name: str, row: dict[str, Any] | None) -> None:
    if row is not None:
        interval = "" if row["ci_low"] is None else f"{number(row['ci_low'])} .. {number(row['ci_high'])}"
        # With n < 2k samples nothing can be said about the sampling error: n = k is a single draw.
        error = number(row["sampling_error"], 4) if row["sampling_error"] is not None else "-" if row["k"] else ""
        made.add_row(name, number(row["value"]), error, interval)


def comparison_table(result: dict[str, Any]) -> Table:
    """A paired comparison, a row per k."""
    title = (
        f"{result['benchmark']}: {result['after']} against {result['before']}, "
        f"{counted(result['problems'], 'problem')}, "
        f"{counted(result['compared_samples'], 'sample')} each, paired"
    )
    names = (result["before"], result["after"])
    made = table("", *names, "difference", "95% over problems", "p", "better / worse / tied", title=title)
    for row in result["differences"]:
        made.add_row(
            f"pass@{row['k']}" if row["k"] else row["metric"],
            number(row["before"]),
            number(row["after"]),
            f"{row['difference']:+z.3f}",
            f"{row['ci_low']:+z.3f} .. {row['ci_high']:+z.3f}",
            p_value(row["p_value"]),
            f"{row['better']:,} / {row['worse']:,} / {row['tied']:,}",
        )
    return made


def estimators_table(result: dict[str, Any]) -> Table:
    """What several estimators make of the same rewards, a row each; the last columns say where their weight goes."""
    title = (
        f"step {result['step']}: {counted(result['completions'], 'completion')} in "
        f"{counted(result['groups'], 'group')}, "
        f"{result['constant_groups']:.0%} of them constant"
    )
    made = table("estimator", "rms", "min", "max", "eff. n", "silent", *difficulties(result), title=title)
    for row in result["methods"]:
        made.add_row(
            row["label"],
            *(number(row[name]) for name in ("rms", "lowest", "highest")),
            f"{row['effective_sample_size']:.0f}",
            f"{row['silent_groups']:.0%}",
            *(f"{share:.0%}" for share in row["share_by_difficulty"]),
        )
    return made


def difficulties(result: dict[str, Any]) -> list[str]:
    """The ranges of a group's mean reward that a comparison tells apart."""
    return [f"{low:.3g}..{high:.3g}" for low, high in pairwise(result["difficulty_edges"])]
