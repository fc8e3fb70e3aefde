"""`rsgrpo export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, size


def export(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            envvar="RSGRPO_RUN",
            callback=options.named_run,
            help="Name or path.  \\[default: the newest]",
        ),
    ] = None,
    policy: Annotated[
        int | None, typer.Option("--policy", min=0, help="Policy version.  \\[default: the newest]")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="One complete model, an adapter merged, in the base's own dtype.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to.  \\[default: RUN/exports/POLICY]")
    ] = None,
    accept_changes: options.AcceptOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write a policy as a model directory: weights or adapter, tokenizer, chat template, licence, model card."""
    from rsgrpo_cli.models import licence
    from rsgrpo_cli.pipeline import export as exporting
    from rsgrpo_cli.pipeline.base_model import open_base
    from rsgrpo_cli.report.card import card
    from rsgrpo_cli.run_dir import RunDir
    from rsgrpo_cli.staleness import stale_evaluation

    printed = Output(as_json=as_json)
    source = RunDir.open(run)
    version = source.newest_version() if policy is None else policy
    exporting.check_policy(source, version)
    model = source.config().model
    if merge and model.lora_rank:
        open_base(source, model.name, accept=accept_changes, record=False)
    for name in source.benchmarks_of(version):
        stale = stale_evaluation(source, version, name)
        if stale:
            printed.warn(f"{stale}; it is left out of the model card")
    complete = merge or not model.lora_rank
    target = out or source.path / "exports" / (f"{version:06d}-merged" if merge else f"{version:06d}")
    text = card(source, version, complete=complete, licence=licence(model.name))
    exporting.export(source, version, target, merge=merge, card=text)
    written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    kind = "model" if complete else "adapter"
    data = {"run": str(source.path), "policy": version, "path": str(target), "kind": kind, "bytes": written}
    line = (
        f"policy {version} of {source.path} as {'a model' if complete else 'an adapter'}, {size(written)} -> {target}"
    )
    printed.result(data, lines=[line])
