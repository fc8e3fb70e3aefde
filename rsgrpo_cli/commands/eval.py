"""`rsgrpo eval`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, exists, new_run, open_run
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import DataError

TIMEOUT_SHARE = 0.01
"""More answers than this without a verdict, and the result is not to be trusted."""


def evaluate(
    run: options.RunOption = None,
    policy: Annotated[
        int | None, typer.Option("--policy", min=0, help="Policy version.  [default: the newest]")
    ] = None,
    model: options.Model = None,
    benchmark: options.Benchmark = None,
    prompt_column: options.PromptColumn = None,
    answer_column: options.AnswerColumn = None,
    k: options.K = None,
    num_samples: options.NumSamples = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    engine: options.Engine = None,
    reward: options.Reward = None,
    workers: options.Workers = None,
    timeout: options.Timeout = None,
    device: options.Device = None,
    rescore: Annotated[bool, typer.Option("--rescore", help="Grade the stored samples again, sample nothing.")] = False,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    settings: options.SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Measure pass@k of a run's policy, or of any model, on held-out problems.

    Samples that are there are kept: asking for more draws only what is missing.
    """
    overrides = _for_evaluation(options.given(locals()))
    from rsgrpo_cli.pipeline import evaluation
    from rsgrpo_cli.report.evaluations import load
    from rsgrpo_cli.report.tables import evaluation_table

    out = Output(as_json=as_json)
    run = run or (_run_of_model(model) if model else None)
    fresh = run is not None and model is not None and not exists(run)
    target, resolved = new_run(run, overrides, None, out) if fresh else open_run(run, overrides)
    with at_work(target, resolved, out) as session:
        version = target.newest_version() if policy is None else policy
        name = benchmark or evaluation.default_benchmark(session)
        request = evaluation.Request(name, prompt_column, answer_column, tag, rescore, force)
        outcome = evaluation.evaluate(session, version, resolved.eval, request)
    found = load(target, version, request.name)
    rows = [row | {"policy": version} for row in found.summary.to_pylist()]
    data = {"run": str(target.path), "policy": version, "benchmark": request.name, **outcome.facts, "summary": rows}
    lines = [f"{outcome.facts['sampled']} completions sampled -> {outcome.path}"]
    if 2 * max(resolved.eval.k) > resolved.eval.num_samples:
        lines.insert(0, "-: fewer than 2k samples, from which no sampling error can be told")
    out.result(data, evaluation_table(found, resolved.eval.k), lines=lines)
    timeouts = found.value("status_timeout")
    if timeouts and timeouts["value"] > TIMEOUT_SHARE:
        share = f"{timeouts['value']:.1%} of the answers timed out in the verifier and count as wrong"
        raise DataError(share, "give it longer: --timeout, then --rescore")


def _for_evaluation(overrides: dict[str, object]) -> dict[str, object]:
    """Sampling flags mean the evaluation's here, and columns the benchmark's."""
    return {
        name.replace("rollout.", "eval.") if name != "rollout.engine" else name: value
        for name, value in overrides.items()
        if not name.startswith("prepare.")
    }


def _run_of_model(model: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", model.strip("/"))
    return f"eval-{slug}"
