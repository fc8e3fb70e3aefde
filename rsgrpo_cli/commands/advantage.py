"""`rsgrpo advantage`."""

from __future__ import annotations

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say
from rsgrpo_cli.console import Output


def advantage(
    run: options.RunOption = None,
    step: options.StepOption = None,
    estimator: options.Estimator = None,
    beta: options.Beta = None,
    advantage_scale: options.AdvantageScale = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    settings: options.SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Turn a step's rewards into advantages, group by group."""
    overrides = options.given(locals())
    from rsgrpo_cli.pipeline import steps

    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    with at_work(target, resolved, out) as session:
        number = steps.latest_step(session, "rewards") if step is None else step
        outcome = steps.advantage(session, number, resolved.advantage, tag=tag, force=force)
    say(out, outcome)
