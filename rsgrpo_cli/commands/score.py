"""`rsgrpo score`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import disagreements, options
from rsgrpo_cli.commands.context import at_work, open_run, say, say_departures
from rsgrpo_cli.commands.spreading import PART_TIMEOUT, PartTimeoutOption, RayOption, Spreading
from rsgrpo_cli.config import Overrides, ScoreConfig
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.health import MOST_UNJUDGED
from rsgrpo_cli.helping import ListOf
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    from rsgrpo_cli.run.run_dir import RunDir

UNJUDGED = ("error", "timeout")
"""Statuses that say nothing of the completion."""


@options.settings("score", defaults=False)
def score(
    run: options.RunOption = None,
    step: options.StepOption = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    accept_changes: options.AcceptOption = False,
    trust: options.TrustOption = False,
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry", metavar=ListOf("STATUS,..."), help="Grade again only what has these statuses: error,timeout."
        ),
    ] = None,
    audit_with: disagreements.AuditOption = None,
    ray: RayOption = None,
    part_timeout: PartTimeoutOption = PART_TIMEOUT,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Grade a step's completions: a reward, its reason and the extracted answer for each.

    A reward of your own has the signature f(completions, ground_truth, **columns) -> list[float | None].
    """
    from rsgrpo_cli.pipeline import auditing, preparation, regrading, steps
    from rsgrpo_cli.run.step_dir import newest_step

    statuses = regrading.statuses_named(retry) if retry is not None else ()
    _require_one(retry, audit_with, force=force, ray=ray)
    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    if audit_with is None:
        say_departures(out, target, resolved, "score", tag=tag)
    spreading = Spreading(ray, 0, part_timeout, samples=False)
    with at_work(target, resolved, out, overrides, trust=trust, own=audit_with, spreading=spreading) as session:
        session.accept_changes = accept_changes
        number = newest_step(target, "rollouts") if step is None else step
        if audit_with is not None:
            second = resolved.score.model_copy(update={"reward": audit_with})
            found = auditing.audit(session, number, second, tag=tag)
            data = {"step": number, "grader": audit_with, "disagreements": found.to_pylist()}
            return disagreements.say(out, data, [(f"step {number}", audit_with, found)])
        preparation.require_columns(session, resolved.score)
        if statuses:
            outcome = regrading.retry(session, number, resolved.score, statuses, tag=tag, force=force)
        else:
            outcome = steps.score(session, number, resolved.score, tag=tag, force=force)
    say(out, outcome)
    again = [*_departures(target.config().score, resolved.score), *(["--tag", tag] if tag else [])]
    say_unjudged(out, outcome.facts.get("statuses", {}), target, number, again, retried=bool(statuses))


def _require_one(retry: str | None, audit_with: str | None, *, force: bool, ray: str | None) -> None:
    if retry is not None and audit_with is not None:
        raise UsageError("--retry writes rewards and --audit-with only compares them", "give one of the two")
    if audit_with is not None and force:
        raise UsageError("--audit-with replaces no rewards, so there is nothing to --force", "leave --force out")
    if ray is not None and (retry is not None or audit_with is not None):
        flag = "--retry" if retry is not None else "--audit-with"
        raise UsageError(f"{flag} grades in this process, not on a Ray cluster", "leave --ray out")


def _departures(own: ScoreConfig, cfg: ScoreConfig) -> list[str]:
    """The flags that give the settings of a run these."""
    decide = ScoreConfig.model_fields.keys() - ScoreConfig.SPEED_ONLY
    told = {name: getattr(cfg, name) for name in sorted(decide) if getattr(cfg, name) != getattr(own, name)}
    reward = told.pop("reward", None)
    flags = [word for name, value in told.items() for word in ("--set", f"score.{name}={json.dumps(value)}")]
    return flags if reward is None else ["--reward", reward, *flags]


def say_unjudged(
    out: Output, statuses: Mapping[str, int], run: RunDir, step: int, again: Sequence[str], *, retried: bool
) -> None:
    """Warn where the verifier gave no verdict on more than one completion in a hundred.

    Args:
        out: Where to.
        statuses: Completions with each.
        run: The run.
        step: The step.
        again: The other flags of `score` that grade the same completions with the same rules.
        retried: Whether they were tried again already.
    """
    failed, total = sum(statuses.get(name, 0) for name in UNJUDGED), sum(statuses.values())
    if not total or failed <= MOST_UNJUDGED * total:
        return
    if retried:
        answers = "SELECT extracted_answer, reward_status FROM completions"
        query = f"{answers} WHERE step = {step} AND reward_status IN {UNJUDGED}"
        way = "see them: " + shlex.join(["rsgrpo", "sql", str(run.path), query])
    else:
        from rsgrpo_cli.run.run_commands import command

        again = ["--step", str(step), *again, "--retry", ",".join(UNJUDGED)]
        way = f"grade just these again: {command(run, 'score', *again)}"
    out.warn(
        f"the verifier gave no verdict on {failed} of {counted(total, 'completion')}, and they earn nothing; {way}"
    )
