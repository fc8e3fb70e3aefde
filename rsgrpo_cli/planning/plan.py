"""What a run will do and need, from its settings and the model's config.json: nothing is loaded, nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.config import Overrides, RunConfig, changed_fields, override
from rsgrpo_cli.engines.registry import choose_engine
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.planning import footprint, ranks
from rsgrpo_cli.planning.footprint import Decoder, Footprint, Precision
from rsgrpo_cli.planning.many import Asked, many_of
from rsgrpo_cli.planning.workload import Workload
from rsgrpo_cli.tasks.files import is_data_file
from rsgrpo_cli.tasks.problems import Columns
from rsgrpo_cli.tasks.registry import REGISTRY, Split, listed
from rsgrpo_cli.tasks.sample_counts import for_benchmark
from rsgrpo_cli.tasks.sources import BUNDLED, load_source

if TYPE_CHECKING:
    from rsgrpo_cli.planning.decoder import Device

PROMPT_TOKENS = 256
"""Assumed of a prompt: problems are not tokenized here."""
MOMENTS, EIGHT_BIT_MOMENTS = 8, 2
"""Bytes of optimizer state per trained number: two moments, in float32 or in 8 bits."""
ALWAYS_SHOWN = (
    *("model.name", "model.dtype", "model.lora_rank", "prepare.dataset", "rollout.engine", "rollout.prompts_per_step"),
    *("rollout.group_size", "rollout.max_tokens", "advantage.estimator", "advantage.beta", "update.learning_rate"),
    *(
        "update.kl_coef",
        "update.micro_batch_tokens",
        "update.gradient_checkpointing",
        "train.steps",
        "eval.num_samples",
    ),
)
"""Settings worth showing even where they are the default."""


def make_plan(
    config: RunConfig,
    *,
    prompt_tokens: int = PROMPT_TOKENS,
    memory: int | None = None,
    asked: Asked | None = None,
    directory: Path | None = None,
) -> dict[str, Any]:
    """All that `rsgrpo plan` prints, ready for JSON.

    Args:
        config: The run's configuration.
        prompt_tokens: Assumed of a prompt, at most.
        memory: Bytes to fit into; what the device has free unless given.
        asked: GPUs and workers to plan for.
        directory: Of the model; found by its name unless given.

    Raises:
        MissingError: If the model's config.json or a dataset file is not there.
        UsageError: If it is to compute in float64, or what was asked for cannot be; as `many.many_of`.
    """
    from rsgrpo_cli.models import config_directory
    from rsgrpo_cli.planning.decoder import decoder_of

    asked = asked or Asked()
    directory = directory or config_directory(config.model.name)
    decoder = decoder_of(directory)
    device = _device(config, memory, asked)
    load = workload_of(config, prompt_tokens)
    phases = phases_of(config, decoder, load, device)
    peak = max(phase.total for phase in phases.values())
    chunk = _head_tokens(decoder, load, device)
    return {
        "config": config.model_dump(mode="json"),
        "settings": _settings(config),
        "shape": asdict(decoder) | {"trained": footprint.trained_parameters(decoder, _precision(config))},
        "workload": _workload(load),
        "positions": _positions(config, directory),
        "checkpoint_bytes": _checkpoint_bytes(config, decoder),
        "logits": {
            "chunk_tokens": chunk,
            "chunk_bytes": footprint.logits_bytes(chunk, decoder.vocabulary),
            "micro_batch_bytes": footprint.logits_bytes(load.largest_micro_batch, decoder.vocabulary),
        },
        "sampled_at_once": _sampled_at_once(config, decoder, load, device) if _engine(config) == "hf" else None,
        "phases": {name: {"bytes": dict(phase.items), "total": phase.total} for name, phase in phases.items()},
        "ranks": _ranks(config, decoder, load),
        "many": _many(config, decoder, load, asked, memory),
        "peak_bytes": peak,
        "device": device.name,
        "free_bytes": device.free,
        "fits": peak <= device.free,
        "remedy": None if peak <= device.free else _remedy(config, decoder, prompt_tokens, device),
    }


def _device(config: RunConfig, memory: int | None, asked: Asked) -> Device:
    """What is planned for: a GPU of the size that was asked about, or the device that is here."""
    from rsgrpo_cli.planning.decoder import Device, device_at_hand

    if memory:
        return Device("the machine planned for", memory, gpu=memory)
    here = device_at_hand(config.model.device)
    return replace(here, gpu=here.free) if asked.gpus and here.gpu is None else here


def _ranks(config: RunConfig, decoder: Decoder, load: Workload) -> dict[str, Any] | None:
    """What several ranks need beside memory on their GPUs; None for one process."""
    if config.update.ranks == 1:
        return None
    facts = ranks.rank_facts(config, decoder, _precision(config), micro_batches=load.micro_batches)
    return facts | {"assumptions": list(ranks.ASSUMPTIONS)}


def _many(
    config: RunConfig, decoder: Decoder, load: Workload, asked: Asked, memory: int | None
) -> dict[str, Any] | None:
    """Time, disk and network of a step; None where nothing is known of the machines, and nothing was asked."""
    if not asked.anything and config.update.ranks == 1:
        return None
    from rsgrpo_cli.stages.rollout import training_parts

    parts = training_parts(range(load.prompts_per_step), load.group_size)
    return many_of(
        config,
        asked,
        decoder=decoder,
        precision=_precision(config),
        engine=_engine(config),
        parts=[len(part.rows) * load.group_size for part in parts],
        prompt_tokens=load.prompt_tokens,
        memory=memory,
    )


def _positions(config: RunConfig, directory: Path) -> dict[str, Any]:
    """The model's positions, and what the longest completions leave of them for a prompt."""
    from rsgrpo_cli.modeling.architectures import require_supported
    from rsgrpo_cli.modeling.context_window import window_of
    from rsgrpo_cli.models import read_config

    model = read_config(directory)
    require_supported(model)
    window = window_of(model)
    longest = {"rollout.max_tokens": config.rollout.max_tokens, "eval.max_tokens": config.eval.max_tokens or 0}
    left = None if window.tokens is None else {name: window.tokens - tokens for name, tokens in longest.items()}
    return {"tokens": window.tokens, "hard": window.hard, "left_for_a_prompt": left}


