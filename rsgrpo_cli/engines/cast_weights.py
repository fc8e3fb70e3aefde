"""Weights in bfloat16 while a model samples in it: cast once, and not once a token.

Autocast casts the weights of a linear layer at every call, and keeps no cast under inference_mode. A token of every
completion in the batch takes one call of each layer: to read all weights, to write them in bfloat16 and to read those
moves four times the bytes that the last of the three does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from rsgrpo_cli.models import LanguageModel


@contextmanager
def cast_once(lm: LanguageModel) -> Iterator[None]:
    """Have linear layers hold, for the block, what autocast would make of their weights; an adapter's, too.

    Args:
        lm: The policy; in its other types nothing is cast.
    """
    layers = _linear_layers(lm) if lm.dtype == "bfloat16" else []
    held = [dict(layer._parameters) for layer in layers]
    made: dict[int, nn.Parameter | None] = {id(None): None}  # weights that layers share are cast together
    try:
        for layer, own in zip(layers, held, strict=True):
            for name, weight in own.items():
                if weight is not None and id(weight) not in made:
                    made[id(weight)] = nn.Parameter(weight.detach().to(torch.bfloat16), requires_grad=False)
                layer._parameters[name] = made[id(weight)]
        yield
    finally:
        for layer, own in zip(layers, held, strict=True):
            layer._parameters.update(own)


def _linear_layers(lm: LanguageModel) -> list[nn.Linear]:
    """Those in float32 that compute as torch's own does; others may look at the type of their weights."""
    return [
        module
        for module in lm.causal.modules()
        if isinstance(module, nn.Linear)
        and type(module).forward is nn.Linear.forward
        and module.weight.dtype == torch.float32
    ]
