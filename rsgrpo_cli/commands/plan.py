"""`rsgrpo plan`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import options, plan_time, typed
from rsgrpo_cli.commands.context import exists
from rsgrpo_cli.commands.spreading import PANEL
from rsgrpo_cli.config import Overrides, resolve, with_file
from rsgrpo_cli.console import Output, size, table
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.wording import plural

if TYPE_CHECKING:
    from rich.table import Table

PromptTokens = Annotated[int, typer.Option("--prompt-tokens", min=1, help="Assumed of a prompt, at most.")]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory", metavar="GB", min=0.001, help="Of the GPU to plan for.  \\[default: what is free on this machine]"
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        metavar="N",
        min=1,
        rich_help_panel=PANEL,
        help="Plan for an update over N GPUs, the same as --ranks; with --ray, for a cluster of N.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|HOST:PORT",
        rich_help_panel=PANEL,
        help="Plan for a Ray cluster, which is not asked: with as many samplers as --gpus has room for beside --ranks, "
        "unless --data-parallel says how many.",
    ),
]
DataParallel = Annotated[
    int, typer.Option("--data-parallel", metavar="N", min=0, rich_help_panel=PANEL, help="Plan for N samplers.")
]
MeanTokens = Annotated[
    float | None,
    typer.Option(
        "--mean-tokens",
        metavar="N",
        min=1,
        rich_help_panel=PANEL,
        help="Of a completion, on average.  \\[default: the run's own, or half of --max-tokens]",
    ),
]
Assume = Annotated[
    list[str] | None,
    typer.Option(
        "--assume",
        metavar="NAME=VALUE",
        rich_help_panel=PANEL,
        help="A number for what plan assumes about the machines; repeat it for several. plan lists their names.",
    ),
]
FOOTNOTE = (
    "Weights, gradients, optimizer state, KV cache and logits are counted; activations are about right: the sum was "
    "within 15% of what was measured on a CPU for models of the Llama kind. The CUDA context (0.5 GB), Python (1 GB of "
    "RAM) and fragmentation come on top."
)


@options.settings(*options.TRAIN_FLAGS)
def plan(
    run: options.RunOption = None,
    config: options.ConfigOption = None,
    prompt_tokens: PromptTokens = 256,
    memory: Memory = None,
    gpus: Gpus = None,
    ray: Ray = None,
    data_parallel: DataParallel = 0,
    mean_tokens: MeanTokens = None,
    assume: Assume = None,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Show what a run would do and how much memory it would need, from the model's config.json alone.

    Takes the flags of train. With several GPUs or workers, and of a run that has steps behind it: also how long a step
    takes, what it moves, and what saturates first.
    """
    limit = int(memory * 1e9) if memory else None
    if gpus is not None and ray is None:
        if overrides.get("update.ranks", gpus) != gpus:
            raise UsageError(
                f"--gpus {gpus} and --ranks {overrides['update.ranks']} say two things", "give one of them"
            )
        overrides["update.ranks"] = gpus
    asked: dict[str, Any] = {"gpus": gpus, "ray": ray is not None, "samplers": data_parallel}
    asked |= {"mean_tokens": mean_tokens, "assumed": tuple(assume or ())}
    print_plan(run, overrides, config, as_json=as_json, prompt_tokens=prompt_tokens, memory=limit, asked=asked)


def print_plan(
    run: str | None,
    overrides: Overrides,
    config_file: Path | None,
    *,
    as_json: bool,
    prompt_tokens: int = 256,
    memory: int | None = None,
    asked: Mapping[str, Any] | None = None,
) -> None:
    """What `plan` and `train --dry-run` print; `asked` as of `planning.many.Asked`."""
    from rsgrpo_cli.models import config_directory
    from rsgrpo_cli.pipeline.own_estimator import completed_run
    from rsgrpo_cli.pipeline.ranks import together
    from rsgrpo_cli.pipeline.throughput import read_throughput
    from rsgrpo_cli.pipeline.training import resume_config
    from rsgrpo_cli.planning.many import Asked, Measured
    from rsgrpo_cli.planning.plan import make_plan
    from rsgrpo_cli.run.base_place import find_base
    from rsgrpo_cli.run.run_dir import RunDir

    there = exists(run)
    if there:
        config = resume_config(RunDir.open(run), with_file(overrides, config_file))
    else:
        config = resolve(overrides, config_file)
    if not there or "advantage.estimator" in overrides:  # one that only the run names is not loaded
        config = completed_run(config)
    if config.update.ranks > 1:
        by_gpus = asked is not None and asked.get("gpus") and not asked.get("ray")  # of a cluster, --gpus is all of it
        together.check(config, here=False, flag="--gpus" if by_gpus else "--ranks")
    found = read_throughput(RunDir.open(run)) if there else None
    directory = find_base(RunDir.open(run), config.model.name, config_directory) if there else None
    want = Asked(**(asked or {}), measured=Measured(**found) if found else None)
    data = make_plan(config, prompt_tokens=prompt_tokens, memory=memory, asked=want, directory=directory)
    tables = [_settings_table(data), _work_table(data), _memory_table(data), *plan_time.tables(data["many"])]
    new = [f"{RunDir.locate(run)} would be a new run"] if run and not there else []
    lines = [*new, _logits(data), *_sampler(data["sampled_at_once"]), *_positions(data["positions"])]
    lines += [*_ranks(data["ranks"]), *plan_time.lines(data["many"])]
    Output(as_json=as_json).result(data, *tables, lines=[*lines, *_verdict(data), FOOTNOTE])


