"""A check of an architecture before the `hf` engine samples from it: what it draws is what the model says.

The engine pads prompts on the left, shares a prompt's cache among its completions, and drops those that have ended. A
recurrent state does not bear that, and some models ignore position ids or the mask; then samples would come from
another policy than the one that is trained.

Shape suffixes: T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from rsgrpo_cli.engines.types import Generation
from rsgrpo_cli.errors import EngineError, first_line
from rsgrpo_cli.modeling.context_window import window_of
from rsgrpo_cli.modeling.full_gpu import is_full
from rsgrpo_cli.models import LanguageModel

TOLERANCE = {torch.float64: 1e-2, torch.float32: 1e-2, torch.bfloat16: 0.3}
"""How far two computations of one token's log-probability may be apart, at half of the tokens, in nats.

Measured on tiny random models of 40 architectures: 1e-6 in float32 where nothing is wrong, 5 and 11 where something is.
"""
_TOKENS = 6
_HINT = "sample with --engine vllm, or choose a model of another architecture"

Draw = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]], int, bool], list[list[Generation]]]
"""From prompts, seeds, a number of tokens, and whether to pad, to completions; ending at whatever token, so that some
leave the batch."""


def pads_prompts(lm: LanguageModel, draw: Draw) -> bool:
    """Whether prompts of different lengths may be sampled from together, the shorter ones padded on the left.

    A model that padding disturbs, as it does a recurrent state, is sampled from one length at a time.

    Args:
        lm: The model, ready to sample.
        draw: The engine's way to sample, outside of autocast.

    Raises:
        EngineError: If neither way gives the model's own probabilities.
    """
    # What is wrong without padding too is told below.
    if not lm.causal._is_stateful and samples_right(lm, draw, pads=True):
        return True
    _check_sampling(lm, draw, pads=False)
    return False


def samples_right(lm: LanguageModel, draw: Draw, *, pads: bool) -> bool:
    """Whether a way to sample gives the model's own probabilities; args as of `pads_prompts`."""
    try:
        _check_sampling(lm, draw, pads=pads)
    except EngineError:
        return False
    return True


def _check_sampling(lm: LanguageModel, draw: Draw, *, pads: bool) -> None:
    """Compare a few completions, of a short prompt and of a longer one, with what the model computes for each alone."""
    name = type(lm.causal).__name__
    size = lm.causal.get_input_embeddings().weight.shape[0]
    limit = window_of(lm.causal.config).tokens or 2**20
    long = max(2, min(32, limit - _TOKENS))
    prompts = [np.random.default_rng(0).integers(0, size, size=length).tolist() for length in (min(4, long), long)]
    try:
        drawn = draw(prompts, [[1, 2, 3], [4, 5, 6]], _TOKENS, pads)
        pairs = [(prompt, made) for prompt, own in zip(prompts, drawn, strict=True) for made in own]
        differences = torch.cat([_difference(lm, prompt, made) for prompt, made in pairs])
    # Somebody else's modeling code meets a cache that it does not know: what it raises then is anything.
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError) as error:
        if is_full(error):
            raise
        reason = first_line(error)
        raise EngineError(f"{name} cannot be sampled by the hf engine: {reason}", _HINT) from error
    # In bfloat16 a few may be far apart for no fault: near a tie a token takes other experts.
    apart = float(differences.max() if lm.causal.dtype.itemsize >= 4 else differences.median())
    if not apart <= TOLERANCE[lm.causal.dtype]:
        raise EngineError(
            f"{name} gives a prompt different probabilities beside a longer one and alone (by {apart:.2g} nats per "
            "token): the hf engine would not sample from the policy that is trained",
            _HINT,
        )


def _difference(lm: LanguageModel, prompt: Sequence[int], made: Generation) -> torch.Tensor:
    ids_T = torch.tensor([*prompt, *made.token_ids], device=lm.device)
    logits_TV = lm.causal(input_ids=ids_T[None], use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    expected_T = lm.only_tokens(logits_TV).log_softmax(dim=-1).gather(-1, ids_T[len(prompt) :, None])[:, 0].cpu()
    difference_T: torch.Tensor = (torch.tensor(made.logprobs) - expected_T).abs()
    return difference_T
