"""`rsgrpo score`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say, say_departures
from rsgrpo_cli.commands.spreading import PART_TIMEOUT, PartTimeoutOption, RayOption, Spreading
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.console import Output, table, visible
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

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
        typer.Option("--retry", metavar="STATUSES", help="Grade again only what has these statuses: error,timeout."),
    ] = None,
    audit_with: Annotated[
        str | None,
        typer.Option(
            "--audit-with",
            metavar="bare|MODULE:FUNCTION",
            help="Grade with a second grader too (bare is math-verify as it comes), and list where it disagrees. "
            "Rewards stay as they are; the list is also in the HTML report.",
        ),
    ] = None,
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
    from rsgrpo_cli.step_dir import newest_step

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
            return say_disagreements(out, audit_with, number, found)
        preparation.require_columns(session, resolved.score)
        if statuses:
            outcome = regrading.retry(session, number, resolved.score, statuses, tag=tag, force=force)
        else:
            outcome = steps.score(session, number, resolved.score, tag=tag, force=force)
    say(out, outcome)
    say_unjudged(out, outcome.facts.get("statuses", {}), str(target.path), number, retried=bool(statuses))


def _require_one(retry: str | None, audit_with: str | None, *, force: bool, ray: str | None) -> None:
    if retry is not None and audit_with is not None:
        raise UsageError("--retry writes rewards and --audit-with only compares them", "give one of the two")
    if audit_with is not None and force:
        raise UsageError("--audit-with replaces no rewards, so there is nothing to --force", "leave --force out")
    if ray is not None and (retry is not None or audit_with is not None):
        flag = "--retry" if retry is not None else "--audit-with"
        raise UsageError(f"{flag} grades in this process, not on a Ray cluster", "leave --ray out")


def say_unjudged(out: Output, statuses: Mapping[str, int], run: str, step: int, *, retried: bool) -> None:
    """Warn where the verifier gave no verdict on more than one completion in a hundred."""
    failed, total = sum(statuses.get(name, 0) for name in UNJUDGED), sum(statuses.values())
    if not total or failed <= MOST_UNJUDGED * total:
        return
    if retried:
        answers = "SELECT extracted_answer, reward_status FROM completions"
        query = f"{answers} WHERE step = {step} AND reward_status IN {UNJUDGED}"
        way = "see them: " + shlex.join(["rsgrpo", "sql", run, query])
    else:
        again = ["rsgrpo", "score", "--run", run, "--step", str(step), "--retry", ",".join(UNJUDGED)]
        way = f"grade just these again: {shlex.join(again)}"
    out.warn(
        f"the verifier gave no verdict on {failed} of {counted(total, 'completion')}, and they earn nothing; {way}"
    )


def say_disagreements(out: Output, grader: str, step: int, found: pa.Table) -> None:
    """Print where a second grader disagrees: equal ones once, the most frequent first; all of them as JSON."""
    from rsgrpo_cli.report.audits import folded, more_generous

    rows = found.to_pylist()
    data = {"step": step, "grader": grader, "disagreements": rows}
    if not rows:
        return out.result(data, lines=[f"step {step}: {grader} agrees with every reward"])
    more, many = more_generous(rows), counted(len(rows), "completion")
    told = f"step {step}: {grader} disagrees on {many}: it gives more to {more}, less to {len(rows) - more}"
    made = table("times", "reference", "answer", "reward", grader, "first", title=told, text=("reference", "answer"))
    kinds = folded(found)
    for kind in kinds[:SHOWN]:
        verdicts = [_verdict(kind.verdict), _verdict(kind.second)]
        made.add_row(str(kind.count), visible(kind.ground_truth), visible(kind.answer), *verdicts, kind.completion)
    hidden = len(kinds) - SHOWN
    out.result(data, made, lines=[f"{hidden} more such rows: --json has all completions"] if hidden > 0 else [])


def _verdict(said: tuple[float | None, Any]) -> str:
    return f"{'-' if said[0] is None else f'{said[0]:g}'} {said[1]}"
