"""`rsgrpo prepare`."""

from __future__ import annotations

from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, exists, new_run, open_run, say, say_departures
from rsgrpo_cli.config import Overrides, with_file
from rsgrpo_cli.console import Output, print_lines
from rsgrpo_cli.errors import UsageError

Show = Annotated[
    int | None,
    typer.Option("--show", metavar="N", min=1, help="Print the first N prompts exactly as the model reads them."),
]
TokenIds = Annotated[bool, typer.Option("--token-ids", help="With --show: the token ids too.")]


@options.settings("prepare", "seed", "model.name", "model.lora_rank", "score.reward", "eval.benchmark")
def prepare(
    run: options.RunOption = None,
    config: options.ConfigOption = None,
    force: options.ForceOption = False,
    show: Show = None,
    token_ids: TokenIds = False,
    trust: options.TrustOption = False,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Start a run: its configuration, and its problems as chats with verified answers.

    The file also loads as a verl dataset.
    """
    from rsgrpo_cli.pipeline import preparation, training
    from rsgrpo_cli.pipeline.shown_prompts import shown_prompts
    from rsgrpo_cli.run.run_dir import RunDir

    if token_ids and show is None:
        raise UsageError("--token-ids is of --show", "say how many prompts to print: --show 3 --token-ids")
    out = Output(as_json=as_json)
    if not exists(run):
        target, resolved = new_run(run, overrides, config, out)
    elif RunDir.open(run).has_results():
        # A file is for the whole run and has to fit, as do the settings of what comes later: these change nothing here.
        later = {name: value for name, value in overrides.items() if not name.startswith(("prepare.", "model."))}
        training.resume_config(RunDir.open(run), with_file(later, config))
        target, resolved = open_run(run, overrides)
        say_departures(out, target, resolved, "prepare")
    else:  # nothing depends on its settings: this is as good as starting it
        target, resolved = RunDir.open(run), training.resume_config(RunDir.open(run), with_file(overrides, config))
    with at_work(target, resolved, out, overrides, trust=trust) as session:
        if show is not None:
            _ = session.tokenizer  # that it is not there is better known now
        training.settle(session)
        outcome = preparation.prepare(session, resolved.prepare, force=force)
        shown = shown_prompts(session, show) if show is not None else []
    more = {"shown": [prompt.as_json(token_ids=token_ids) for prompt in shown]} if shown else {}
    say(out, outcome, more)
    if not as_json:
        print_lines(line for prompt in shown for line in prompt.lines(token_ids=token_ids))
