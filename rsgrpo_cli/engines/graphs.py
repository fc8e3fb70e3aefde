"""Decoding on an NVIDIA GPU by CUDA graphs: the work of one token is recorded once and then replayed.

Started one by one from Python, the kernels of a small batch take longer to start than to run. A graph has fixed shapes:
keys and values lie in buffers of the final length, and a mask says which of them count. It is recorded again when the
part of the buffers that it reads has become too short, and when completions have left the batch.

Shape suffixes: B completions, W positions that the graph reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from rsgrpo_cli.models import LanguageModel

WINDOW = 256
"""The graph reads so many positions more each time that it is recorded."""
SHORTEST = 64
"""Tokens that completions may come to for a graph to pay: recording takes a tenth of a second."""
_GROUPED = "rsgrpo_grouped"


def can_record(lm: LanguageModel) -> bool:
    """Whether the work of a token has fixed shapes: plain attention over all that came before."""
    config = lm.causal.config
    return (
        lm.device.type == "cuda"
        and lm.together is None
        and not lm.causal._is_stateful
        and config._attn_implementation == "sdpa"
        and all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
    )


class Replayed:
    """One batch whose prompts have been read: takes its next tokens, gives the logits of those that follow."""

    def __init__(
        self, lm: LanguageModel, cache: DynamicCache, rows_B: torch.Tensor, mask_BT: torch.Tensor | None, tokens: int
    ) -> None:
        """Spread the cache of the prompts.

        Args:
            lm: The model.
            cache: Of the prompts, each once.
            rows_B: Which prompt each completion continues.
            mask_BT: Which positions of the prompts count, by completion; None for all.
            tokens: That completions may come to.
        """
        self.lm, self.filled = lm, cache.get_seq_length()
        total = -(-(self.filled + tokens) // WINDOW) * WINDOW
        self.at = torch.tensor([self.filled - 1], device=rows_B.device)
        # Autocast has keys in float32, and attention cast them at every token.
        dtype = torch.bfloat16 if torch.is_autocast_enabled(lm.device.type) else cache.layers[0].keys.dtype
        self.layers = [_Buffer(layer, rows_B, total, self.at, dtype) for layer in cache.layers]
        self.mask = torch.zeros(len(rows_B), 1, 1, total, dtype=torch.bool, device=rows_B.device)
        self.mask[:, 0, 0, : self.filled] = True if mask_BT is None else mask_BT.bool()
        self.graph: torch.cuda.CUDAGraph | None = None

    def decode(self, chosen_B: torch.Tensor, position_B: torch.Tensor) -> torch.Tensor:
        """Logits, shape (B, V); they are overwritten by the next call."""
        if self.graph is None or self.filled >= self.window:
            self._record(chosen_B, position_B)
        else:
            self.ids.copy_(chosen_B[:, None])
            self.positions.copy_(position_B[:, None])
            self._next_place()
        assert self.graph is not None
        self.graph.replay()
        self.filled += 1
        return self.logits[:, -1]

    def keep(self, stay: torch.Tensor) -> None:
        """Only these completions go on."""
        self.graph = None
        self.mask = self.mask[stay]
        for layer in self.layers:
            layer.keep(stay)

    def _next_place(self) -> None:
        self.at.fill_(self.filled)
        self.mask.index_fill_(3, self.at, True)

    def _record(self, chosen_B: torch.Tensor, position_B: torch.Tensor) -> None:
        """Record the work of one token at this number of completions; what it computes here is computed again."""
        self.graph = None  # its memory first
        self.window = min(self.mask.shape[-1], (self.filled // WINDOW + 1) * WINDOW)
        for layer in self.layers:
            layer.window = self.window
        self.ids, self.positions = chosen_B[:, None].clone(), position_B[:, None].clone()
        self._next_place()
        cache = DynamicCache(config=self.lm.causal.config)
        cache.layers = list(self.layers)
        with _grouped_attention(self.lm):
            self.graph = self._recorded(cache)

    def _recorded(self, cache: DynamicCache) -> torch.cuda.CUDAGraph:
        before, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(before)
        with torch.cuda.stream(side):  # libraries set themselves up on a first call, which cannot be recorded
            self._step(cache)
        before.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.logits = self._step(cache)
        return graph

    def _step(self, cache: DynamicCache) -> torch.Tensor:
        logits: torch.Tensor = self.lm.causal(
            input_ids=self.ids,
            attention_mask=self.mask[..., : self.window],
            position_ids=self.positions,
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits


class _Buffer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer in place, for all the positions that there will be."""

    def __init__(
        self, layer: DynamicLayer, rows_B: torch.Tensor, total: int, at: torch.Tensor, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.keys, self.values = (_spread(held.to(dtype), rows_B, total) for held in (layer.keys, layer.values))
        self.dtype, self.device, self.is_initialized = self.keys.dtype, layer.keys.device, True
        self.window, self.at = total, at

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys.index_copy_(2, self.at, keys.to(self.keys.dtype))
        self.values.index_copy_(2, self.at, values.to(self.values.dtype))
        return self.keys[:, :, : self.window], self.values[:, :, : self.window]

    def keep(self, stay: torch.Tensor) -> None:
        self.keys, self.values = self.keys[stay], self.values[stay]


def _spread(states: torch.Tensor, rows_B: torch.Tensor, total: int) -> torch.Tensor:
    """Each completion's copy of its prompt's states, with room up to `total` positions."""
    _, heads, filled, width = states.shape
    room = states.new_zeros(len(rows_B), heads, total, width)
    room[:, :, :filled] = states[rows_B]
    return room


@contextmanager
def _grouped_attention(lm: LanguageModel) -> Iterator[None]:
    config = lm.causal.config
    before = config._attn_implementation
    config._attn_implementation = _GROUPED
    try:
        yield
    finally:
        config._attn_implementation = before


def _grouped(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one new token, whose heads that share keys and values are read as if they were several tokens.

    Transformers gives each head a copy of them instead, which takes longer than the attention.
    """
    completions, heads, tokens, width = query.shape
    if tokens > 1 or others.get("position_bias") is not None:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return found
    groups = query.reshape(completions, key.shape[1], heads // key.shape[1], width)
    states = scaled_dot_product_attention(groups, key, value, attn_mask=attention_mask, scale=scaling)
    return states.reshape(completions, 1, heads, value.shape[-1]), None


AttentionInterface.register(_GROUPED, _grouped)
AttentionMaskInterface.register(_GROUPED, sdpa_mask)
