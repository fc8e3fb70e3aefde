"""`rsgrpo sql`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, number, print_lines, table
from rsgrpo_cli.errors import UsageError

if TYPE_CHECKING:
    from rsgrpo_cli.report.sql import Result
    from rsgrpo_cli.run.run_dir import RunDir

SHOWN = 200
"""Rows of a table on the screen."""


def sql(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar='[RUN...] ["QUERY"]',
            autocompletion=options.complete_run,
            help="Runs, folders of runs (a sweep), and one query last.  \\[default: the newest run, and its views]",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="table|csv|json|parquet",
            help="How to give the rows.  \\[default: a table, or what --out ends in]",
        ),
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the rows into a .csv, .json or .parquet.")
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="NAME", help="Add what was made with this tag; may be repeated."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Query runs in SQL (DuckDB): completions with rewards and advantages, evaluations, metrics, updates, settings.

    Without a query, the views are listed with their columns. Nothing is changed, and a query reaches nothing else.
    """
    from rsgrpo_cli.report.sql import Database, find_runs

    out = Output(as_json=as_json)
    named, query = _split(places or [])
    if query is None and (form or target):
        raise UsageError("there is no query", 'give one last, in quotes: rsgrpo sql RUN "SELECT * FROM metrics"')
    chosen = "json" if as_json and not (form or target) else _form(form, target)
    runs = find_runs(named)
    database = Database(runs, [options.file_name(name, "--tag") for name in tags or []])
    if query is None:
        _list(out, runs)
        return
    _require_outside(target, runs.values())
    _give(out, database.query(query), chosen, target)


def _split(words: list[str]) -> tuple[list[str], str | None]:
    """The runs and the query: the last word, if it has spaces and is no directory."""
    from rsgrpo_cli.run.run_dir import RUNS

    last = words[-1] if words else ""
    # Not Path.is_dir, which fails where a query is longer than a path may be.
    is_query = bool(re.search(r"\s", last)) and not any(os.path.isdir(path) for path in (last, RUNS / last))
    return (words[:-1], last) if is_query else (words, None)


def _form(form: str | None, target: Path | None) -> str:
    """The format that was asked for, or that a file's name says."""
    from rsgrpo_cli.report.sql_formats import FORMATS

    chosen = form or (target.suffix.removeprefix(".") if target else "table")
    if chosen not in FORMATS or (target and chosen == "table"):
        what = f"--format {form}" if form else f"--out {target}"
        fitting = FORMATS[1:] if target else FORMATS
        raise UsageError(f"{what}: no rows are written like that", f"--format is one of: {', '.join(fitting)}")
    if chosen == "parquet" and target is None:
        raise UsageError("Parquet is for a file, not for the screen", "name one: --out FILE.parquet")
    return chosen


def _require_outside(target: Path | None, runs: Iterable[RunDir]) -> None:
    """Refuse to write into a run that is queried."""
    for run in runs if target else ():
        if target and target.resolve().is_relative_to(run.path.resolve()):
            raise UsageError(f"--out {target} is inside run {run.name}", "write the rows somewhere else")


def _give(out: Output, result: Result, form: str, target: Path | None) -> None:
    from rsgrpo_cli.report import sql_formats

    if target is not None:
        rows = _write(result, form, target)
        out.result({"out": str(target), "format": form, **rows}, lines=[f"rows: {target}"])
    elif out.as_json:
        sql_formats.require_names(result)
        rows = {"rows": [sql_formats.as_object(result, row) for row in result.rows()]}
        out.result({"columns": result.columns, **rows})
    elif form == "table":
        _show(out, result)
    else:
        print_lines(sql_formats.csv_lines(result) if form == "csv" else sql_formats.json_lines(result))


def _write(result: Result, form: str, target: Path) -> dict[str, Any]:
    """Write a file, whole or not at all."""
    from rsgrpo_cli.disk import write_atomically
    from rsgrpo_cli.report import sql_formats

    if form == "parquet":
        write_atomically(target, lambda file: sql_formats.write_parquet(result, file))
        return {}
    lines = sql_formats.csv_lines(result) if form == "csv" else sql_formats.json_lines(result)
    write_atomically(target, lambda file: file.writelines(line.encode() for line in lines))
    return {}


def _show(out: Output, result: Result) -> None:
    """The first rows as a table."""
    rows = list(islice(result.rows(), SHOWN + 1))
    texts = [
        name
        for place, name in enumerate(result.columns)
        if any(not isinstance(row[place], int | float | None) for row in rows)
    ]
    made = table(*result.columns, text=texts)
    for row in rows[:SHOWN]:
        made.add_row(*(_cell(value) for value in row))
    more = [f"the first {SHOWN} rows; all of them: --format csv, or --out FILE"] if len(rows) > SHOWN else []
    out.result({}, made, lines=more if rows else ["no rows"])


def _cell(value: Any) -> str:
    from rsgrpo_cli.report.sql_formats import cell

    return number(value, 4) if isinstance(value, float) else cell(value)


def _list(out: Output, runs: Iterable[str]) -> None:
    """The views with their columns and what these mean."""
    from rsgrpo_cli.report.sql_views import VIEWS

    data = [
        {"view": view.name, "rows": view.rows, "columns": {column.name: column.meaning for column in view.columns}}
        for view in VIEWS
    ]
    tables = []
    for view in VIEWS:
        made = table("column", "meaning", title=f"{view.name}: a row is {view.rows}", text=("meaning",))
        for column in view.columns:
            made.add_row(column.name, column.meaning)
        tables.append(made)
    lines = ['query them: rsgrpo sql RUN "SELECT step, reward_mean FROM metrics"']
    out.result({"runs": list(runs), "views": data}, *tables, lines=lines)
