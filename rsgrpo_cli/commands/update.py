"""`rsgrpo update`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import options, torchrun
from rsgrpo_cli.commands.context import at_work, open_run, say, say_departures
from rsgrpo_cli.commands.spreading import RayOption, Spreading
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import UsageError

if TYPE_CHECKING:
    from rsgrpo_cli.run.run_dir import RunDir

Advantages = Annotated[
    str | None,
    typer.Option(
        "--advantages",
        metavar="TAG",
        callback=options.tag,
        help="Learn from the advantages that advantage --tag TAG made; needs --tag.",
    ),
]


@options.settings("update", "model.device", defaults=False)
def update(
    run: options.RunOption = None,
    step: options.StepOption = None,
    advantages: Advantages = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    accept_changes: options.AcceptOption = False,
    trust: options.TrustOption = False,
    ray: RayOption = None,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Update the policy from a step's completions and advantages; writes the next checkpoint.

    With --tag the new policy stands beside the run's own: eval --policy 4.TAG measures it, and compare RUN@4 RUN@4.TAG
    compares it.
    """
    if not torchrun.is_first(run, overrides):
        return
    from rsgrpo_cli.pipeline import history, keeping, steps
    from rsgrpo_cli.run.step_dir import newest_step

    if advantages and not tag:
        hint = f"write beside it: --advantages {advantages} --tag {advantages}; or branch the run: rsgrpo fork"
        raise UsageError("an update from tagged advantages is not the run's own", hint)
    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    say_departures(out, target, resolved, "update", tag=tag)
    if advantages:
        step = _step_with(target, advantages, step)
    elif step is None:
        step = newest_step(target, "advantages")
    if tag and not advantages and target.advantages(step, tag).is_file():
        out.warn(f"this update uses step {step}'s own advantages; to use those tagged {tag}: --advantages {tag}")
    place = target.with_update(step, tag, advantages) if tag else target
    spreading = Spreading(ray, 0, 0.0, samples=False, grades=False, updates=True)
    with at_work(place, resolved, out, trust=trust, spreading=spreading) as session:
        session.accept_changes = accept_changes
        outcome = steps.update(session, step, resolved.update, force=force)
        if not tag:
            history.record_step(session, step)
            keeping.prune(target, keep=resolved.train.keep_checkpoints, warn=out.warn)
    say(out, outcome)


def _step_with(run: RunDir, tag: str, step: int | None) -> int:
    """A step that has advantages with a tag, the newest unless given.

    Raises:
        UsageError: If there is none.
    """
    steps = run.steps() if step is None else [step]
    found = [number for number in steps if run.advantages(number, tag).is_file()]
    if not found:
        what = f"run {run.name}" if step is None else f"step {step} of run {run.name}"
        from rsgrpo_cli.run.run_commands import command

        flags = [*([] if step is None else ["--step", str(step)]), "--tag", tag]
        make = command(run, "advantage", *flags)
        raise UsageError(f"{what} has no advantages with the tag {tag}", f"make them first: {make}")
    return found[-1]
