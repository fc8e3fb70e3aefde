"""`rsgrpo score`."""

from __future__ import annotations

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say
from rsgrpo_cli.console import Output


def score(
    run: options.RunOption = None,
    step: options.StepOption = None,
    reward: options.Reward = None,
    workers: options.Workers = None,
    timeout: options.Timeout = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    settings: options.SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Grade a step's completions: a reward, its reason and the extracted answer for each.

    A reward of your own has the signature f(completions, ground_truth, **columns) -> list[float | None].
    """
    overrides = options.given(locals())
    from rsgrpo_cli.pipeline import steps

    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    with at_work(target, resolved, out) as session:
        number = steps.newest_step(target, "rollouts") if step is None else step
        outcome = steps.score(session, number, resolved.score, tag=tag, force=force)
    say(out, outcome)
