"""`rsgrpo view`."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.report import BaselineOption, Places
from rsgrpo_cli.console import Output


def view(
    runs: Places,
    benchmark: options.EvaluatedOn = None,
    baseline: BaselineOption = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.  \\[default: 0]")
    ] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Show the page of `report --html` in a browser on this machine, for runs at work too: a reload shows new data.

    It only reads the runs. Ctrl-C ends it.
    """
    from rsgrpo_cli.report.evaluations import split_label, split_place
    from rsgrpo_cli.report.html.collect import page
    from rsgrpo_cli.report.html.places import find, runs_of
    from rsgrpo_cli.report.html.server import PageServer
    from rsgrpo_cli.report.sweeps import each_run
    from rsgrpo_cli.run.run_dir import RunDir

    out = Output(as_json=as_json)
    folders = [run.path for run in runs_of([find(name, benchmark) for name in each_run(runs)])]
    # Of a sweep at work the folder is looked at: further cells appear in it.
    folders += [RunDir.locate_folder(split_place(split_label(name)[1])[0]) for name in runs]
    with PageServer(lambda: page(runs, benchmark, baseline), folders, port, out.warn) as server:
        out.result({"url": server.url}, lines=[f"{server.url}   Ctrl-C ends it; reload the page for new data"])
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            out.info("stopped")
