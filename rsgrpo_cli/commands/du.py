"""`rsgrpo du`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, size, table


def du(
    places: Annotated[
        list[str] | None, typer.Argument(metavar="RUN|SWEEP...", help="Runs and sweeps; all under runs/ unless given.")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show how much disk space runs use, and what for.

    Files that a run shares with its forks (hard links) are counted in each, and in the total once.
    """
    from rsgrpo_cli.report.sql import find_runs
    from rsgrpo_cli.report.usage import by_kind, bytes_on_disk
    from rsgrpo_cli.run.run_dir import RUNS, RunDir

    configs = [*RUNS.glob("[!.]*/config.json"), *RUNS.glob("[!.]*/[!.]*/config.json")]  # those of sweeps, too
    names = places or sorted(str(path.parent) for path in configs if RunDir.is_there(path.parent))
    runs = list(find_runs(names).values())
    data: dict[str, Any] = {"runs": [], "bytes": bytes_on_disk([run.path for run in runs])}
    for run in runs:
        used = by_kind(run)
        kinds = [{"kind": kind, "files": files, "bytes": total} for kind, (files, total) in used.items()]
        whole = sum(total for _, total in used.values())
        data["runs"].append({"run": str(run.path), "bytes": whole, "kinds": kinds})
    made = _kinds(data["runs"][0]) if len(runs) == 1 else _runs(data["runs"])
    lines = [f"{size(data['bytes'])} in all; rsgrpo gc RUN says what may go"]
    Output(as_json=as_json).result(data, made, lines=lines)


def _kinds(run: dict[str, Any]) -> Any:
    made = table("what", "size", "files", title=run["run"])
    for kind in run["kinds"]:
        made.add_row(kind["kind"], size(kind["bytes"]), f"{kind['files']:,}")
    return made


def _runs(runs: list[dict[str, Any]]) -> Any:
    made = table("run", "size", "files", "most of it")
    for run in sorted(runs, key=lambda run: -int(run["bytes"])):
        most, files = run["kinds"][0], sum(kind["files"] for kind in run["kinds"])  # there is at least its config.json
        made.add_row(run["run"], size(run["bytes"]), f"{files:,}", f"{most['kind']} {size(most['bytes'])}")
    return made
