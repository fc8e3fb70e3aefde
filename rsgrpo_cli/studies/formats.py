"""A comparison as a table for the screen, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

from rsgrpo_cli.console import table
from rsgrpo_cli.studies.comparison import REWARD, Column, Comparison, Entry

if TYPE_CHECKING:
    from rich.table import Table

Format = Literal["terminal", "markdown", "latex", "csv"]
SUM = "sum"
"""The benchmark of a number that is added up over several."""
_SPECIAL = re.compile(r"([&%$#_{}~^\\[*])")
_COMMANDS = {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "[": "{[}", "*": "{*}"}
"""A bare [ or * at the start of a row would belong to the line break before it."""


def as_text(found: Comparison, form: Format, *, changes: bool = False) -> str:
    """The table in a format for documents, with its caption; with what was newly solved and lost if asked for."""
    shown = found if changes else replace(found, changes={})
    return {"markdown": _markdown, "latex": _latex, "csv": _csv}[form](shown)


def as_data(found: Comparison) -> dict[str, Any]:
    """The whole comparison as JSON-like data."""
    return {
        "baseline": found.baseline.label,
        "benchmarks": list(found.benchmarks),
        "groups": {
            group.label: {
                "seeds": list(group.seeds),
                "runs": [member.name for member in group.members],
                "policy": group.counts(found.benchmarks[0])[0].policy,
            }
            for group in found.groups
        },
        "correction": found.correction,
        "entries": [asdict(entry) for entry in found.entries],
        "newly_solved_and_lost": {label: list(pair) for label, pair in found.changes.items()},
        "unlike": found.unlike(),
        "caption": found.caption(),
    }


def tables(found: Comparison) -> Iterator[Table]:
    """For the screen: the values per benchmark, then the differences to the baseline."""
    for benchmark in found.shown_benchmarks():
        values = table("", *map(heading, found.columns), title=benchmark)
        for group in found.groups:
            entries = [found.entry(group.label, benchmark, column) for column in found.columns]
            shown = map(_with_interval, entries) if len(found.groups) == 1 else (f"{one.value:z.3f}" for one in entries)
            values.add_row(group.label, *shown)
        yield values
        if len(found.groups) == 1:
            continue
        differences = table("", *map(heading, found.columns), title=f"{benchmark}, minus {found.baseline.label}")
        for group in found.groups:
            if group is not found.baseline:
                entries = [found.entry(group.label, benchmark, column) for column in found.columns]
                differences.add_row(group.label, *map(difference, entries))
        yield differences
    if found.changes:
        changes = table("problems per seed", "newly solved", "lost", title="against the base model")
        for label, (new, lost) in found.changes.items():
            changes.add_row(label, f"{new:.1f}", f"{lost:.1f}")
        yield changes


def heading(column: Column) -> str:
    """pass@16, cover@0.5; reward."""
    metric, at = column
    return metric if at is None else f"{metric}@{at:g}"


def difference(entry: Entry) -> str:
    """+0.025 [+0.007, +0.044]*."""
    if entry.difference is None:
        return ""
    return _bare(entry) + ("*" if entry.differs else "")


CHANGES = ("newly solved", "lost")
"""The columns of a document's table on problems, where there is a base model."""


def _rows(found: Comparison, cell: Callable[[Entry], str]) -> Iterator[tuple[str, list[str]]]:
    for group in found.groups:
        places = found.shown_benchmarks()
        entries = [found.entry(group.label, place, column) for place in places for column in found.columns]
        changes = [f"{number:.1f}" for number in found.changes.get(group.label, ())] or [""] * len(CHANGES)
        yield group.label, [cell(entry) for entry in entries] + (changes if found.changes else [])


def _headings(found: Comparison) -> list[str]:
    places = found.shown_benchmarks()
    alone = len(places) == 1
    numbers = [
        heading(column) if alone else f"{place} {heading(column)}" for place in places for column in found.columns
    ]
    return numbers + list(CHANGES if found.changes else ())


def _markdown(found: Comparison) -> str:
    def cell(entry: Entry) -> str:
        if len(found.groups) == 1:
            return _with_interval(entry)
        value = f"{entry.value:z.3f}"
        value = f"**{value}**" if entry.differs else value
        return value if entry.difference is None else f"{value} ({_bare(entry)})"

    head = ["", *_headings(found)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join([label.replace('|', chr(92) + '|'), *cells])} |" for label, cells in _rows(found, cell)]
    return "\n".join([*lines, "", _caption(found)]) + "\n"


def _latex(found: Comparison) -> str:
    scale, digits, small = (1, 3, " Small:") if REWARD in found.columns else (100, 1, " In percent; small:")

    def cell(entry: Entry) -> str:
        value = f"{scale * entry.value:.{digits}f}"
        value = rf"\textbf{{{value}}}" if entry.differs else value
        if len(found.groups) == 1 and not math.isnan(entry.low):
            return rf"{value}\,{{\scriptsize ${ends(entry.low, entry.high)}$}}"
        if entry.difference is None:
            return value
        small = f"{scale * entry.difference:+z.{digits}f}"
        if (interval := _interval(entry)) is not None:
            small += rf"\ {ends(*interval, sign='+')}"
        return rf"{value}\,{{\scriptsize ${small}$}}"

    def ends(low: float, high: float, sign: str = "") -> str:
        """[-1.2, +3.4]."""
        return f"[{scale * low:{sign}z.{digits}f}, {scale * high:{sign}z.{digits}f}]"

    columns = len(found.columns)
    places = found.shown_benchmarks()
    top = " & ".join(rf"\multicolumn{{{columns}}}{{c}}{{{_escaped(place)}}}" for place in places)
    top += rf" & \multicolumn{{{len(CHANGES)}}}{{c}}{{problems}}" if found.changes else ""
    headings = [_escaped(heading(column)) for _ in places for column in found.columns]
    names = " & ".join([*headings, *(CHANGES if found.changes else ())])
    width = len(headings) + (len(CHANGES) if found.changes else 0)
    rows = [" & ".join([_escaped(label), *cells]) + r" \\" for label, cells in _rows(found, cell)]
    of_small = "the interval" if len(found.groups) == 1 else f"minus {found.baseline.label}"
    caption = _caption(found) + f"{small} {of_small}."
    return "\n".join(
        [
            rf"% {caption}",
            rf"\begin{{tabular}}{{l{'r' * width}}}",
            r"\toprule",
            rf" & {top} \\",
            rf" & {names} \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _csv(found: Comparison) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(asdict(found.entries[0])))
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in found.entries)
    everything = found.benchmarks[0] if len(found.benchmarks) == 1 else SUM
    for label, pair in found.changes.items():
        for metric, number in zip(CHANGES, pair, strict=True):
            named = {"label": label, "benchmark": everything, "metric": metric.replace(" ", "_")}
            writer.writerow(named | {"value": number})
    return text.getvalue()


def _with_interval(entry: Entry) -> str:
    """A value that is compared with nothing, and its own interval; of a single problem there is none."""
    known = not math.isnan(entry.low)
    return f"{entry.value:z.3f}" + (f" [{entry.low:z.3f}, {entry.high:z.3f}]" if known else "")


def _bare(entry: Entry) -> str:
    interval = _interval(entry)
    if interval is None:
        return f"{entry.difference:+z.3f}"
    return f"{entry.difference:+z.3f} [{interval[0]:+z.3f}, {interval[1]:+z.3f}]"


def _interval(entry: Entry) -> tuple[float, float] | None:
    """Of the difference; of a single problem there is none."""
    low, high = entry.difference_low, entry.difference_high
    return None if low is None or high is None or math.isnan(low) else (low, high)


def _caption(found: Comparison) -> str:
    told = found.caption().replace("marked *", "bold")
    if found.changes:
        told += " Newly solved and lost: problems per seed, against the base model."
    return told


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _COMMANDS.get(found[1], f"\\{found[1]}"), text)
