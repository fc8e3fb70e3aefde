"""`rsgrpo export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, size
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.helping import ListOf

if TYPE_CHECKING:
    from rsgrpo_cli.run.run_dir import RunDir


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
    average: Annotated[
        str | None,
        typer.Option("--average", metavar=ListOf("N,N,..."), help="The mean of the weights of these policies."),
    ] = None,
    accept_changes: options.AcceptOption = False,
    accept_inexact: options.InexactOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write a policy as a model directory: weights or adapter, tokenizer, chat template, licence, model card.

    A policy without a checkpoint is rebuilt.
    """
    from rsgrpo_cli.models import licence
    from rsgrpo_cli.pipeline import export as exporting
    from rsgrpo_cli.pipeline.averaging import moved
    from rsgrpo_cli.pipeline.base_model import open_base
    from rsgrpo_cli.report.card import card
    from rsgrpo_cli.run.identity import pinned
    from rsgrpo_cli.run.run_dir import RunDir
    from rsgrpo_cli.run.staleness import stale_evaluation
    from rsgrpo_cli.run.step_dir import newest, with_policy

    printed = Output(as_json=as_json)
    name, policy, interpolate = _split(name, policy, interpolate)
    source = RunDir.open(options.one_run(name, run))
    several = _several(average, policy, interpolate)
    policy = str(several[-1]) if several else policy
    source, version = (source, newest(source, printed.warn)) if policy is None else with_policy(source, policy)
    exporting.check_policy(source, version)
    complete = merge or not source.config().model.lora_rank
    line = f"mean{len(several)}" if several else "" if interpolate == 1 else f"at{interpolate:g}"
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
    with moved(source, version, several, interpolate, target, printed, **accept) as (weights, inexact):
        text = card(
            source,
            version,
            complete=complete,
            licence=licence(pinned(source.path, model.name)),
            inexact=inexact,
            at=interpolate,
            several=several,
        )
        exporting.export(source, version, weights, target, merge=merge, card=text)
    _say(printed, source, version, target, complete=complete, several=several, at=interpolate)


def _split(name: str | None, policy: str | None, interpolate: float) -> tuple[str | None, str | None, float]:
    """The run, the policy and the place on the line of "RUN@4" and "RUN@4at0.5", as other commands take them.

    --policy and --interpolate may say the same.

    Raises:
        UsageError: If both name one, and not the same.
    """
    from rsgrpo_cli.report.evaluations import split_line, split_place

    place, named = split_place(name or "")
    if not named:
        return name, policy, interpolate
    version, at = split_line(named)
    version, at = (version, at) if version.isdecimal() else (named, 1.0)  # a tag may end like a place
    if policy not in (None, version):
        raise UsageError(f"two policies are named: {version} and {policy}", "name one")
    if at != 1 and interpolate not in (1, at):
        raise UsageError(f"two places on the line are named: {at:g} and {interpolate:g}", "name one")
    return place, version, interpolate if at == 1 else at


def _several(average: str | None, policy: str | None, interpolate: float) -> tuple[int, ...]:
    """The policies to average, in order; empty where one is wanted.

    Raises:
        UsageError: If they are no list of policies, or one is named besides.
    """
    if average is None:
        return ()
    if policy is not None or interpolate != 1:
        raise UsageError("--average names the policies itself", "leave out --policy, RUN@POLICY and --interpolate")
    hint = "name at least two, each once and none of them 0: --average 80,100,120"
    numbers = average.split(",")
    if not all(one.strip().isdecimal() for one in numbers):
        raise UsageError(f"--average {average!r} is not a list of policies", hint)
    versions = tuple(sorted(map(int, numbers)))
    if versions[0] == 0:
        raise UsageError("--average: policy 0 is the base model", "pull a policy back to it: --interpolate 0.75")
    if len(set(versions)) < max(len(versions), 2):
        raise UsageError(f"--average {average!r} names no two policies, or one twice", hint)
    return versions


def _say(
    out: Output, run: RunDir, version: int, target: Path, *, complete: bool, several: tuple[int, ...], at: float
) -> None:
    written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    kind = "model" if complete else "adapter"
    data = {"run": str(run.path), "policy": version, "path": str(target), "kind": kind, "bytes": written}
    data |= {"average": list(several)} if several else {}
    named = f"policy {run.policy_name(version)}" + (f" at {at:g}" if at != 1 else "")
    what = f"the mean of policies {', '.join(map(str, several))}" if several else named
    line = f"{what} of {run.path} as {'a model' if complete else 'an adapter'}, {size(written)} -> {target}"
    out.result(data, lines=[line])
