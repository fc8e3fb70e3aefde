"""`rsgrpo update`."""

from __future__ import annotations

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say, say_departures
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.console import Output


@options.settings("update", "model.device", defaults=False)
def update(
    run: options.RunOption = None,
    step: options.StepOption = None,
    force: options.ForceOption = False,
    accept_changes: options.AcceptOption = False,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Update the policy from a step's completions and advantages; writes the next checkpoint."""
    from rsgrpo_cli.pipeline import history, keeping, steps
    from rsgrpo_cli.step_dir import newest_step

    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    say_departures(out, target, resolved, "update")
    with at_work(target, resolved, out) as session:
        session.accept_changes = accept_changes
        number = newest_step(target, "advantages") if step is None else step
        outcome = steps.update(session, number, resolved.update, force=force)
        history.record_step(session, number)
        keeping.prune(target, keep=resolved.train.keep_checkpoints, warn=out.warn)
    say(out, outcome)
