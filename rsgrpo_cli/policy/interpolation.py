"""Weights on the line from the base model to a policy.

A policy that is pulled back towards its base model gives up a little of pass@1 and regains much of pass@k at large k.
See "Weight Ensembling Improves Reasoning in Language Models" by Dang et al. (https://arxiv.org/abs/2504.10478).
"""

from __future__ import annotations

from pathlib import Path

import torch

from rsgrpo_cli.config import ModelConfig
from rsgrpo_cli.models import at_least_float32, load_model
from rsgrpo_cli.policy.fingerprint import base_logprobs, probe_logprobs
from rsgrpo_cli.policy.policy import Policy


@torch.no_grad()
def pull_back(policy: Policy, base: Path, cfg: ModelConfig, at: float) -> None:
    """Replace a policy's weights by base + at * (policy - base), in place; computed in float32 at least.

    An adapter's change is a product of two matrices, of which the second is scaled.

    Args:
        policy: Open for sampling, not for training.
        base: Directory of its base model.
        cfg: How that is loaded.
        at: 0 gives the base model's weights, 1 the policy's own.
    """
    if policy.lm.adapter is not None:
        for name, weight in policy.lm.causal.named_parameters():
            if "lora_B" in name:
                weight.mul_(at)
        policy.base_logprobs = base_logprobs(policy, None)
        return
    lm = load_model(base, cfg)
    policy.base_logprobs = probe_logprobs(lm)
    start = dict(lm.causal.named_parameters())
    for name, weight in policy.lm.causal.named_parameters():
        weight.copy_(torch.lerp(at_least_float32(start[name].to(weight.device)), at_least_float32(weight), at))
