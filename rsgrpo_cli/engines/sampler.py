"""Draws tokens from logits with a uniform number for each completion and position.

Inverting the distribution function with a number that belongs to (completion, position) makes a sample independent of
how completions are batched, which a shared generator would not.

Shape suffixes: B batch, V vocabulary.
"""

from __future__ import annotations

import torch

from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.models import at_least_float32


def sample_tokens(
    logits_BV: torch.Tensor, uniforms_B: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token a row.

    Args:
        logits_BV: Unnormalised log-probabilities, shape (B, V).
        uniforms_B: Numbers in [0, 1), float64, shape (B,).
        sampling: Temperature and top_p.

    Returns:
        Token ids, shape (B,), and the natural log of the probability each was drawn with, shape (B,),
        float32, or float64 where the logits are.
    """
    logprobs_BV = torch.log_softmax(at_least_float32(logits_BV) / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        logprobs_BV = torch.log_softmax(_keep_top_p(logprobs_BV, sampling.top_p), dim=-1)
    # In float64: a float32 sum over 150,000 words is off by more than the rarest of them weigh.
    cumulative_BV = logprobs_BV.double().exp().cumsum(dim=-1)
    total_B = cumulative_BV[:, -1]
    # Strictly below the total, so that the search always ends on a token with some probability.
    target_B = torch.minimum(uniforms_B * total_B, torch.nextafter(total_B, torch.zeros_like(total_B)))
    tokens_B = torch.searchsorted(cumulative_BV, target_B[:, None], right=True)[:, 0]
    # Beyond the last only where the logits are no numbers, which the caller finds in the log-probabilities.
    tokens_B = tokens_B.clamp(max=logits_BV.shape[-1] - 1)
    return tokens_B, logprobs_BV.gather(-1, tokens_B[:, None])[:, 0]


def _keep_top_p(logprobs_BV: torch.Tensor, top_p: float) -> torch.Tensor:
    """-inf outside the smallest set of tokens whose probability reaches `top_p`; the likeliest token always stays."""
    ordered, order = logprobs_BV.sort(dim=-1, descending=True)
    mass_before = ordered.exp().cumsum(dim=-1) - ordered.exp()
    return logprobs_BV.masked_fill((mass_before >= top_p).scatter(-1, order, mass_before >= top_p), -torch.inf)
