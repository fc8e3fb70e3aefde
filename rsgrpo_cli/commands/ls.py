"""`rsgrpo ls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import options, typed
from rsgrpo_cli.console import Output, number, table
from rsgrpo_cli.helping import ListOf
from rsgrpo_cli.wording import counted, plural, verb

if TYPE_CHECKING:
    from rich.table import Table

    from rsgrpo_cli.studies.listing import Listing, Row

SETTINGS_SHOWN = 5


def ls(
    place: Annotated[
        str | None, typer.Argument(metavar="[SWEEP|FOLDER]", help="Where to look.  \\[default: runs]")
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="COLUMN", help="name, steps, reward, eval_reward, pass@K, or a setting.")
    ] = "name",
    k: Annotated[
        str | None,
        typer.Option("--k", metavar=ListOf("1,32,..."), help="Values of k; by default 1 and the largest one."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """List runs: the settings in which they differ, steps done, last reward, newest evaluation, and who is at work.

    The runs of a sweep or of any folder, or the small results in it; in runs/, the sweeps are named below the table.
    """
    from rsgrpo_cli.studies.listing import listing, ordered

    found = listing(place)
    rows = ordered(found, sort)
    by = sort.removeprefix("pass@")
    ks = list(typed.ks(k)) if k else [int(by)] if by != sort else []
    Output(as_json=as_json).result(_data(found, rows), *_tables(found, rows, ks), lines=_lines(found, rows, ks))


def _data(found: Listing, rows: list[Row]) -> dict[str, Any]:
    from dataclasses import asdict

    differing = list(found.differing())
    runs = [asdict(row) | {"settings": {name: row.settings.get(name) for name in differing}} for row in rows]
    return {"place": str(found.place), "runs": runs, "sweeps": found.sweeps}


def _tables(found: Listing, rows: list[Row], ks: list[int]) -> list[Table]:
    from rsgrpo_cli.studies.listing import EVALUATED

    if not rows:
        return []
    names = _shown(found)
    headings = [found.headings()[name] for name in names]
    mixed = len(_benchmarks(rows)) > 1
    passed = [f"pass@{k}" for k in ks] or (["pass@1", "pass@k"] if any(row.passed for row in rows) else [])
    graded = [EVALUATED] if any(row.eval_reward is not None for row in rows) else []
    made = table("run", "steps", "reward", *graded, *passed, *(["on"] if mixed else []), *headings)
    for row in rows:
        made.add_row(
            f"{row.name} *" if row.holder else row.name,
            f"{row.steps}/{row.wanted}" if row.wanted else "?" if row.damage else "base",
            number(row.reward),
            *(number(row.eval_reward) for _ in graded),
            *([number(row.passed.get(k)) for k in ks] or _passed(row)[: len(passed)]),
            *([row.benchmark] if mixed else []),
            *(_told(row.settings.get(name)) for name in names),
        )
    return [made]


def _passed(row: Row) -> list[str]:
    """pass@1, and at the largest k that was evaluated, with it: a row is the same whatever stands beside it."""
    most = max(row.passed, default=1)
    return [number(row.passed.get(1)), f"{number(row.passed[most])} (k={most})" if most > 1 else ""]


def _benchmarks(rows: list[Row]) -> set[str]:
    return {row.benchmark for row in rows if row.benchmark}


def _shown(found: Listing) -> list[str]:
    """The settings that have a column: the seed, and as many of the others as there is room for, the method first."""
    differing = list(found.differing())
    others = sorted((name for name in differing if name != "seed"), key=_rank)[: SETTINGS_SHOWN - 1]
    return [*others, *(["seed"] if "seed" in differing else [])]


def _rank(name: str) -> int:
    """What is looked for first: estimator, beta and the like, then the learning rate."""
    return 0 if name.startswith("advantage.") else 1 if name == "update.learning_rate" else 2


def _told(value: Any) -> str:
    return "" if value is None else typed.shown(value)


def _about_evaluations(rows: list[Row]) -> list[str]:
    """What the columns of evaluations are on, and of."""
    from rsgrpo_cli.studies.listing import EVALUATED

    there = {EVALUATED: any(row.eval_reward is not None for row in rows), "pass@k": any(row.passed for row in rows)}
    columns = [name for name, is_there in there.items() if is_there]
    what, benchmarks = " and ".join(columns), _benchmarks(rows)
    is_or_are = verb(len(columns), "is")
    lines = [f"{what} {is_or_are} on {', '.join(benchmarks)}"] if columns and len(benchmarks) == 1 else []
    if columns and any(row.policy not in (None, row.steps) for row in rows):
        lines.append(f"{what} {is_or_are} of the newest policy that was evaluated, not always of the last step")
    return lines


def _lines(found: Listing, rows: list[Row], ks: list[int]) -> list[str]:
    hidden = len(found.differing()) - len(_shown(found))
    lines = [f"* {row.name} is in use by {row.holder}" for row in rows if row.holder]
    lines += [f"{row.name} cannot be read: {row.damage}" for row in rows if row.damage]
    lines += [f"no run was evaluated for pass@{k}" for k in ks if not any(k in row.passed for row in rows)]
    lines += _about_evaluations(rows)
    lines += (
        [f"{hidden} more {plural(hidden, 'setting')} {verb(hidden, 'differs')}: rsgrpo ls --json lists them"]
        if hidden > 0
        else []
    )
    return lines + [f"sweep {found.place / name}: {counted(count, 'run')}" for name, count in found.sweeps.items()]