def workload_of(config: RunConfig, prompt_tokens: int) -> Workload:
    """How much a run is to do."""
    rollout, dataset = config.rollout, config.prepare.dataset
    held_out = config.eval.benchmarks or ((dataset,) if dataset in BUNDLED else ())
    columns = (config.prepare.prompt_column, config.prepare.answer_column)
    problems = _count(dataset, "train", asked_for=columns, most=config.prepare.limit)
    if problems is not None and config.prepare.limit is not None:
        problems = min(problems, config.prepare.limit)
    return Workload(
        steps=config.train.steps,
        prompts_per_step=rollout.prompts_per_step,
        group_size=rollout.group_size,
        prompt_tokens=prompt_tokens,
        max_tokens=rollout.max_tokens,
        micro_batch_tokens=config.update.micro_batch_tokens,
        optimizer_steps=config.update.optimizer_steps,
        minibatches=config.update.minibatches,
        draw_limit=rollout.draw_limit if rollout.zero_variance == "resample" else 1,
        problems=problems,
        eval_every=config.train.eval_every,
        benchmarks=tuple(
            (_count(name, "test", first=columns), for_benchmark(config.eval, name).samples) for name in held_out
        ),
    )


def phases_of(config: RunConfig, decoder: Decoder, load: Workload, device: Device) -> dict[str, Footprint]:
    """Bytes by phase: sampling, the backward pass, the optimizer's step."""
    precision, reference = _precision(config), config.update.kl_coef > 0
    moments, head = _moment_bytes(config), _head_tokens(decoder, load, device)
    sampling = _sampling(config, decoder, load, _sampled_at_once(config, decoder, load, device))
    backward = footprint.update_footprint(
        decoder,
        precision,
        tokens=load.largest_micro_batch,
        head_tokens=head,
        checkpointing=config.update.gradient_checkpointing,
        reference=reference,
        moment_bytes=moments,
    )
    if config.update.ranks > 1:
        tokens = load.largest_micro_batch
        shared = ranks.rank_footprint(config, decoder, precision, tokens=tokens, head_tokens=head)
        return {"rollout": sampling, "update: a rank": shared}
    fused = bool(device.gpu)
    step = footprint.optimizer_footprint(decoder, precision, reference=reference, fused=fused, moment_bytes=moments)
    return {"rollout": sampling, "update: backward": backward, "update: optimizer": step}


def _engine(config: RunConfig) -> str:
    return choose_engine(config.rollout.engine, config.model.device)


def _moment_bytes(config: RunConfig) -> int:
    return EIGHT_BIT_MOMENTS if config.update.optimizer == "adamw_8bit" else MOMENTS


def _sampling(config: RunConfig, decoder: Decoder, load: Workload, completions: int) -> Footprint:
    """Bytes while so many completions are written at once; beside ranks, the sampler's process trains nothing."""
    engine, alone = _engine(config), config.update.ranks == 1
    beside: dict[str, Any] = {
        "length": load.length,
        "reference": alone and config.update.kl_coef > 0,
        "moment_bytes": _moment_bytes(config) if alone else 0,
    }
    if engine == "vllm":
        return footprint.vllm_footprint(decoder, _precision(config), group_size=load.group_size, **beside)
    written = 0 if engine == "dummy" else completions
    return footprint.rollout_footprint(decoder, _precision(config), completions=written, **beside)


