"""`rsgrpo fork`."""

from __future__ import annotations

from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output


def fork(
    to: Annotated[str, typer.Argument(metavar="NEW", help="Name or path of the new run.")],
    run: options.RunOption = None,
    step: Annotated[
        int | None, typer.Option("--step", min=0, help="First step it does itself.  \\[default: the newest]")
    ] = None,
    group_size: options.GroupSize = None,
    prompts_per_step: options.PromptsPerStep = None,
    reward: options.Reward = None,
    estimator: options.Estimator = None,
    beta: options.Beta = None,
    advantage_scale: options.AdvantageScale = None,
    learning_rate: options.LearningRate = None,
    kl_coef: options.KlCoef = None,
    steps: options.Steps = None,
    eval_every: options.EvalEvery = None,
    settings: options.SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Branch a run: a new one that shares all before a step, and goes on with other settings.

    The step's rollouts are shared as well, unless it is sampling that changes.
    """
    overrides = options.given(locals())
    from rsgrpo_cli.pipeline import training
    from rsgrpo_cli.run_dir import RunDir

    source = RunDir.open(run)
    number = source.newest_version() if step is None else step
    with source.lock(Output().warn):
        made = training.fork(source, number, RunDir.locate(to), overrides)
    data = {"run": str(made.path), "forked_from": str(source.path), "step": number}
    hint = f"{made.path} shares {source.path} up to step {number}; go on: rsgrpo train --run {made.path}"
    Output(as_json=as_json).result(data, lines=[hint])
