"""Checkpoints: a Hugging Face directory (or a PEFT adapter), with the optimizer's state in `trainer/` beside it.

`transformers`, PEFT and vLLM load the directory as it is. The optimizer's moments are safetensors too: no pickle, so a
checkpoint from a stranger cannot run code.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from rsgrpo_cli.companions import read_companions, write_companions
from rsgrpo_cli.config import ModelConfig, RunConfig
from rsgrpo_cli.errors import ArtifactError, UsageError
from rsgrpo_cli.models import describe, load_model, model_directory
from rsgrpo_cli.policy.fingerprint import PROBE, base_logprobs, take_probe
from rsgrpo_cli.policy.logprobs import compile_body
from rsgrpo_cli.policy.policy import Policy, add_adapter, new_optimizer, restore_adapter
from rsgrpo_cli.policy.soundness import check_trainable
from rsgrpo_cli.policy.training_mode import without_dropout
from rsgrpo_cli.seeding import stable_seed

OPTIMIZER = Path("trainer") / "optimizer.safetensors"


def open_policy(config: RunConfig, base: Path, checkpoint: Path | None, *, version: int, train: bool) -> Policy:
    """Load a policy.

    Args:
        config: The run's configuration.
        base: Directory of the base model.
        checkpoint: Directory of policy `version`, None for the base model.
        version: Updates behind it.
        train: Whether to load what `update` needs besides the weights.

    Raises:
        MissingError: If a directory does not hold a model.
        ArtifactError: If the checkpoint is damaged.
        UsageError: If it has the state of another optimizer.
        EngineError: If the model cannot be trained, or not compiled.
        DependencyError: If the optimizer or the adapter needs a package that is not installed.
    """
    lora = config.model.lora_rank > 0
    lm = load_model(base if lora or checkpoint is None else checkpoint, config.model)
    if lora and checkpoint is not None:
        restore_adapter(lm, str(checkpoint), trainable=train)
    elif lora and train:
        add_adapter(lm, config.model, stable_seed(config.seed, "adapter"))
    policy = Policy(lm, version)
    if not train:
        lm.causal.requires_grad_(False)
        return policy
    policy.declared = copy.deepcopy(lm.causal.config)
    without_dropout(lm.causal)
    if config.update.gradient_checkpointing:
        _recompute_layers(lm.causal)
    check_trainable(lm)
    policy.base_logprobs = base_logprobs(policy, checkpoint)
    if config.model.compile:
        compile_body(lm)
    policy.optimizer = new_optimizer(policy, config.update)
    if checkpoint is not None:
        _restore_optimizer(policy, checkpoint / OPTIMIZER)
    if config.update.kl_coef > 0 and not lora:
        policy.reference = load_model(base, config.model)
        policy.reference.causal.requires_grad_(False)
    return policy


def _recompute_layers(causal: PreTrainedModel) -> None:
    try:
        causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        name = type(causal).__name__
        raise UsageError(
            f"{name} does not support gradient checkpointing", "leave update.gradient_checkpointing off"
        ) from error


def save_weights(policy: Policy, directory: Path) -> None:
    """Write weights (or the adapter) and their configuration into an existing, empty directory."""
    if policy.lm.adapter is not None:
        policy.lm.adapter.save_pretrained(directory)
    else:
        _save_model(policy.lm.causal, directory, policy.declared)


def save_with_companions(policy: Policy, directory: Path) -> None:
    """Write weights and tokenizer into an existing, empty directory."""
    save_weights(policy, directory)
    write_companions(policy.lm.companions, directory)


def save_checkpoint(policy: Policy, directory: Path) -> None:
    """Write weights, tokenizer, optimizer state and probe into an existing, empty directory."""
    save_with_companions(policy, directory)
    (directory / OPTIMIZER).parent.mkdir()
    take_probe(policy).save(directory / PROBE)
    assert policy.optimizer is not None  # only a policy opened for training is saved
    save_file(_optimizer_tensors(policy, policy.optimizer), directory / OPTIMIZER)


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


def _save_model(causal: PreTrainedModel, directory: Path, declared: PreTrainedConfig | None = None) -> None:
    """Write weights and config, without a generation config: that is copied as it is, and only if the model has one.

    transformers refuses to write some that it reads: a temperature without do_sample, as Llama 2 has it.

    Args:
        causal: The model.
        directory: Where to.
        declared: The config to write, where the model's own has its dropout off.
    """
    own = causal.generation_config, causal.config
    causal.generation_config, causal.config = GenerationConfig(), declared or causal.config
    try:
        causal.save_pretrained(directory)
    finally:
        causal.generation_config, causal.config = own
    (directory / "generation_config.json").unlink(missing_ok=True)


def _optimizer_tensors(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{slot}": _as_stored(slot, value)
        for name, weight in policy.trained().items()
        for slot, value in optimizer.state.get(weight, {}).items()
    }


def _as_stored(slot: str, value: torch.Tensor | int) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        return torch.tensor(float(value))  # bitsandbytes counts its steps in an int
    # All weights share one quantisation map there, and safetensors refuses shared memory.
    return value.clone() if slot.startswith("qmap") else value.detach().contiguous()


def _restore_optimizer(policy: Policy, path: Path) -> None:
    try:
        tensors = load_file(path, device=str(policy.lm.device))
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is damaged: {error}", "remove that checkpoint; the one before it is used"
        ) from error
    assert policy.optimizer is not None
    plain = isinstance(policy.optimizer, torch.optim.AdamW)
    for name, weight in policy.trained().items():
        prefix = f"{name}."
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if state:
            if ("exp_avg" in state) != plain:
                raise UsageError(f"{path} holds the state of a different optimizer", "leave update.optimizer as it was")
            # The step counter stays on the CPU, where AdamW keeps it; bitsandbytes has an int.
            step = state["step"].cpu()
            policy.optimizer.state[weight] = state | {"step": step if plain else int(step)}