def _head_tokens(decoder: Decoder, load: Workload, device: Device) -> int:
    """Tokens of a chunk of the output layer."""
    from rsgrpo_cli.policy.logprobs import chunk_logits

    return min(max(1, chunk_logits(on_gpu=bool(device.gpu)) // decoder.vocabulary), load.largest_micro_batch)


def _sampled_at_once(config: RunConfig, decoder: Decoder, load: Workload, device: Device) -> int:
    """Completions in a batch of the hf engine; on a GPU half as many where they do not fit, as it does itself."""
    from rsgrpo_cli.engines.hf import BATCH_TOKENS, room_on_gpu
    from rsgrpo_cli.stages.rollout import training_parts

    precision, room = _precision(config), BATCH_TOKENS
    if device.gpu:
        room = room_on_gpu(
            device.gpu,
            load.length,
            trained=footprint.trained_parameters(decoder, precision),
            cache_bytes=footprint.kv_cache_bytes(decoder, 1, precision.compute_bytes),
            vocabulary=decoder.vocabulary,
        )
    part = len(training_parts(range(load.prompts_per_step), load.group_size)[0].rows) * load.group_size
    size = min(part, max(1, room // load.length))
    while device.gpu and size > 1 and _sampling(config, decoder, load, size).total > device.free:
        size //= 2
    return size


def _precision(config: RunConfig) -> Precision:
    if config.model.dtype == "float64":
        raise UsageError("memory is not counted in float64", "--dtype float32, and reckon with twice the bytes")
    return Precision(bfloat16=config.model.dtype == "bfloat16", lora_rank=config.model.lora_rank)


def _checkpoint_bytes(config: RunConfig, decoder: Decoder) -> int:
    """Weights (or adapter) and the optimizer's two moments, all in float32."""
    return 3 * footprint.FLOAT32 * footprint.trained_parameters(decoder, _precision(config))


def _workload(load: Workload) -> dict[str, Any]:
    names = (
        *("completions", "most_completions", "completion_tokens", "length", "rows", "micro_batches"),
        *("all_optimizer_steps", "epochs", "evaluations", "evaluation_completions"),
    )
    derived = {name: getattr(load, name) for name in names}
    return asdict(load) | derived


def _settings(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Name -> value and default, of what differs from the defaults and of what tells most about a run."""
    changed = changed_fields(RunConfig(), config)
    rows = {}
    for name in dict.fromkeys((*ALWAYS_SHOWN, *changed)):
        before, after = changed.get(name, (_field(config, name),) * 2)
        if after is not None:
            rows[name] = {"value": after, "default": before}
    return rows


def _field(config: RunConfig, name: str) -> Any:
    section, _, field = name.partition(".")
    return getattr(getattr(config, section), field, None)


def _count(
    dataset: str,
    split: Split,
    *,
    asked_for: Columns = (None, None),
    first: Columns = (None, None),
    most: int | None = None,
) -> int | None:
    """Problems of a dataset on this machine or known by name, duplicates included; of a file at most so many."""
    if dataset in REGISTRY:
        return listed(dataset, split)[1].rows
    if dataset not in BUNDLED and not is_data_file(Path(dataset)):
        return None
    prompt, answer = asked_for
    source = load_source(dataset, split, prompt_column=prompt, answer_column=answer, first=first, most=most)
    return len(source.problems)


# -- where it does not fit --------------------------------------------------------------------------------------------


def _remedy(config: RunConfig, decoder: Decoder, prompt_tokens: int, device: Device) -> str | None:
    """The flags under which it would fit, taken in order of what they cost; None if even all of them are not enough."""
    flags: list[str] = []
    for flag, overrides in _savings(config, prompt_tokens):
        config = override(config, overrides)
        flags.append(flag)
        phases = phases_of(config, decoder, workload_of(config, prompt_tokens), device)
        if max(phase.total for phase in phases.values()) <= device.free:
            return " ".join(flags)
    return None


def _savings(config: RunConfig, prompt_tokens: int) -> Iterator[tuple[str, Overrides]]:
    if not config.update.gradient_checkpointing:
        yield "--gradient-checkpointing", {"update.gradient_checkpointing": True}
    length = prompt_tokens + config.rollout.max_tokens
    if config.update.micro_batch_tokens > length:
        yield f"--micro-batch-tokens {length}", {"update.micro_batch_tokens": length}
    if config.model.dtype != "bfloat16":
        yield "--dtype bfloat16", {"model.dtype": "bfloat16"}
    if not config.model.lora_rank:
        yield "--lora-rank 32", {"model.lora_rank": 32}
