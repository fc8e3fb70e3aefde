"""`rsgrpo train`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rsgrpo_cli.commands import options, torchrun
from rsgrpo_cli.commands.context import at_work, exists, new_run, say_ks
from rsgrpo_cli.commands.plan import print_plan
from rsgrpo_cli.commands.spreading import PART_TIMEOUT, DataParallelOption, PartTimeoutOption, RayOption, Spreading
from rsgrpo_cli.config import Overrides, with_file
from rsgrpo_cli.config.samples import named_benchmarks
from rsgrpo_cli.console import Output
from rsgrpo_cli.wording import counted


@options.settings(*options.TRAIN_FLAGS)
def train(
    run: options.RunOption = None,
    config: options.ConfigOption = None,
    dry_run: options.DryRun = False,
    accept_changes: options.AcceptOption = False,
    trust: options.TrustOption = False,
    ray: RayOption = None,
    data_parallel: DataParallelOption = 0,
    part_timeout: PartTimeoutOption = PART_TIMEOUT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each step, and then the result, as a line of JSON.")
    ] = False,
    *,
    overrides: Overrides,
) -> None:
    """Train: rollout, score, advantage and update, step by step.

    Starts a run, or resumes the one that --run names. Ctrl-C stops after the part being worked on.
    """
    if dry_run:
        workers = {"ray": ray is not None, "samplers": data_parallel}
        return print_plan(run, overrides, config, as_json=as_json, asked=workers)
    if not torchrun.is_first(run, overrides):
        return
    from rsgrpo_cli.commands.live import StepLines
    from rsgrpo_cli.pipeline import base_model, evaluation, forking, training
    from rsgrpo_cli.report.remaining import Clock
    from rsgrpo_cli.run.run_dir import RunDir
    from rsgrpo_cli.trackers.registry import require
    from rsgrpo_cli.trackers.tracking import tracked

    out = Output(as_json=as_json)
    if exists(run):
        target = RunDir.open(run)
        forking.require_whole(target)
        overrides = base_model.without_moved(target, with_file(overrides, config))
        resolved = training.resume_config(target, overrides)
        require(resolved.train.tracker)
        out.info(f"resuming {target.path} at step {target.newest_version()}")
    else:
        target, resolved = new_run(run, overrides, config, out)
    lines = StepLines(out, Clock(target, resolved).left_after)
    spreading = Spreading(ray, data_parallel, part_timeout, updates=True)
    with at_work(target, resolved, out, overrides, trust=trust, spreading=spreading, screen=True) as session:
        session.accept_changes = accept_changes
        if resolved.train.eval_every:
            say_ks(out, resolved, overrides)
            evaluation.benchmarks_of(session, named_benchmarks(overrides))
        with tracked(target, resolved.train.tracker, out.warn) as look:

            def report(row: dict[str, Any]) -> None:
                lines.show(row)
                look()

            training.train(session, report)
    done, asked = target.newest_version(), resolved.train.steps
    data = {"run": str(target.path), "steps": done, "policy": done, "last_step": lines.last}
    more = f", more than the {asked} that are asked for; --steps N goes on" if done > asked else ""
    out.result(data, lines=[f"{target.path}: {counted(done, 'step')} done, policy {done}{more}"])
