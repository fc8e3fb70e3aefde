"""`rsgrpo score`."""

from __future__ import annotations

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say, say_departures
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.console import Output


@options.settings("score", defaults=False)
def score(
    run: options.RunOption = None,
    step: options.StepOption = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    accept_changes: options.AcceptOption = False,
    trust: options.TrustOption = False,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Grade a step's completions: a reward, its reason and the extracted answer for each.

    A reward of your own has the signature f(completions, ground_truth, **columns) -> list[float | None].
    """
    from rsgrpo_cli.pipeline import preparation, steps
    from rsgrpo_cli.step_dir import newest_step

    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    say_departures(out, target, resolved, "score", tag=tag)
    with at_work(target, resolved, out, overrides, trust=trust) as session:
        session.accept_changes = accept_changes
        number = newest_step(target, "rollouts") if step is None else step
        preparation.require_columns(session, resolved.score)
        outcome = steps.score(session, number, resolved.score, tag=tag, force=force)
    say(out, outcome)
