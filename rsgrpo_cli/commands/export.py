"""`rsgrpo export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, size
from rsgrpo_cli.errors import UsageError

if TYPE_CHECKING:
    from rsgrpo_cli.run_dir import RunDir


def export(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN[@POLICY]]",
            autocompletion=options.complete_run,
            help="Name or path, instead of --run.  \\[default: the newest]",
        ),
    ] = None,
    run: options.RunOption = None,
    policy: options.PolicyOption = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="One complete model, an adapter merged, in the base's own dtype.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to.  \\[default: RUN/exports/POLICY]")
    ] = None,
    interpolate: Annotated[
        float,
        typer.Option(
            "--interpolate",
            min=0.0,
            max=1.0,
            metavar="0..1",
            help="Weights on the line from the base model (0) to the policy (1).  \\[default: 1]",
        ),
    ] = 1.0,
    accept_changes: options.AcceptOption = False,
    accept_inexact: options.InexactOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write a policy as a model directory: weights or adapter, tokenizer, chat template, licence, model card.

    A policy without a checkpoint is rebuilt.
    """
    from rsgrpo_cli.models import licence
    from rsgrpo_cli.pipeline import export as exporting
    from rsgrpo_cli.pipeline.base_model import open_base
    from rsgrpo_cli.pipeline.rebuilding import checkpoint_of, pulled_back
    from rsgrpo_cli.report.card import card
    from rsgrpo_cli.run_dir import RunDir
    from rsgrpo_cli.staleness import stale_evaluation
    from rsgrpo_cli.step_dir import with_policy

    printed = Output(as_json=as_json)
    name, policy = _split(name, policy)
    source = RunDir.open(_one_of(name, run))
    source, version = (source, source.newest_version()) if policy is None else with_policy(source, policy)
    exporting.check_policy(source, version)
    complete = merge or not source.config().model.lora_rank
    line = "" if interpolate == 1 else f"at{interpolate:g}"
    target = out or source.path / "exports" / f"{source.folder_of(version)}{line}{'-merged' if merge else ''}"
    exporting.require_free(target)
    model = source.config().model
    if merge and model.lora_rank:
        open_base(source, model.name, accept=accept_changes, record=False)
    for benchmark in source.benchmarks_of(version):
        stale = stale_evaluation(source, version, benchmark)
        if stale:
            printed.warn(f"{stale}; it is left out of the model card")
    accept = {"accept_changes": accept_changes, "accept_inexact": accept_inexact}
    with checkpoint_of(source, version, target, printed, **accept) as (checkpoint, inexact):
        text = card(source, version, complete=complete, licence=licence(model.name), inexact=inexact, at=interpolate)
        with pulled_back(source, version, checkpoint, interpolate, target, accept_changes=accept_changes) as weights:
            exporting.export(source, version, weights, target, merge=merge, card=text)
    _say(printed, source, version, target, complete=complete)


def _split(name: str | None, policy: str | None) -> tuple[str | None, str | None]:
    """The run and the policy of "RUN@POLICY", as other commands take it; --policy may say the same.

    Raises:
        UsageError: If both name a policy, and not the same.
    """
    from rsgrpo_cli.report.evaluations import split_place

    place, at = split_place(name or "")
    if at and policy not in (None, at):
        raise UsageError(f"two policies are named: {at} and {policy}", "name one")
    return (place, at) if at else (name, policy)


def _one_of(name: str | None, run: str | None) -> str | None:
    """The run, named as an argument or with --run; the argument wins over RSGRPO_RUN.

    Raises:
        UsageError: If both name one, and not the same.
    """
    options.named_run(name)
    if name is not None and run not in (None, name, os.environ.get("RSGRPO_RUN")):
        raise UsageError(f"two runs are named: {name} and {run}", "name one")
    return name or run


def _say(out: Output, run: RunDir, version: int, target: Path, *, complete: bool) -> None:
    written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    kind = "model" if complete else "adapter"
    data = {"run": str(run.path), "policy": version, "path": str(target), "kind": kind, "bytes": written}
    line = f"policy {version} of {run.path} as {'a model' if complete else 'an adapter'}, {size(written)} -> {target}"
    out.result(data, lines=[line])
