"""`rsgrpo prepare`."""

from __future__ import annotations

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, exists, new_run, open_run, say, say_departures
from rsgrpo_cli.config import Overrides, with_file
from rsgrpo_cli.console import Output


@options.settings("prepare", "seed", "model.name", "model.lora_rank", "score.reward", "eval.benchmark")
def prepare(
    run: options.RunOption = None,
    config: options.ConfigOption = None,
    force: options.ForceOption = False,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Start a run: its configuration, and its problems as chats with verified answers.

    The file also loads as a verl dataset.
    """
    from rsgrpo_cli.pipeline import preparation, training
    from rsgrpo_cli.run_dir import RunDir

    out = Output(as_json=as_json)
    if not exists(run):
        target, resolved = new_run(run, overrides, config, out)
    elif RunDir.open(run).has_results():
        training.resume_config(RunDir.open(run), with_file({}, config))  # a file is for the whole run: it has to fit
        target, resolved = open_run(run, overrides)
        say_departures(out, target, resolved, "prepare")
    else:  # nothing depends on its settings: this is as good as starting it
        target, resolved = RunDir.open(run), training.resume_config(RunDir.open(run), with_file(overrides, config))
    with at_work(target, resolved, out, overrides) as session:
        training.settle(session)
        outcome = preparation.prepare(session, resolved.prepare, force=force)
    say(out, outcome)
