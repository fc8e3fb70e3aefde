"""Training without chance: what is trained is what was sampled from, so nothing is dropped in an update.

Dropout would make the policy that the update sees another than the one that sampled, and two runs differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

_DROPOUT = re.compile(r"drop", re.IGNORECASE)
"""attention_dropout, resid_pdrop, layerdrop, drop_path_rate, ... Not a router's jitter: routers stay out of training
mode, and Phi-MoE's is a threshold as well, which counts when the model samples.
"""


def update_mode(causal: PreTrainedModel) -> None:
    """Make a model ready for an update: as it samples, except for layers that are recomputed in the backward pass.

    transformers recomputes only layers in training mode, so these are, alone and not the modules in them. What they
    drop themselves is off by `without_dropout`.
    """
    causal.eval()
    for module in causal.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True


def without_dropout(causal: PreTrainedModel) -> None:
    """Set every probability of dropping something to 0, in the modules and in the configuration."""
    for module in causal.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        _silence(module)
    for config in configs(causal.config):
        _silence(config)


def _silence(holder: Any) -> None:
    for name, value in list(vars(holder).items()):
        if _DROPOUT.search(name) and isinstance(value, int | float) and not isinstance(value, bool) and value:
            setattr(holder, name, 0.0)


def configs(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    """A configuration and those inside it: of a text model, of attention."""
    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PreTrainedConfig):
            yield from configs(value)
