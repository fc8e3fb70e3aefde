"""Checkpoints: a Hugging Face directory (or a PEFT adapter), with the optimizer's state in `trainer/` beside it.

`transformers`, PEFT and vLLM load the directory as it is. The optimizer's moments are safetensors too: no pickle, so a
checkpoint from a stranger cannot run code.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from rsgrpo_cli.config import ModelConfig, RunConfig
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.modeling import full_gpu
from rsgrpo_cli.modeling.companions import read_companions, write_companions
from rsgrpo_cli.models import LanguageModel, describe, load_model, model_directory
from rsgrpo_cli.policy.fingerprint import PROBE, base_logprobs, take_probe
from rsgrpo_cli.policy.logprobs import compile_body
from rsgrpo_cli.policy.optimizer_state import restore_optimizer, save_optimizer
from rsgrpo_cli.policy.policy import Policy, add_adapter, new_optimizer, restore_adapter
from rsgrpo_cli.policy.soundness import check_trainable
from rsgrpo_cli.policy.training_mode import without_dropout
from rsgrpo_cli.seeding import stable_seed

if TYPE_CHECKING:
    from rsgrpo_cli.policy.sharding import Ranks


@full_gpu.explained("not enough GPU memory for the policy", "use --lora-rank, a smaller model or --device cpu")
def open_policy(
    config: RunConfig, base: Path, checkpoint: Path | None, *, version: int, train: bool, ranks: Ranks | None = None
) -> Policy:
    """Load a policy.

    Args:
        config: The run's configuration.
        base: Directory of the base model.
        checkpoint: Directory of policy `version`, None for the base model.
        version: Updates behind it.
        train: Whether to load what `update` needs besides the weights.
        ranks: The processes that are to share its weights; all of them call.

    Raises:
        MissingError: If a directory does not hold a model.
        ArtifactError: If the checkpoint is damaged.
        UsageError: If it has the state of another optimizer.
        EngineError: If the model cannot be trained, or not compiled, or not enough memory is left.
        DependencyError: If the optimizer or the adapter needs a package that is not installed.
    """
    lora = config.model.lora_rank > 0
    # A rank reads the whole model into RAM and keeps its slice.
    model = config.model if ranks is None else config.model.model_copy(update={"device": "cpu"})
    lm = load_model(base if lora or checkpoint is None else checkpoint, model)
    if lora and checkpoint is not None:
        restore_adapter(lm, str(checkpoint), trainable=train)
    elif lora and train:
        add_adapter(lm, config.model, stable_seed(config.seed, "adapter"))
    policy = Policy(lm, version, ranks=ranks)
    if not train:
        lm.causal.requires_grad_(False)
        return policy
    policy.declared = copy.deepcopy(lm.causal.config)
    without_dropout(lm.causal)
    if config.update.gradient_checkpointing:
        _recompute_layers(lm)
    if ranks is None or ranks.rank == 0:
        check_trainable(lm)
    if ranks is not None:
        ranks.shard(lm)
    policy.base_logprobs = base_logprobs(policy, checkpoint)
    if config.model.compile:
        compile_body(lm)
    policy.optimizer = new_optimizer(policy, config.update)
    if checkpoint is not None:
        restore_optimizer(policy, checkpoint)
    if config.update.kl_coef > 0 and not lora:
        policy.reference = load_model(base, model)
        policy.reference.causal.requires_grad_(False)
        if ranks is not None:
            ranks.shard(policy.reference)
    return policy


def _recompute_layers(lm: LanguageModel) -> None:
    again = (
        {"context_fn": lambda: (lm.autocast(), lm.autocast())} if lm.dtype == "float64" else {}
    )  # torch knows autocast
    try:
        lm.causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False} | again)
    except ValueError as error:
        name = type(lm.causal).__name__
        raise UsageError(
            f"{name} does not support gradient checkpointing", "leave update.gradient_checkpointing off"
        ) from error


def save_weights(policy: Policy, directory: Path) -> None:
    """Write weights (or the adapter) and their configuration into an existing, empty directory.

    Ranks all call, and the first writes: the same files as one process would.
    """
    lm, ranks, state = policy.lm, policy.ranks, None
    if ranks is not None:
        from rsgrpo_cli.policy.sharding import whole_state

        held, only = (lm.causal, "") if lm.adapter is None else (lm.adapter, "lora_")
        state = whole_state(held, keep=ranks.rank == 0, only=only)
        if ranks.rank:
            return
    if lm.adapter is not None:
        # The vocabulary is never changed: PEFT need not look for the base model where the adapter began, or on the Hub.
        lm.adapter.save_pretrained(directory, state_dict=state, save_embedding_layers=False)
    else:
        _save_model(lm.causal, directory, policy.declared, state)


def save_with_companions(policy: Policy, directory: Path) -> None:
    """Write weights and tokenizer into an existing, empty directory."""
    save_weights(policy, directory)
    if policy.ranks is None or policy.ranks.rank == 0:
        write_companions(policy.lm.companions, directory)


def save_checkpoint(policy: Policy, directory: Path) -> None:
    """Write weights, tokenizer, optimizer state and probe into an existing, empty directory; ranks all call."""
    save_with_companions(policy, directory)
    probe = take_probe(policy)
    if policy.ranks is None or policy.ranks.rank == 0:
        (directory / PROBE).parent.mkdir(exist_ok=True)  # another rank may have come first
        probe.save(directory / PROBE)
    save_optimizer(policy, directory)


def save_complete_model(cfg: ModelConfig, checkpoint: Path, directory: Path) -> None:
    """Write a checkpoint as one complete model in the type of the base's weights, into an existing directory.

    An adapter is added to its base in float32 and the sum is rounded once.

    Raises:
        MissingError: If the base model is not there.
        ArtifactError: If the checkpoint is damaged.
    """
    base = model_directory(cfg.name)
    exact = cfg.model_copy(update={"dtype": "float32", "device": "cpu"})
    lm = load_model(base if cfg.lora_rank else checkpoint, exact)
    causal = lm.causal
    if cfg.lora_rank:
        restore_adapter(lm, str(checkpoint), trainable=False)
        causal = lm.adapter.merge_and_unload(safe_merge=True)
    described = describe(base)
    name = described.get("dtype") or described.get("torch_dtype") or "float32"
    _save_model(causal.to(getattr(torch, name)), directory)
    write_companions(read_companions(checkpoint, lm.tokenizer.vocab_files_names.values()), directory)


def _save_model(
    causal: PreTrainedModel,
    directory: Path,
    declared: PreTrainedConfig | None = None,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write weights and config, without a generation config: that is copied as it is, and only if the model has one.

    transformers refuses to write some that it reads: a temperature without do_sample, as Llama 2 has it.

    Args:
        causal: The model.
        directory: Where to.
        declared: The config to write, where the model's own has its dropout off.
        state: The weights to write, where the model does not hold them whole.
    """
    own = causal.generation_config, causal.config
    causal.generation_config, causal.config = GenerationConfig(), declared or causal.config
    try:
        causal.save_pretrained(directory, state_dict=state)
    finally:
        causal.generation_config, causal.config = own
    (directory / "generation_config.json").unlink(missing_ok=True)
