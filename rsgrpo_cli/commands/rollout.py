"""`rsgrpo rollout`."""

from __future__ import annotations

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say
from rsgrpo_cli.console import Output


def rollout(
    run: options.RunOption = None,
    step: options.StepOption = None,
    engine: options.Engine = None,
    group_size: options.GroupSize = None,
    prompts_per_step: options.PromptsPerStep = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    zero_variance: options.ZeroVariance = None,
    device: options.Device = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    settings: options.SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Sample completions of a step's prompts under the newest policy."""
    overrides = options.given(locals())
    from rsgrpo_cli.pipeline import steps

    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    with at_work(target, resolved, out) as session:
        number = target.newest_version() if step is None else step
        outcome = steps.rollout(session, number, resolved.rollout, tag=tag, force=force)
    say(out, outcome)
