"""What `rsgrpo plan --gpus` says of time, disk and network: a step on the GPUs that were asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Any

from rsgrpo_cli.config import RunConfig, override
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.planning import step_time
from rsgrpo_cli.planning.footprint import BFLOAT16, Decoder, Precision
from rsgrpo_cli.planning.machine import Machine, assume
from rsgrpo_cli.planning.ranks import rank_facts
from rsgrpo_cli.planning.scaled_step import Layout, StepTime, Work, step_of
from rsgrpo_cli.wording import counted

SAMPLING_NUMBERS = ("flops", "bandwidth", "memory", "decode_share", "iteration", "sequences")
ALWAYS = (
    "disk",
    "disk_node",
    "file_operations",
    "part_operations",
    "part_seconds",
    "parquet",
    "verdicts",
    "cores",
    "node",
)
RUN = "measured: this run"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run has measured of its own speed, as of `pipeline.throughput.read_throughput`."""

    steps: float
    mean_tokens: float
    sampler_tokens: float
    update_completions: float
    verdicts: float
    parquet: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is planned for.

    Args:
        gpus: That there are, None if that was not said.
        ray: Whether there is a cluster.
        samplers: Workers that were asked for; 0 for none.
        assumed: Numbers of the user's own, as "disk=40".
        mean_tokens: Of a completion, None if that was not said.
        measured: What the run knows of itself, None if nothing.
    """

    gpus: int | None = None
    ray: bool = False
    samplers: int = 0
    assumed: Sequence[str] = ()
    mean_tokens: float | None = None
    measured: Measured | None = None

    @property
    def anything(self) -> bool:
        """Whether there is something to say of time."""
        return bool(self.gpus or self.ray or self.samplers or self.assumed or self.mean_tokens or self.measured)


def layout_of(config: RunConfig, asked: Asked, engine: str, decoder: Decoder) -> Layout:
    """Who does what.

    Raises:
        UsageError: If there are too few GPUs, their number is not said, or the model cannot be shared by so many.
    """
    each = config.vllm.tensor_parallel_size if engine in ("vllm", "dummy") else 1
    setting = f"vllm.tensor_parallel_size={each}"
    if engine == "vllm" and decoder.heads % each:
        fitting = ", ".join(str(number) for number in range(1, decoder.heads + 1) if decoder.heads % number == 0)
        raise UsageError(f"{setting} does not divide the model's {decoder.heads} attention heads", f"one of {fitting}")
    if asked.ray and not (asked.samplers or asked.gpus):
        raise UsageError("--ray does not say how many samplers to plan for", "add --gpus N, or --data-parallel N")
    if asked.gpus and each > asked.gpus:
        hint = f"--gpus {each}, or a smaller vllm.tensor_parallel_size"
        raise UsageError(f"a sampler takes {each} GPUs ({setting}), and --gpus is {asked.gpus}", hint)
    samplers, ranks = asked.samplers or 1, config.update.ranks
    layout = Layout(ranks, samplers, each, apart=asked.ray)
    if asked.ray and asked.gpus and not asked.samplers:
        layout = replace(layout, samplers=(asked.gpus - layout.kept) // each)
        if layout.samplers < 1:
            beside = f"{ranks} ranks and a sampler{f' of {each} GPUs' if each > 1 else ''}"
            what = f"{beside} need {layout.kept + each} GPUs, and --gpus is {asked.gpus}"
            raise UsageError(what, f"fewer --ranks, or --gpus {layout.kept + each}")
    if asked.gpus and layout.gpus > asked.gpus:
        what = counted(samplers, "sampler") + (f" of {each} GPUs each" if each > 1 else "")
        what += f" beside {ranks} ranks" if layout.kept else ""
        hint = f"--data-parallel {max(1, (asked.gpus - layout.kept) // each)}, or --gpus {layout.gpus}"
        raise UsageError(f"{what} need {layout.gpus} GPUs, and --gpus is {asked.gpus}", hint)
    return layout


def machine_of(config: RunConfig, asked: Asked, layout: Layout, memory: int | None) -> Machine:
    """The numbers that are reckoned with: assumed, the run's settings, measured by the run, the user's own.

    Raises:
        UsageError: If one of the user's cannot be.
    """
    machine = Machine()
    if memory:
        machine = machine.known("--memory", memory=memory / 1e9)
    graders = config.score.workers
    if asked.ray:
        machines = step_time.machines(layout.samplers * layout.gpus_each, machine)
        machine = machine.known("--workers on each machine", cores=graders * machines)
    else:
        machine = machine.known("--workers", cores=graders)
    if asked.measured:
        known = {"verdicts": asked.measured.verdicts, "parquet": asked.measured.parquet}
        machine = machine.known(RUN, **{name: float(f"{value:.3g}") for name, value in known.items() if value})
    return assume(machine, asked.assumed, _used(asked, layout))


def many_of(
    config: RunConfig,
    asked: Asked,
    *,
    decoder: Decoder,
    precision: Precision,
    engine: str,
    parts: Sequence[int],
    prompt_tokens: int,
    memory: int | None,
) -> dict[str, Any]:
    """Everything, ready for JSON.

    Args:
        config: The run's.
        asked: What is planned for.
        decoder: The model.
        precision: Of the update.
        engine: That samples.
        parts: Completions of each part of a step.
        prompt_tokens: Of a prompt.
        memory: Bytes of a GPU, None for the assumed ones.

    Raises:
        UsageError: As `layout_of` and `machine_of`, or if completions are longer than they can be.
    """
    layout = layout_of(config, asked, engine, decoder)
    machine = machine_of(config, asked, layout, memory)
    longest = config.rollout.max_tokens
    mean, mean_source = _mean_tokens(asked, longest)
    own = engine == "vllm" or asked.samplers > 0 or asked.ray
    work = Work(
        parts,
        config.rollout.group_size,
        prompt_tokens,
        mean,
        config.update.gradient_checkpointing,
        sampler_reads=own,
        checkpoints=1.0 if layout.ranks > 1 else 1 / config.train.checkpoint_every,
    )
    each = _part_seconds(decoder, machine, work, layout, asked, longest)
    if max(each) == inf:
        return {"layout": _layout(layout, asked), "reason": _too_small(decoder, machine, layout)}

    def at(layout: Layout) -> StepTime:
        sampling = step_time.rounds(len(parts), layout.samplers) * max(each)
        how: dict[str, Any] = {"longest_part": max(each), "sampling": min(sampling, sum(each))}
        known = _measured_update(asked, work.completions, layout)
        there = replace(work, arithmetic=known, received=_received(config, decoder, precision, work, layout.ranks))
        return step_of(decoder, precision, machine, there, layout, **how)

    made, twice = at(layout), at(replace(layout, ranks=_twice(layout.ranks), samplers=2 * layout.samplers))
    return {
        "layout": _layout(layout, asked) | {"parts": len(parts), "busy": min(len(parts), layout.samplers)},
        "completion_tokens": {"mean": mean, "longest": longest, "source": mean_source},
        "seconds": dict(made.phases),
        "total_seconds": made.total,
        "twice_the_gpus_seconds": twice.total,
        "not_shortened_seconds": dict(made.fixed),
        "saturates_first": {"name": made.first_limit, "share": made.limit_share},
        "moved": dict(made.moved),
        "busy": _busy(made, machine, layout),
        "engine": engine,
        "measured_steps": int(asked.measured.steps) if asked.measured else 0,
        "assumptions": machine.table(_used(asked, layout)),
    }


def _mean_tokens(asked: Asked, longest: int) -> tuple[float, str]:
    if asked.mean_tokens is not None:
        if asked.mean_tokens > longest:
            hint = f"--mean-tokens {longest} or fewer"
            raise UsageError(f"--mean-tokens {asked.mean_tokens:g} is more than --max-tokens {longest}", hint)
        return asked.mean_tokens, "yours"
    if asked.measured:
        return min(asked.measured.mean_tokens, longest), RUN
    return longest / 2, "assumed: half of --max-tokens"


def _part_seconds(
    decoder: Decoder, machine: Machine, work: Work, layout: Layout, asked: Asked, longest: int
) -> list[float]:
    """Of each part; two parts of one size are alike."""
    if asked.measured:
        return [count * work.mean_tokens / asked.measured.sampler_tokens for count in work.parts]
    how = {"prompt_tokens": work.prompt_tokens, "group_size": work.group_size, "gpus": layout.gpus_each}
    taken = {
        count: step_time.part_seconds(decoder, machine, step_time.even_lengths(count, longest, work.mean_tokens), **how)
        for count in set(work.parts)
    }
    return [taken[count] for count in work.parts]


def _measured_update(asked: Asked, completions: int, layout: Layout) -> float | None:
    """Seconds of an update, if ranks share what one was measured at."""
    return completions / asked.measured.update_completions / layout.ranks if asked.measured else None


def _received(config: RunConfig, decoder: Decoder, precision: Precision, work: Work, ranks: int) -> int:
    """Bytes that a rank receives in a step of completions of the mean length."""
    if ranks == 1:
        return 0
    length = work.prompt_tokens + work.mean_tokens
    rows = max(1, int(config.update.micro_batch_tokens // length))
    batches = config.update.optimizer_steps * ceil(work.completions / config.update.minibatches / rows)
    shared = override(config, {"update.ranks": ranks})
    return rank_facts(shared, decoder, precision, micro_batches=batches)["network_bytes"]


def _twice(ranks: int) -> int:
    """One process stays one: what it does alone is another program than what ranks do."""
    return 2 * ranks if ranks > 1 else 1


def _too_small(decoder: Decoder, machine: Machine, layout: Layout) -> str:
    weights = decoder.parameters * BFLOAT16
    least = layout.gpus_each
    while step_time.CACHE_SHARE * least * machine.memory * 1e9 <= weights:
        least *= 2
    on = f"{counted(layout.gpus_each, 'GPU')} of {machine.memory:g} GB"
    shared = max(least, 2 * layout.gpus_each)
    return f"the weights leave a sampler no room on {on}; --set vllm.tensor_parallel_size={shared} would"


def _layout(layout: Layout, asked: Asked) -> dict[str, int]:
    gpus = asked.gpus or layout.gpus
    return {
        "gpus": gpus,
        "ranks": layout.ranks,
        "samplers": layout.samplers,
        "gpus_each": layout.gpus_each,
        "gpus_without_sampler": gpus - layout.kept - layout.samplers * layout.gpus_each,
    }


def _busy(made: StepTime, machine: Machine, layout: Layout) -> dict[str, float]:
    """Share of the step in which what all share is in use."""
    moved = made.moved
    disk = (moved["rollouts"] + moved["checkpoint"] + moved["weights read"]) / (machine.disk * step_time.GIGA)
    seconds = {
        "file system": disk,
        "file operations": moved["file operations"] / machine.file_operations,
        "network of a rank": step_time.exchange_seconds(moved["received by a rank"], machine, ranks=layout.ranks),
    }
    return {name: taken / made.total for name, taken in seconds.items()}


def _used(asked: Asked, layout: Layout) -> list[str]:
    """The numbers that this plan depends on."""
    names: list[str] = [*ALWAYS]
    if not asked.measured:
        names += [*SAMPLING_NUMBERS, "update_share"]
        names += ["parallel_share"] if layout.gpus_each > 1 else []
    if layout.ranks > 1:
        names.append("nvlink")
        names.append("network")
    return names
