"""`rsgrpo rollout`."""

from __future__ import annotations

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say, say_departures
from rsgrpo_cli.commands.spreading import PART_TIMEOUT, DataParallelOption, PartTimeoutOption, RayOption, Spreading
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.console import Output


@options.settings("rollout", "model.device", defaults=False)
def rollout(
    run: options.RunOption = None,
    step: options.StepOption = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    accept_changes: options.AcceptOption = False,
    trust: options.TrustOption = False,
    ray: RayOption = None,
    data_parallel: DataParallelOption = 0,
    part_timeout: PartTimeoutOption = PART_TIMEOUT,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Sample completions of a step's prompts under the newest policy."""
    from rsgrpo_cli.pipeline import preparation, prompt_checks, steps

    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    say_departures(out, target, resolved, "rollout", tag=tag)
    spreading = Spreading(ray, data_parallel, part_timeout)
    with at_work(target, resolved, out, overrides, trust=trust, spreading=spreading) as session:
        session.accept_changes = accept_changes
        preparation.require_columns(session, resolved.score)  # what it lacks is better known now
        number = target.newest_version() if step is None else step
        prompt_checks.check_prompts(session, resolved.prepare, session.prompts, "rollout.max_tokens")
        outcome = steps.rollout(session, number, resolved.rollout, tag=tag, force=force)
    say(out, outcome)
