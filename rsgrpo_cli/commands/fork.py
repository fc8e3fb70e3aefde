"""`rsgrpo fork`."""

from __future__ import annotations

from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.console import Output


@options.settings(
    "rollout.group_size",
    "rollout.prompts_per_step",
    "score.reward",
    "advantage",
    "update.learning_rate",
    "update.kl_coef",
    "train.steps",
    "train.eval_every",
    defaults=False,
)
def fork(
    to: Annotated[str, typer.Argument(metavar="NEW", help="Name or path of the new run.")],
    run: options.RunOption = None,
    step: Annotated[
        int | None, typer.Option("--step", min=0, help="First step it does itself.  \\[default: the newest]")
    ] = None,
    accept_changes: options.AcceptOption = False,
    accept_inexact: options.InexactOption = False,
    trust: options.TrustOption = False,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Branch a run: a new one that shares everything before a step and continues with other settings.

    The step's rollouts are shared as well, unless settings of the sampling change. A policy without a checkpoint is
    rebuilt.
    """
    from rsgrpo_cli.pipeline import forking
    from rsgrpo_cli.run.run_commands import command
    from rsgrpo_cli.run.run_dir import RunDir

    source = RunDir.open(run)
    number = source.newest_version() if step is None else step
    forking.check_base(source, overrides, accept=accept_changes)
    out = Output(as_json=as_json)
    leave = forking.Rebuilding(out, accept_changes, accept_inexact)
    forking.require_trusted(source, overrides, trust=trust)
    made = forking.fork(source, number, RunDir.locate(to), overrides, leave)
    data = {"run": str(made.path), "forked_from": str(source.path), "step": number}
    hint = f"{made.path} shares {source.path} up to step {number}; continue it: {command(made, 'train')}"
    out.result(data, lines=[hint])
