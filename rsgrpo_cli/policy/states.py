"""Hidden states of completion tokens, with a prompt that several completions share read once.

Shape suffixes: B completions, T tokens, P distinct prompts, S tokens of a prompt, C of a completion, N completion
tokens of the batch laid end to end, D width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

from rsgrpo_cli.modeling.context_window import window_of
from rsgrpo_cli.modeling.full_gpu import is_full
from rsgrpo_cli.models import LanguageModel
from rsgrpo_cli.policy.batches import Batch, assemble

SHARED_SHARE = 0.75
"""Prompts are read once where at most this share of the padded tokens is left: below it, it pays for the copies."""


def completion_states(lm: LanguageModel, batch: Batch) -> torch.Tensor:
    """The hidden state that each completion token is predicted from, shape (N, D), with gradient if enabled.

    Args:
        lm: The policy.
        batch: Prompts and completions.
    """
    with lm.autocast():
        return read_shared(lm, batch) if _worth_sharing(lm, batch) else read_joined(lm, batch)


def read_joined(lm: LanguageModel, batch: Batch) -> torch.Tensor:
    """`completion_states`, each prompt read with its completion."""
    # Right padding under a causal mask: no real token sees it, so no attention mask is needed.
    body = lm.causal.base_model if lm.compiled is None else lm.compiled
    hidden_BTD: torch.Tensor = body(input_ids=batch.ids_BT, use_cache=False).last_hidden_state
    return hidden_BTD[:, :-1][batch.completion_BT[:, 1:]]


def read_shared(lm: LanguageModel, batch: Batch) -> torch.Tensor:
    """`completion_states`: each distinct prompt is read, its keys and values handed to its completions, and those read.

    Right only for architectures that go by position ids and mask; `shares_prompts` finds out.
    """
    prompt_length, length = int(batch.starts_B.max()), int(batch.lengths_B.max())
    cache = DynamicCache(config=lm.causal.config)
    # What stands behind a shorter prompt is not masked here: no prompt token sees it.
    ids_PS = batch.ids_BT[batch.first_P, :prompt_length]
    prompt_PSD = lm.causal.base_model(input_ids=ids_PS, past_key_values=cache, use_cache=True).last_hidden_state
    last_PD = prompt_PSD[torch.arange(len(ids_PS), device=ids_PS.device), batch.starts_B[batch.first_P] - 1]
    last_BD = _repeated(last_PD, batch.prompt_B)
    for layer in cache.layers:
        layer.keys, layer.values = (_repeated(held, batch.prompt_B) for held in (layer.keys, layer.values))
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


def _repeated(tensor: torch.Tensor, rows_B: torch.Tensor) -> torch.Tensor:
    """Rows of a tensor, some of them several times, in the way whose gradient is always summed in one order.

    On a CPU that is index_select, and threads race for the order of plain indexing. On a GPU it is the other way round.
    """
    return tensor[rows_B] if tensor.is_cuda else tensor.index_select(0, rows_B)


def _worth_sharing(lm: LanguageModel, batch: Batch) -> bool:
    """Whether it saves enough, and can be done."""
    prompts, (rows, width) = len(batch.first_P), batch.ids_BT.shape
    length = int(batch.lengths_B.max())
    tokens = prompts * int(batch.starts_B.max()) + rows * (length - 1)
    return length > 1 and tokens <= SHARED_SHARE * rows * width and can_share(lm)


def can_share(lm: LanguageModel) -> bool:
    """Whether a completion can be handed the keys and values of its prompt."""
    # Checkpointing recomputes a layer, which would put its keys into the cache twice; transformers refuses it.
    if lm.compiled is not None or lm.causal.is_gradient_checkpointing:
        return False
    # A sliding window counts padding, a recurrent state cannot be masked.
    plain = all(type(layer) is DynamicLayer for layer in DynamicCache(config=lm.causal.config).layers)
    return plain and not _has_window(lm.causal.config) and shares_prompts(lm)


def _has_window(config: PreTrainedConfig) -> bool:
    """Whether the config names a window: GPT-Neo has one and a plain cache, and shows it on long prompts only."""
    settings = vars(config.get_text_config())
    return any(_WINDOW.search(name) and isinstance(value, int) and value > 0 for name, value in settings.items())


_WINDOW = re.compile(r"window(_size)?$")


# -- trying it out -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trial:
    """Completions of a short prompt and of a longer one.

    Args:
        batch: Two completions of each.
        alone_ND: The states that each is predicted from when it is read by itself: what all other ways must give.
    """

    batch: Batch
    alone_ND: torch.Tensor


def shares_prompts(lm: LanguageModel) -> bool:
    """Whether completions of a shared prompt are read as they are alone; tried out once, on the model at hand.

    An architecture that counts positions by their place in the cache does not: MPT, GPT-Neo.
    """
    if lm.shares_prompts is None:
        # In the weights' own type: under autocast rounding would hide a fault.
        with torch.no_grad(), torch.autocast(lm.device.type, enabled=False):
            trial = try_out(lm)
            try:
                lm.shares_prompts = distance(read_shared(lm, trial.batch), trial.alone_ND) <= tolerance(trial.alone_ND)
            except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
                if is_full(error):
                    raise
                lm.shares_prompts = False  # its cache cannot be handed on: every completion is read with its prompt
    return lm.shares_prompts


def try_out(lm: LanguageModel) -> Trial:
    """Completions to try ways of reading with, on their own first."""
    limit = window_of(lm.causal.config).tokens or 2**20
    long = min(_LONG, max(_SHORT, limit - _COMPLETION))
    # Mostly short ones, which are those that what is wrong shows in.
    prompts = [some_ids(lm, seed, length) for seed, length in enumerate((_SHORT, long, _SHORT, _SHORT))]
    prompts[2] = prompts[0]
    completions = [some_ids(lm, 10 + seed, _COMPLETION) for seed in range(4)]
    alone = []
    for prompt, completion in zip(prompts, completions, strict=True):
        ids_T = torch.from_numpy(np.concatenate([prompt, completion])).to(lm.device)
        hidden_TD = lm.causal.base_model(input_ids=ids_T[None], use_cache=False).last_hidden_state[0]
        alone.append(hidden_TD[-_COMPLETION - 1 : -1])
    return Trial(assemble(prompts, completions, range(4), lm.device), torch.cat(alone))


def some_ids(lm: LanguageModel, seed: int, length: int) -> NDArray[np.generic]:
    """Tokens from all over the vocabulary."""
    size = lm.causal.get_input_embeddings().weight.shape[0]
    return np.random.default_rng(seed).integers(0, size, size=length)


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far rows are apart, as a share of their length: the farthest of them, in bfloat16 the middle one.

    Infinite for rows of another number or width. In bfloat16 a few may be far apart for no fault: a token that is near
    a tie goes to other experts.
    """
    if found.shape != expected.shape:
        return float("inf")
    difference = (found.float() - expected.float()).norm(dim=-1)
    shares = difference / expected.float().norm(dim=-1).clamp(min=1e-12)
    return float(shares.max() if expected.dtype.itemsize >= 4 else shares.median())


def tolerance(numbers: torch.Tensor) -> float:
    """How far two ways to compute the same may be apart, as a share of the size of the numbers.

    Measured on tiny random models of 50 architectures: where nothing is wrong 2e-6 at most in float32 and 5e-3 in
    bfloat16; where a prompt cannot be shared 0.26 and 0.11 at least.
    """
    return 5e-3 if numbers.dtype.itemsize >= 4 else 0.05


_SHORT, _LONG, _COMPLETION = 5, 40, 4
"""Tokens of the prompts and the completions that are tried."""
