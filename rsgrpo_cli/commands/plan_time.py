"""What `rsgrpo plan` prints of time, disk and network on many GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.console import duration, size, table
from rsgrpo_cli.wording import counted, verb

if TYPE_CHECKING:
    from rich.table import Table

SHORTENED = {
    "scoring": "--workers N grades on more cores",
    "weights to samplers": "an adapter (--lora-rank) is smaller",
    "checkpoint": "an adapter (--lora-rank) is smaller",
    "the longest part": "a shorter --max-tokens does",
}
"""What shortens what more GPUs do not."""
COUNTED = "file operations"
"""What of `moved` is a number, not bytes."""


def tables(data: dict[str, Any] | None) -> Iterator[Table]:
    """The tables; none where there is nothing to say.

    Args:
        data: As `planning.many.many_of` makes it.
    """
    if data is None or "reason" in data:
        return
    yield _time(data)
    yield _moved(data)
    yield _assumptions(data)


def lines(data: dict[str, Any] | None) -> Iterator[str]:
    """What the numbers come to."""
    if data is None:
        return
    if "reason" in data:
        yield f"time per step: not known: {data['reason']}"
        return
    first, layout = data["saturates_first"], data["layout"]
    if layout["busy"] < layout["samplers"]:
        idle, parts = layout["samplers"] - layout["busy"], counted(layout["parts"], "part")
        why = f"a step has {parts}, and more --prompts-per-step make more"
        yield f"{idle} of {layout['samplers']} samplers {verb(idle, 'has')} nothing to do: {why}"
    if layout["gpus_without_sampler"]:
        without = layout["gpus_without_sampler"]
        does = verb(without, "does")
        yield f"{without} of {layout['gpus']} GPUs {does} not sample: --data-parallel N uses them"
    tokens = data["completion_tokens"]
    yield f"completions of {tokens['mean']:,.0f} tokens on average ({tokens['source']}), {tokens['longest']:,} at most"
    if data["engine"] == "hf" and not data["measured_steps"]:
        yield "a sampler is taken to be as fast as vLLM; the hf engine is slower"
    if layout["gpus"] == 1:
        return
    share = f"{first['share']:.0%} of a step, which more GPUs do not shorten"
    share += f"; {SHORTENED[first['name']]}" if first["name"] in SHORTENED else ""
    yield f"saturates first: {first['name']}, {share}"
    now, then = _seconds(data["total_seconds"]), _seconds(data["twice_the_gpus_seconds"])
    yield f"twice as many GPUs: {then} per step, not {now}"


def _time(data: dict[str, Any]) -> Table:
    layout = data["layout"]
    of = f"{counted(layout['samplers'], 'sampler')}, {counted(layout['ranks'], 'rank')}"
    steps = data["measured_steps"]
    how = f"measured in {counted(steps, 'step')} of this run" if steps else "not measured"
    made = table("phase", "time", "share", title=f"Time per step, {how}: {of}", text=("phase",))
    for name, taken in data["seconds"].items():
        if taken:
            made.add_row(name, _seconds(taken), f"{taken / data['total_seconds']:.0%}")
    made.add_row("step", _seconds(data["total_seconds"]), "", style="bold")
    return made


def _moved(data: dict[str, Any]) -> Table:
    title = "Disk and network per step, and the share of the step in which they are busy"
    made = table("what", "per step", "busy", title=title, text=("what",))
    busy = data["busy"]
    for name, amount in data["moved"].items():
        if not amount:
            continue
        of_all = {COUNTED: COUNTED, "received by a rank": "network of a rank"}.get(name)
        shown = f"{amount:,.0f}" if name == COUNTED else size(round(amount))
        made.add_row(name, shown, f"{busy[of_all]:.1%}" if of_all else "")
    made.add_row("file system, together", "", f"{busy['file system']:.1%}")
    return made


def _assumptions(data: dict[str, Any]) -> Table:
    title = "Assumed about the machines: --assume NAME=VALUE for another"
    made = table("name", "value", "from", "what", title=title, text=("name", "from", "what"))
    for row in data["assumptions"]:
        made.add_row(row["name"], f"{row['value']:,g} {row['unit']}".strip(), row["source"], row["what"])
    return made


def _seconds(value: float) -> str:
    return f"{value:.1g} s" if 0 < value < 0.1 else duration(value)
