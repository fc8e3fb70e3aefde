"""`rsgrpo show`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, number, table

SHORT = 100
Tag = Annotated[
    str | None,
    typer.Option(
        "--tag", metavar="NAME", callback=options.tag, help="What was made with this tag, in place of the run's own."
    ),
]


def show(
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", metavar="ID", help="A prompt_id, or the number it ends in.  \\[default: one of the newest step]"
        ),
    ] = None,
    run: options.RunOption = None,
    step: options.StepOption = None,
    tag: Tag = None,
    full: Annotated[bool, typer.Option("--full", help="Whole completions.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Follow one prompt through the stages: its chat, its completions, their rewards and advantages."""
    from rsgrpo_cli.report.inspect import follow

    data = follow(run, prompt, step, tag)
    first = data["completions"][0] if data["completions"] else {}
    lines = [] if prompt is not None else [f"prompt: {data['prompt_id']}"]
    lines += [f"{message['role']}: {message['content']}" for message in data["messages"]]
    lines += [f"ground truth: {data['ground_truth']}", f"in steps: {', '.join(map(str, data['steps'])) or 'none yet'}"]
    if not first:
        Output(as_json=as_json).result(data, lines=lines)
        return
    tagged = f" ({', '.join(data['tagged'])} {tag})" if tag else ""
    state = first.get("group_status") or "not compared yet"
    title = f"step {data['step']}{tagged}: {state}, policy {first['policy_version']}"
    headers = ("sample", "reward", "status", "advantage", "tokens", "end", "log p", "completion")
    made = table(*headers, title=title, text=("completion",))
    for row in data["completions"]:
        made.add_row(*_cells(row, full))
    Output(as_json=as_json).result(data, made, before=lines)


def _cells(row: dict[str, Any], full: bool) -> list[str]:
    text = row["completion"] if full else " ".join(row["completion"].split())
    text = text if full or len(text) <= SHORT else "..." + text[-SHORT:]
    return [
        str(row["sample_index"]),
        number(row.get("reward"), 2),
        row.get("reward_status") or "",
        number(row.get("advantage")),
        str(row["tokens"]),
        row["finish_reason"],
        number(row["logprob"], 1),
        text,
    ]