def _settings_table(data: dict[str, Any]) -> Table:
    made = table(
        "setting", "value", "default", title="Settings, with the default where it differs", text=("value", "default")
    )
    for name, row in data["settings"].items():
        default = "" if row["default"] in (row["value"], None) else typed.shown(row["default"])
        made.add_row(name, typed.shown(row["value"]), default)
    return made


def _work_table(data: dict[str, Any]) -> Table:
    load = data["workload"]
    made = table("what there is to do", "number", "how", title="Work", text=("what there is to do", "how"))
    made.add_row(
        "completions per step", f"{load['completions']:,}", f"{load['prompts_per_step']} x {load['group_size']}"
    )
    if load["draw_limit"] > 1:
        made.add_row(
            "with replaced groups, at most", f"{load['most_completions']:,}", f"{load['draw_limit']} times that"
        )
    tokens = f"{load['most_completions']:,} x {load['max_tokens']:,}"
    made.add_row("sampled tokens per step, at most", f"{load['completion_tokens']:,}", tokens)
    rows = f"{load['rows']:,} of {load['length']:,} tokens each, {load['prompt_tokens']:,} of them the prompt"
    made.add_row("micro-batches per step, at most", f"{load['micro_batches']:,}", rows)
    of = f"{load['steps']:,} x {load['optimizer_steps']}"
    made.add_row("optimizer steps in all", f"{load['all_optimizer_steps']:,}", of)
    over = (
        f"{load['steps']:,} x {load['prompts_per_step']} / {load['problems'] or '?'} "
        f"{plural(load['problems'] or 0, 'problem')}"
    )
    made.add_row("epochs over the problems", "?" if load["epochs"] is None else f"{load['epochs']:.2f}", over)
    samples = " + ".join(f"{problems or '?'} x {samples:,}" for problems, samples in load["benchmarks"])
    made.add_row("completions per evaluation", _count(load["evaluation_completions"]), samples)
    every = f"before the first step, then every {load['eval_every']}" if load["eval_every"] else "--eval-every is 0"
    made.add_row("evaluations in training", f"{load['evaluations']:,}", every)
    keep = f"weights and optimizer; the newest {data['config']['train']['keep_checkpoints']} are kept"
    made.add_row("a checkpoint on disk", size(data["checkpoint_bytes"]), keep)
    return made


def _memory_table(data: dict[str, Any]) -> Table:
    shape, phases = data["shape"], data["phases"]
    title = f"Memory: {shape['parameters']:,} weights, {shape['trained']:,} of them trained"
    if shape["trained"] != shape["parameters"] and shape["trained"]:
        title = f"Memory: {shape['parameters']:,} weights, and an adapter of {shape['trained']:,}"
    made = table("bytes", *phases, title=title)
    for name in dict.fromkeys(name for phase in phases.values() for name in phase["bytes"]):
        cells = [phase["bytes"].get(name, 0) for phase in phases.values()]
        if any(cells):
            made.add_row(name, *(size(cell) if cell else "" for cell in cells))
    made.add_row("sum", *(size(phase["total"]) for phase in phases.values()), style="bold")
    return made


def _logits(data: dict[str, Any]) -> str:
    logits, words = data["logits"], data["shape"]["vocabulary"]
    chunk = f"logits: a chunk of {logits['chunk_tokens']:,} tokens x {words:,} words is {size(logits['chunk_bytes'])}"
    return f"{chunk}; of a whole micro-batch, never held, {size(logits['micro_batch_bytes'])}"


def _sampler(size: int | None) -> list[str]:
    """How many completions the hf engine writes at once; nothing of the other engines."""
    return [] if size is None else [f"sampling: {size:,} {plural(size, 'completion')} at once"]


def _ranks(data: dict[str, Any] | None) -> list[str]:
    """What an update over several GPUs needs beside their memory, and what is assumed."""
    if data is None:
        return []
    told = f"{data['micro_batches']:,} micro-batches each per step, at most"
    network = f"each receives about {size(data['network_bytes'])} per step from the others"
    loading = f"{size(data['loading_bytes'])} of RAM each while loading"
    return [f"{data['ranks']} ranks: {told}; {network}; {loading}", *(f"  {line}" for line in data["assumptions"])]


def _positions(data: dict[str, Any]) -> list[str]:
    """What the model's positions leave for a prompt, and whether that is nothing."""
    if data["tokens"] is None:
        return ["positions: the model has no limit"]
    left = min(data["left_for_a_prompt"].values())
    if left > 0:
        return [f"positions: {data['tokens']:,}, of which the longest completion leaves {left:,} for a prompt"]
    lines = [f"positions: {data['tokens']:,}, and a completion leaves none of them for a prompt"]
    for name, room in data["left_for_a_prompt"].items():
        if room <= 0:
            lines.append(
                f"  {name} has to be below {data['tokens']}" + ("" if data["hard"] else ", to stay in what was trained")
            )
    return lines


def _verdict(data: dict[str, Any]) -> list[str]:
    peak, free = size(data["peak_bytes"]), size(data["free_bytes"])
    if data["fits"]:
        return [f"fits: {peak} of the {free} free on {data['device']}"]
    remedy = f"would fit with {data['remedy']}" if data["remedy"] else "take a smaller model or a larger machine"
    return [f"does not fit: {peak}, and {free} are free on {data['device']}", f"  {remedy}"]


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
