"""The policy: a language model, what of it is trained, the optimizer, and how many updates are behind it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rsgrpo_cli.config import ModelConfig, UpdateConfig
from rsgrpo_cli.errors import ArtifactError, DependencyError
from rsgrpo_cli.models import LanguageModel, at_least_float32, peft
from rsgrpo_cli.policy.training_mode import configs

if TYPE_CHECKING:
    from rsgrpo_cli.policy.sharding import Ranks

UNFINISHED = -1
"""The version of a policy that an update is changing: no step asks for it, so a failed update's is never used."""


@dataclass(slots=True)
class Policy:
    """What `update` changes.

    Args:
        lm: The language model; its weights are the policy's.
        version: Updates behind it; 0 is the base model.
        optimizer: AdamW over the trained weights, None where the policy is only sampled from.
        reference: A frozen copy of the base model for the KL penalty of full fine-tuning; LoRA needs none.
        declared: The model's config as it was loaded, where it was opened for training and dropout is off in it.
        base_logprobs: What the base model says of the probe, where the policy was opened for training.
        ranks: The processes that share its weights, None where it is this one's alone.
    """

    lm: LanguageModel
    version: int
    optimizer: torch.optim.Optimizer | None = None
    reference: LanguageModel | None = None
    declared: PreTrainedConfig | None = None
    base_logprobs: list[float] | None = None
    ranks: Ranks | None = None

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Name -> weight, of what the optimizer changes; a tied weight once."""
        return {name: weight for name, weight in self.lm.causal.named_parameters() if weight.requires_grad}

    def set_learning_rate(self, value: float) -> None:
        """What the next optimizer step uses."""
        assert self.optimizer is not None  # only a policy opened for training is stepped
        for group in self.optimizer.param_groups:
            group["lr"] = value

    @contextmanager
    def updating(self) -> Iterator[int]:
        """Raise the version by one at the end of the block; yields the old one. After a failure it is UNFINISHED."""
        before, self.version = self.version, UNFINISHED
        yield before
        self.version = before + 1

    @contextmanager
    def as_reference(self) -> Iterator[LanguageModel]:
        """The base model: the adapter switched off, or the frozen copy."""
        if self.lm.adapter is not None:
            with self.lm.adapter.disable_adapter():
                yield self.lm
        elif self.reference is not None:
            with nullcontext():
                yield self.reference
        else:
            raise RuntimeError("the policy was opened without a reference")


def add_adapter(lm: LanguageModel, cfg: ModelConfig, seed: int) -> None:
    """Put a fresh LoRA adapter on every linear layer but the output layer; only it is trained from then on.

    Args:
        lm: Changed in place.
        cfg: Rank and alpha.
        seed: Of the adapter's random half; the other half is zero, so the policy starts as the base model.
    """
    package = peft()
    config = package.LoraConfig(
        r=cfg.lora_rank,
        lora_alpha=cfg.lora_alpha,
        target_modules="all-linear",
        exclude_modules=_not_adapted(lm.causal),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in lm.causal.modules()),  # as GPT-2 has them
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lm.adapter = package.get_peft_model(lm.causal, config)
    _settle_adapter(lm)


def _not_adapted(causal: PreTrainedModel) -> list[str] | None:
    """Linear layers that cannot have an adapter.

    Of some, code reads the weights without calling them: of Mamba's, and of LongCat's router. An adapter there would do
    nothing until it is merged. Others (Phi-MoE's router) do something else than a linear layer does. Layers that share
    their weights (Zamba's blocks) would have an adapter each, and one weight to merge them all into.
    """
    kinds = {config.model_type for config in configs(causal.config)}
    read = {"dt_proj", "classifier"} | ({"conv1d", "out_proj"} if kinds & _REFUSED_BY_PEFT else set())
    linear = [(name, layer) for name, layer in causal.named_modules() if isinstance(layer, torch.nn.Linear)]
    owners = Counter(id(layer.weight) for _, layer in linear)
    found = [
        name
        for name, layer in linear
        if name.rpartition(".")[2] in read
        or (name.endswith((".router", ".gate")) and type(layer).forward is not torch.nn.Linear.forward)
        or owners[id(layer.weight)] > 1
    ]
    return sorted(found) or None


_REFUSED_BY_PEFT = {"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"}


def restore_adapter(lm: LanguageModel, directory: str, *, trainable: bool) -> None:
    """Put a saved adapter on the base model, changed in place.

    Raises:
        ArtifactError: If it is not in safetensors: PEFT would look for a pickle then.
    """
    if not (Path(directory) / "adapter_model.safetensors").is_file():
        raise ArtifactError(f"{directory} has no adapter_model.safetensors", "restore it, or use another checkpoint")
    lm.adapter = peft().PeftModel.from_pretrained(lm.causal, directory, is_trainable=trainable)
    _settle_adapter(lm)
    _put_exactly(lm, Path(directory) / "adapter_model.safetensors")


def _put_exactly(lm: LanguageModel, path: Path) -> None:
    """Set each weight of an adapter to the one of the same name in its file.

    PEFT renames what it reads as transformers renames the base model's old names, and leaves some out so (of Laguna,
    with PEFT 0.21).
    """
    own = dict(lm.causal.named_parameters())
    with torch.no_grad():
        for key, tensor in load_file(path, device=str(lm.device)).items():
            name = _LORA.sub(r".\1.default.weight", key.removeprefix("base_model.model."))
            if name not in own:
                raise ArtifactError(f"{path} has a weight that the model lacks: {name}", "it belongs to another model")
            own[name].copy_(tensor)


_LORA = re.compile(r"\.(lora_[AB])\.weight$")


def new_optimizer(policy: Policy, cfg: UpdateConfig) -> torch.optim.Optimizer:
    """AdamW over the trained weights, in the order of their names in the model.

    Raises:
        DependencyError: If its moments are to be kept in 8 bits and bitsandbytes is not installed.
    """
    assert cfg.learning_rate is not None  # resolved with the run's configuration
    kind: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
    if cfg.optimizer == "adamw_8bit":
        kind = _adamw_8bit()
    elif policy.lm.device.type == "cuda":  # in one kernel: otherwise each of its formulas takes a copy of all weights
        kind = partial(kind, fused=True)
    return kind(policy.trained().values(), lr=cfg.learning_rate, weight_decay=cfg.weight_decay)


def _adamw_8bit() -> Callable[..., torch.optim.Optimizer]:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise DependencyError(
            "the optimizer adamw_8bit needs the package bitsandbytes", "pip install bitsandbytes"
        ) from error
    return AdamW8bit  # type: ignore[no-any-return]


def _settle_adapter(lm: LanguageModel) -> None:
    """Weights in float32, for a bfloat16 base gives bfloat16 adapters, in which small updates vanish.

    And the modules' names in order: PEFT keeps a set, whose order in adapter_config.json would change from run to run.
    """
    for config in lm.adapter.peft_config.values():
        config.target_modules = sorted(config.target_modules)
    for weight in lm.causal.parameters():
        if weight.requires_grad:
            weight.data = at_least_float32(weight.data)
