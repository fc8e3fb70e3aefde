"""The trainer's side of the probe (see rsgrpo_cli.probe): what a policy says of a fixed text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rsgrpo_cli.errors import DivergedError
from rsgrpo_cli.models import LanguageModel
from rsgrpo_cli.policy.batches import assemble
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.probe import MAX_TOKENS, TEXT, Probe

PROBE = Path("trainer") / "probe.json"
"""Where a checkpoint keeps its own."""


def take_probe(policy: Policy) -> Probe:
    """A policy's probe, beside the base model's.

    Args:
        policy: One that was opened for training, or the base model.

    Raises:
        DivergedError: If the policy says nothing, because an update has ruined it.
    """
    ids, logprobs = probe_ids(policy.lm), probe_logprobs(policy.lm)
    if not np.isfinite(logprobs).all():
        raise DivergedError("the update diverged: the new policy's probabilities are not finite numbers")
    base = policy.base_logprobs if policy.base_logprobs is not None else logprobs
    assert policy.base_logprobs is not None or policy.version == 0
    return Probe(ids, logprobs, base)


def base_logprobs(policy: Policy, checkpoint: Path | None) -> list[float]:
    """The base model's numbers, for a policy that has just been opened.

    Raises:
        ArtifactError: If the checkpoint has no probe.
    """
    if policy.lm.adapter is not None:
        with policy.as_reference() as reference:
            return probe_logprobs(reference)
    return probe_logprobs(policy.lm) if checkpoint is None else Probe.load(checkpoint / PROBE).base_logprobs


def probe_ids(lm: LanguageModel) -> list[int]:
    """The fixed text in the model's tokens."""
    ids = list(lm.tokenizer(TEXT).input_ids)[:MAX_TOKENS]
    lm.check_ids(ids)
    return ids


def probe_logprobs(lm: LanguageModel) -> list[float]:
    """What a model says of the fixed text, token by token."""
    ids = np.array(probe_ids(lm))
    batch = assemble([ids[:1]], [ids[1:]], [0], lm.device)
    whole = replace(lm, spare_ids=None)  # a sampler of another make is asked about the prompt, where it masks nothing
    with torch.no_grad():
        logprobs_N, _ = token_logprobs(whole, batch, temperature=1.0)
    return [float(value) for value in logprobs_N]
