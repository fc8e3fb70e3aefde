"""`rsgrpo compare`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rsgrpo_cli.commands import options, typed
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.helping import ListOf

SHOWN = 20
FORMATS = ("terminal", "markdown", "latex", "csv")


def compare(
    places: options.Places,
    benchmark: options.EvaluatedOn = None,
    k: options.K = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="LABEL", help="Differences are to it.  \\[default: plain GRPO, or the first]"
        ),
    ] = None,
    cover: Annotated[
        str | None,
        typer.Option(
            "--cover", metavar=ListOf("0.1,0.5"), help="Also the share of problems with at least this solve rate."
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="|".join(FORMATS), help="How to print groups.  \\[default: terminal]"),
    ] = None,
    correction: Annotated[
        str,
        typer.Option(
            "--correction", metavar="bonferroni|none", help="How what is marked allows for the number of differences."
        ),
    ] = "bonferroni",
    as_json: options.JsonOption = False,
) -> None:
    """Compare two evaluations problem by problem, or groups of runs over problems and seeds.

    Two runs: the difference at each k, what was newly solved and newly lost. Runs that differ only in their seed form
    a group; more than two places, or a sweep, give a table of groups with differences to a baseline.
    """
    if as_json and form is not None:
        raise UsageError("--json and --format are two ways to print the same", "give one of them")
    out, form = Output(as_json=as_json), form or "terminal"
    if (
        len(places) == 2
        and all(_is_a_run(place) for place in places)
        and form == "terminal"
        and not (baseline or cover)
    ):
        return _compare_two(out, places, benchmark, k)
    for value, flag, known in ((form, "--format", FORMATS), (correction, "--correction", ("bonferroni", "none"))):
        if value not in known:
            raise UsageError(f"{flag} {value!r} is not known", f"choose one of: {', '.join(known)}")
    _compare_groups(out, places, benchmark, k, baseline, cover, form, correction)


def _is_a_run(place: str) -> bool:
    from rsgrpo_cli.report.evaluations import split_place
    from rsgrpo_cli.run.run_dir import RunDir

    path = RunDir.locate_folder(split_place(place)[0])
    return RunDir.is_there(path) or not (path.is_dir() or {"=", "/"} & set(place))


def _compare_groups(
    out: Output,
    places: list[str],
    benchmark: str | None,
    k: str | None,
    baseline: str | None,
    cover: str | None,
    form: Any,
    correction: Any,
) -> None:
    from rsgrpo_cli.studies import formats
    from rsgrpo_cli.studies.comparable import shared_benchmarks, to_grade_alike
    from rsgrpo_cli.studies.comparison import REWARD, baseline_of, compare_groups, left_out, usual_columns
    from rsgrpo_cli.studies.finding import not_trained
    from rsgrpo_cli.studies.groups import find_groups

    groups = find_groups(places)
    benchmarks = shared_benchmarks(groups, benchmark)
    columns = usual_columns(groups, benchmarks, typed.ks(k) if k else None)
    note = left_out(groups, benchmarks) if k is None and columns != [REWARD] else ""
    columns += [("cover", share) for share in _shares(cover)]
    found = compare_groups(groups, benchmarks, columns, baseline_of(groups, baseline), correction)
    for told in filter(None, (note, not_trained(places))):
        out.info(told)
    if out.as_json or form == "terminal":
        again = to_grade_alike(groups, benchmarks)
        lines = [found.caption(), *([again] if again else [])]
        out.result(formats.as_data(found) | {"grade_again": again}, *formats.tables(found), lines=lines)
    else:
        out.result({}, lines=formats.as_text(found, form, changes=True).splitlines())


def _shares(text: str | None) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(f"--cover {text!r} is not a list of numbers", "write --cover 0.1,0.5") from error
    if not all(0 < share <= 1 for share in shares):
        raise UsageError(f"--cover {text!r}: a solve rate is above 0 and at most 1", "write --cover 0.1,0.5")
    return shares


def _compare_two(out: Output, places: list[str], benchmark: str | None, k: str | None) -> None:
    from rsgrpo_cli.report import comparison
    from rsgrpo_cli.report.tables import comparison_table

    before, after = comparison.find_two(places, benchmark)
    result = comparison.compare(before, after, list(typed.ks(k)) if k else None)
    equal = comparison.equal_results(result)
    lines = ["the two are equal on every problem"] if equal else [f"p: {result['test']}"]
    lines += [_named(result, name) for name in ("newly_solved", "newly_lost") if result[name] is not None]
    lines += comparison.fewer_samples(result) + [f"different: {told}" for told in result["unlike"]]
    out.result(result, comparison_table(result), lines=lines)


def _named(result: dict[str, list[str]], what: str) -> str:
    names = result[what]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what.replace('_', ' ')} ({len(names)}): {', '.join(names[:SHOWN]) or 'none'}{more}"
