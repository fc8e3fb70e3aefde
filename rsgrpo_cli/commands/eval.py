"""`rsgrpo eval`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import disagreements, options, typed
from rsgrpo_cli.commands.context import at_work, begun, exists, new_run, open_run, say_ks
from rsgrpo_cli.commands.spreading import PART_TIMEOUT, DataParallelOption, PartTimeoutOption, RayOption, Spreading
from rsgrpo_cli.config import Overrides
from rsgrpo_cli.config.samples import named_benchmarks
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.health import MOST_UNJUDGED
from rsgrpo_cli.helping import ListOf
from rsgrpo_cli.wording import counted, verb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsgrpo_cli.config import EvalConfig
    from rsgrpo_cli.pipeline.evaluation import Request
    from rsgrpo_cli.pipeline.session import Session
    from rsgrpo_cli.pipeline.stage import Outcome
    from rsgrpo_cli.report.evaluations import Evaluation

TRAINING_ONLY = ("dataset", "prompt_column", "answer_column", "limit", "max_prompt_tokens", "decontaminate")


@options.settings(
    "model.name",
    "model.device",
    "prepare.data_dir",
    "prepare.prompt_template",
    "rollout.engine",
    "score",
    "eval",
    defaults=False,
)
def evaluate(
    run: options.RunOption = None,
    policy: options.PolicyOption = None,
    prompt_column: options.ProblemColumn = None,
    answer_column: options.AnswerColumn = None,
    interpolate: Annotated[
        str | None,
        typer.Option(
            "--interpolate",
            metavar=ListOf("0,0.5,..."),
            help="Weights on the line from the base model (0) to the policy (1), an evaluation each; by default 1.",
        ),
    ] = None,
    rescore: Annotated[bool, typer.Option("--rescore", help="Grade the stored samples again, sample nothing.")] = False,
    audit_with: disagreements.AuditOption = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    accept_changes: options.AcceptOption = False,
    trust: options.TrustOption = False,
    ray: RayOption = None,
    data_parallel: DataParallelOption = 0,
    part_timeout: PartTimeoutOption = PART_TIMEOUT,
    accept_inexact: options.InexactOption = False,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Measure pass@k of a run's policy, or of any model, on held-out problems.

    Existing samples are kept: asking for more draws only what is missing. A policy without a checkpoint is rebuilt.

    Settings that are not given are the run's own.
    """
    overrides = _for_evaluation(overrides)
    model = overrides.get("model.name")
    from rsgrpo_cli.pipeline import evaluation
    from rsgrpo_cli.run.step_dir import newest, with_policy

    if audit_with is not None:
        refused = {"--rescore": rescore, "--force": force, "--ray": ray is not None, "--data-parallel": data_parallel}
        _only_compares(refused, overrides)
    out = Output(as_json=as_json)
    line = typed.places_on_line(interpolate) if interpolate is not None else ()
    run = run or (_run_of_model(model) if model else None)
    fresh = audit_with is None and run is not None and model is not None and not exists(run)
    target, resolved = new_run(run, overrides, None, out) if fresh else open_run(run, overrides)
    say_ks(out, resolved, overrides)
    with begun(target, out):
        target, version = (target, newest(target, out.warn)) if policy is None else with_policy(target, policy)
        if line and version == 0:
            told = "policy 0 is the base model, where the line begins"
            raise UsageError(told, "name a trained policy, or train one first")
    spreading = Spreading(ray, data_parallel, part_timeout)
    held = at_work(
        target, resolved, out, overrides, trust=trust, own=audit_with, spreading=spreading, evaluating=version
    )
    with held as session:
        session.accept_changes, session.accept_inexact = accept_changes, accept_inexact
        names = evaluation.benchmarks_of(session, named_benchmarks(overrides))
        columns = evaluation.columns_for(names, prompt_column, answer_column)
        requests = [evaluation.Request(name, *columns[name], tag, rescore, force) for name in names]
        if audit_with is not None:
            return _audit_all(session, version, requests, line, audit_with)
        evaluation.warn_of_overlap(session, version, requests)
        evaluation.prepare_benchmarks(session, requests)
        outcomes, found = _evaluate_all(session, version, requests, line)
    if line:
        _print_line(out, resolved.eval, found)
    else:
        _print(out, resolved.eval, outcomes, found)


def _evaluate_all(
    session: Session, version: int, requests: Sequence[Request], line: Sequence[float]
) -> tuple[list[Outcome], list[Evaluation]]:
    """Evaluate a policy on each benchmark; with places on the line to it, the weights there."""
    from rsgrpo_cli.pipeline import evaluation
    from rsgrpo_cli.report.evaluations import load
    from rsgrpo_cli.run.run_dir import WHOLE

    outcomes, found = [], []
    for at in line or (WHOLE,):
        # At 0 they are the base model's, which may have been evaluated already.
        of, session.at = (version, at) if at else (0, WHOLE)
        for request in requests:
            outcomes.append(evaluation.evaluate(session, of, session.config.eval, request))
            found.append(load(session.run, of, request.name, session.at))
    return outcomes, found


