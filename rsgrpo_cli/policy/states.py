"""Hidden states of completion tokens, with a prompt that several completions share read once.

Shape suffixes: B completions, T tokens, P distinct prompts, S tokens of a prompt, C of a completion, N completion
tokens of the batch laid end to end, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rsgrpo_cli.models import LanguageModel

SHARED_SHARE = 0.75
"""Prompts are read once where at most this share of the padded tokens is left: below it, it pays for the copies."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Prompts and completions, right-padded.

    Args:
        ids_BT: Token ids, prompt first.
        completion_BT: Where the completion tokens are.
        starts_B: How many tokens each prompt has.
        lengths_B: How many each completion has.
        prompt_B: Number of each completion's prompt among the distinct ones, 0 to P - 1.
        first_P: The first completion of each distinct prompt.
    """

    ids_BT: torch.Tensor
    completion_BT: torch.Tensor
    starts_B: torch.Tensor
    lengths_B: torch.Tensor
    prompt_B: torch.Tensor
    first_P: torch.Tensor


def completion_states(lm: LanguageModel, batch: Batch) -> torch.Tensor:
    """The hidden state that each completion token is predicted from, shape (N, D), with gradient if enabled.

    Args:
        lm: The policy.
        batch: Prompts and completions.
    """
    with lm.autocast():
        return _shared(lm, batch) if _worth_sharing(lm, batch) else _joined(lm, batch)


def _joined(lm: LanguageModel, batch: Batch) -> torch.Tensor:
    # Right padding under a causal mask: no real token sees it, so no attention mask is needed.
    body = lm.causal.base_model if lm.compiled is None else lm.compiled
    hidden_BTD: torch.Tensor = body(input_ids=batch.ids_BT, use_cache=False).last_hidden_state
    return hidden_BTD[:, :-1][batch.completion_BT[:, 1:]]


def _shared(lm: LanguageModel, batch: Batch) -> torch.Tensor:
    """Read each distinct prompt, hand its keys and values to its completions, and read those."""
    prompt_length, length = int(batch.starts_B.max()), int(batch.lengths_B.max())
    cache = DynamicCache(config=lm.causal.config)
    # What stands behind a shorter prompt is not masked here: no prompt token sees it.
    ids_PS = batch.ids_BT[batch.first_P, :prompt_length]
    prompt_PSD = lm.causal.base_model(input_ids=ids_PS, past_key_values=cache, use_cache=True).last_hidden_state
    last_PD = prompt_PSD[torch.arange(len(ids_PS), device=ids_PS.device), batch.starts_B[batch.first_P] - 1]
    # By index_select: on a CPU its gradient is summed in one order, that of plain indexing in one the threads race for.
    last_BD = last_PD.index_select(0, batch.prompt_B)
    cache.reorder_cache(batch.prompt_B)
    # The last token of a completion predicts nothing.
    positions_BC = batch.starts_B[:, None] + torch.arange(length - 1, device=last_BD.device)
    seen_BS = torch.arange(prompt_length, device=last_BD.device) < batch.starts_B[:, None]
    completion_BCD = lm.causal.base_model(
        input_ids=batch.ids_BT.gather(1, positions_BC.clamp(max=batch.ids_BT.shape[1] - 1)),
        attention_mask=torch.cat([seen_BS, torch.ones_like(positions_BC, dtype=torch.bool)], dim=1),
        position_ids=positions_BC,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    hidden_BCD = torch.cat([last_BD[:, None], completion_BCD], dim=1)
    return hidden_BCD[torch.arange(length, device=last_BD.device) < batch.lengths_B[:, None]]


def _worth_sharing(lm: LanguageModel, batch: Batch) -> bool:
    """Whether it saves enough, and the model is one whose keys and values a completion can be handed."""
    prompts, (rows, width) = len(batch.first_P), batch.ids_BT.shape
    length = int(batch.lengths_B.max())
    tokens = prompts * int(batch.starts_B.max()) + rows * (length - 1)
    if length < 2 or tokens > SHARED_SHARE * rows * width:
        return False
    # Checkpointing recomputes a layer, which would put its keys into the cache twice; transformers refuses it.
    if lm.compiled is not None or lm.causal.is_gradient_checkpointing:
        return False
    # A sliding window counts padding, a recurrent state cannot be masked.
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=lm.causal.config).layers)
