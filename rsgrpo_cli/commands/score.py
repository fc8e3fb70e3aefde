"""`rsgrpo score`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say, say_departures
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.console import Output, table, visible
from rsgrpo_cli.errors import UsageError

UNJUDGED = ("error", "timeout")
"""Statuses that say nothing of the completion."""
MOST_UNJUDGED = 0.01
SHOWN = 20


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
        typer.Option("--retry", metavar="STATUSES", help="Grade again what has these statuses: error,timeout."),
    ] = None,
    audit_with: Annotated[
        str | None,
        typer.Option(
            "--audit-with",
            metavar="bare|MODULE:FUNCTION",
            help="Grade with a second grader too, and list where they disagree. Nothing is written.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Grade a step's completions: a reward, its reason and the extracted answer for each.

    A reward of your own has the signature f(completions, ground_truth, **columns) -> list[float | None].
    """
    from rsgrpo_cli.pipeline import preparation, regrading, steps
    from rsgrpo_cli.step_dir import newest_step

    if retry and audit_with:
        raise UsageError("--retry writes rewards and --audit-with only compares", "give one of the two")
    statuses = regrading.statuses_named(retry) if retry is not None else ()
    out = Output(as_json=as_json)
    target, resolved = open_run(run, overrides)
    say_departures(out, target, resolved, "score", tag=tag)
    with at_work(target, resolved, out, overrides, trust=trust) as session:
        session.accept_changes = accept_changes
        number = newest_step(target, "rollouts") if step is None else step
        if audit_with:
            rows = regrading.audit(session, number, resolved.score, audit_with, tag=tag)
            return say_disagreements(out, audit_with, number, rows)
        preparation.require_columns(session, resolved.score)
        if statuses:
            outcome = regrading.retry(session, number, resolved.score, statuses, tag=tag, force=force)
        else:
            outcome = steps.score(session, number, resolved.score, tag=tag, force=force)
    say(out, outcome)
    say_unjudged(out, outcome.facts.get("statuses", {}), retried=bool(statuses))


def say_unjudged(out: Output, statuses: Mapping[str, int], *, retried: bool) -> None:
    """Warn where the verifier gave no verdict on more than one completion in a hundred."""
    failed, total = sum(statuses.get(name, 0) for name in UNJUDGED), sum(statuses.values())
    if total and failed > MOST_UNJUDGED * total:
        way = "look at them with rsgrpo show --wrong, or give it longer: --timeout"
        again = way if retried else f"grade just these again: rsgrpo score --retry {','.join(UNJUDGED)}"
        out.warn(f"the verifier gave no verdict on {failed} of {total} completions, and they earn nothing; {again}")


def say_disagreements(out: Output, grader: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print where a second grader disagrees: the first of them as a table, all of them as JSON."""
    accepted = sum((row["other_reward"] or 0) > (row["reward"] or 0) for row in rows)
    data = {"step": step, "grader": grader, "disagreements": list(rows)}
    if not rows:
        return out.result(data, lines=[f"step {step}: {grader} agrees with every reward"])
    told = f"step {step}: {grader} disagrees on {len(rows)} completions; it gives more to {accepted} of them"
    made = table("completion", "reference", "answer", "reward", grader, title=told, text=("reference", "answer"))
    for row in rows[:SHOWN]:
        verdicts = [f"{row[kind + 'reward']} {row[kind + 'status']}" for kind in ("", "other_")]
        name = f"{row['group_id']}/{row['sample_index']}"
        made.add_row(name, visible(row["ground_truth"]), visible(row["answer"] or ""), *verdicts)
    out.result(data, made)
    if len(rows) > SHOWN:
        out.note(f"{len(rows) - SHOWN} more: --json prints all of them")
