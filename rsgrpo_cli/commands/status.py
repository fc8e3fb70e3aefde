"""`rsgrpo status`."""

from __future__ import annotations

import gc
import shlex
from typing import Any

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, duration, number, size, table
from rsgrpo_cli.wording import counted, steps_told, verb

STALE_SHOWN = 5


def status(
    name: options.RunArgument = None,
    run: options.RunOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show whether a run is at work and how far it is, what it has, what is stale, and where the time went."""
    from rsgrpo_cli.report.inspect import state

    gc.freeze()  # a long run makes many objects: collections need not go through all that was imported
    data = state(options.one_run(name, run))
    total = sum(data["seconds"].values())
    times = table("stage", "time", "share")
    for stage, seconds in sorted(data["seconds"].items(), key=lambda item: -item[1]):
        times.add_row(stage, duration(seconds), f"{seconds / total:.0%}" if total else "")
    by_tag = sorted(data["seconds_by_tag"].items(), key=lambda item: -item[1])
    told = ", ".join(f"{tag} {duration(seconds)}" for tag, seconds in by_tag)
    lines = [f"{duration(data['seconds_with_tags'])} more for what has a tag, beside the run: {told}"] if told else []
    Output(as_json=as_json).result(data, *([times] if total else []), before=_lines(data), lines=lines)


def _lines(data: dict[str, Any]) -> list[str]:
    settings = ", ".join(f"{name} {value}" for name, value in data["estimator"].items() if value is not None)
    origin = data["forked_from"]
    lines = [f"{data['run']}: {data['model']} on {data['dataset']} with {settings}"]
    lines += [f"forked from {origin['run']} at step {origin['step']}"] if origin else []
    done, at_work = _steps(data)
    total = max(done, data["steps_wanted"])  # a run may be resumed for more steps than it was created for
    lines.append(f"{done} of {counted(total, 'step')} done; checkpoints {data['checkpoints'] or 'none'}")
    lines += _now(data)
    for step in at_work:
        there = [name for name in ("rollouts", "rewards", "advantages", "update") if step[name]]
        parts = "" if step["rollouts"] else f" ({counted(step['rollout_parts'], 'part')} of the rollouts)"
        lines.append(f"step {step['step']} has {', '.join(there) or 'nothing complete yet'}{parts}")
    lines += _gone(data)
    lines += [f"stale: {problem}" for problem in data["stale"][:STALE_SHOWN]] or ["nothing is stale"]
    lines += _more(data["stale"])
    lines += [f"other settings: {told}" for told in data["departures"][:STALE_SHOWN]] + _more(data["departures"])
    for entry in data["evaluations"]:
        lines.append(f"evaluated: {_evaluated(entry)}")
    return lines


def _gone(data: dict[str, Any]) -> list[str]:
    """Steps that are done and have no directory any more; one command tells how to make each again."""
    gone = data["steps_gone"]
    if not gone:
        return []
    told = f"{steps_told(gone)} {verb(len(gone), 'is')} gone"
    return [f"{told}; what to do: {shlex.join(['rsgrpo', 'verify', data['run']])}"]


def _evaluated(entry: dict[str, Any]) -> str:
    """For instance: policy 4 on toy, policy 4.beta8 on toy (stale), policy 4 at 0.5 on toy."""
    tag = f".{entry['tag']}" if entry["tag"] else ""
    line = "" if entry["interpolation"] == 1 else f" at {entry['interpolation']:g}"
    return f"policy {entry['policy']}{tag}{line} on {entry['benchmark']}{' (stale)' if entry['stale'] else ''}"


def _steps(data: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """How many steps are done, those since the newest checkpoint included, and the steps that are not."""
    done, at_work = data["steps_done"], list(data["at_work"])
    while at_work and at_work[0]["step"] == done and at_work[0]["update"]:
        done += 1
        at_work.pop(0)
    return done, at_work


def _now(data: dict[str, Any]) -> list[str]:
    """Whether it runs, what the newest step came to, and what it takes."""
    doing = f": {data['doing']}" if data["doing"] else ""
    left = f", {duration(data['seconds_left'])} left" if data["seconds_left"] is not None else ""
    lines = [f"{data['state']}{doing}{left}"] + ([data["workers"]] if data["workers"] else [])
    newest = data["newest"]
    if newest:
        told = ", ".join(f"{name} {number(value)}" for name, value in newest.items() if name != "step")
        lines.append(f"step {newest['step']}: {told}")
    measured = data["measured"]
    for value in measured["values"] if measured else []:
        interval = "" if value["ci_low"] is None else f" [{value['ci_low']:z.3f}, {value['ci_high']:z.3f}]"
        where = f"policy {measured['policy']} on {measured['benchmark']}"
        lines.append(f"{where}: {value['metric']} {value['value']:z.3f}{interval}")
    return [*lines, *(f"warning: {text}" for text in data["warnings"]), f"{size(data['bytes'])} on the disk"]


def _more(told: list[str]) -> list[str]:
    rest = len(told) - STALE_SHOWN
    return [f"and {rest} more: rsgrpo status --json lists them"] if rest > 0 else []