def _only_compares(refused: Mapping[str, Any], overrides: Overrides) -> None:
    """Refuse flags of what `--audit-with` does not do: it samples nothing and replaces nothing."""
    settings = [name.removeprefix("eval.") for name in overrides if name.startswith("eval.")]
    given = [f"--{name.replace('_', '-')}" for name in settings if name != "benchmark"]
    given = [flag for flag, value in refused.items() if value] + given
    if given:
        raise UsageError(
            f"--audit-with compares the verdicts that are there, and {given[0]} says how to make others",
            f"leave {given[0]} out, or evaluate with it first",
        )


def _audit_all(session: Session, version: int, requests: Sequence[Request], line: Sequence[float], grader: str) -> None:
    """Compare the verdicts on each benchmark with a second grader, and print where it disagrees."""
    from rsgrpo_cli.pipeline import auditing
    from rsgrpo_cli.run.run_dir import WHOLE
    from rsgrpo_cli.run.staleness import policy_at

    second = session.config.score.model_copy(update={"reward": grader})
    data, compared = [], []
    for at in line or (WHOLE,):
        of, session.at = (version, at) if at else (0, WHOLE)
        for request in requests:
            found = auditing.audit_evaluation(session, of, second, request)
            place = {} if session.at == WHOLE else {"interpolation": at}
            data.append({"policy": of, **place, "benchmark": request.name, "disagreements": found.to_pylist()})
            compared.append((f"{policy_at(session.run, of, session.at)} on {request.name}", grader, found))
    disagreements.say(session.out, {"run": str(session.run.path), "grader": grader, "evaluations": data}, compared)


def _print_line(out: Output, cfg: EvalConfig, found: list[Evaluation]) -> None:
    """The policies on the line, a row each; a table per benchmark."""
    from rsgrpo_cli.report.tables import passk_table

    names = list(dict.fromkeys(one.benchmark for one in found))
    tables = [passk_table([(one.label, one) for one in found if one.benchmark == name], cfg.k) for name in names]
    data = [
        {"policy": one.version, "interpolation": one.at if one.version else 0.0, "benchmark": one.benchmark}
        | {"summary": one.summary.to_pylist()}
        for one in found
    ]
    out.result({"run": str(found[0].run.path), "line": data}, *tables, failure=_timed_out(found))


def _print(out: Output, cfg: EvalConfig, outcomes: list[Outcome], found: list[Evaluation]) -> None:
    from rsgrpo_cli.report.evaluations import macro_mean
    from rsgrpo_cli.report.tables import evaluation_table, macro_table

    single = [_as_data(one, outcome) for one, outcome in zip(found, outcomes, strict=True)]
    data: dict[str, Any] = {"run": str(found[0].run.path), "policy": found[0].version}
    data |= single[0] if len(found) == 1 else {"benchmarks": single}
    tables = [evaluation_table(one, cfg.k) for one in found]
    lines = [f"{counted(outcome.facts['sampled'], 'completion')} sampled -> {outcome.path}" for outcome in outcomes]
    lines += [told for one in found if (told := _more_than_asked(cfg, one))]
    lines += [f"prompts: {one.phrasing}" for one in found[:1]]
    if any(2 * k > one.num_samples >= k for one in found if not one.is_graded for k in cfg.k):
        lines.insert(0, "-: an error needs at least 2k samples per problem")
    # Grades of different problems have no common scale to average over.
    if len(found) > 1 and not any(one.is_graded for one in found):
        data["macro"] = macro_mean(found, [k for k in cfg.k if all(k <= one.num_samples for one in found)])
        tables.append(macro_table(found, data["macro"]))
    out.result(data, *tables, lines=lines, failure=_timed_out(found))


def _more_than_asked(cfg: EvalConfig, one: Evaluation) -> str:
    """An evaluation only grows: what was sampled before stays in it."""
    from rsgrpo_cli.report.measuring import asked_samples

    asked = asked_samples(cfg, one.dataset)
    if one.num_samples <= asked:
        return ""
    return (
        f"{counted(asked, 'sample')} per problem {verb(asked, 'was')} asked for, and "
        f"{one.num_samples} are there: the numbers are of all of them"
    )


def _as_data(one: Evaluation, outcome: Outcome) -> dict[str, Any]:
    rows = [row | {"policy": one.version} for row in one.summary.to_pylist()]
    return {"benchmark": one.benchmark, **outcome.facts, "phrasing": one.phrasing, "summary": rows}


def _timed_out(found: Sequence[Evaluation]) -> DataError | None:
    """The failure of the first evaluation in which too many answers got no verdict in time."""
    for one in found:
        timeouts = one.value("status_timeout")
        if timeouts and timeouts["value"] > MOST_UNJUDGED:
            share = f"{timeouts['value']:.1%} of the answers timed out in the verifier and count as wrong"
            return DataError(f"{one.benchmark}: {share}", "give it longer: --timeout, then --rescore")
    return None


def _for_evaluation(overrides: Overrides) -> Overrides:
    """The training's data set, columns and limits are not the benchmark's."""
    training = {f"prepare.{field}" for field in TRAINING_ONLY}
    return {name: value for name, value in overrides.items() if name not in training}


def _run_of_model(model: str) -> str:
    parts = [part for part in Path(model).parts if part not in ("/", "..")]
    return "-".join(["eval", *(re.sub(r"[^A-Za-z0-9_.-]+", "-", part) for part in parts)])
