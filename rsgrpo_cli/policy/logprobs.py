"""Log-probabilities of completion tokens without ever holding the logits of a whole batch.

The head runs on completion tokens only, in chunks that are recomputed in the backward pass, so the largest buffer is
one chunk of logits: 0.13 GB, where 16 x 2,048 tokens x 151,936 words in float32 would be 19.9 GB.

Shape suffixes: B completions, T tokens, N completion tokens of the batch laid end to end, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig

from rsgrpo_cli.errors import EngineError, first_line
from rsgrpo_cli.modeling.full_gpu import is_full
from rsgrpo_cli.models import LanguageModel, at_least_float32
from rsgrpo_cli.policy.batches import Batch
from rsgrpo_cli.policy.states import completion_states, distance, some_ids
from rsgrpo_cli.policy.training_mode import update_mode

CHUNK_LOGITS, GPU_CHUNK_LOGITS = 2**25, 2**27
"""Numbers in one chunk of logits: 0.13 GB in float32, and 0.54 GB on a GPU, which small ones leave idle. The backward
pass of a chunk holds about five buffers of its size, with or without a gradient of the entropy."""


def chunk_logits(*, on_gpu: bool) -> int:
    """Numbers in one chunk of logits."""
    return GPU_CHUNK_LOGITS if on_gpu else CHUNK_LOGITS


def token_logprobs(
    lm: LanguageModel, batch: Batch, *, temperature: float, entropy_gradient: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of every completion token under the policy, at the temperature it was sampled with.

    Args:
        lm: The policy.
        batch: Prompts and completions.
        temperature: Divides the logits.
        entropy_gradient: Whether the entropies have a gradient as well, for a loss that they are part of.

    Returns:
        Log-probabilities, shape (N,), float32, with gradient if enabled, and entropies in nats, shape (N,), without
        unless asked for.
    """

    def made() -> tuple[torch.Tensor, torch.Tensor]:
        return _token_logprobs(lm, batch, temperature, entropy_gradient)

    return made() if lm.together is None else lm.together(made)


def _token_logprobs(
    lm: LanguageModel, batch: Batch, temperature: float, entropy_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    hidden_ND = completion_states(lm, batch)
    targets_N = batch.ids_BT[batch.completion_BT]
    head = _Head(lm, temperature, entropy_gradient=entropy_gradient)
    size = max(1, chunk_logits(on_gpu=lm.device.type == "cuda") // head.vocabulary)
    if len(targets_N) <= size or not torch.is_grad_enabled():
        parts = [head(hidden_ND[i : i + size], targets_N[i : i + size]) for i in range(0, len(targets_N), size)]
    else:
        parts = [
            checkpoint(head, hidden_ND[i : i + size], targets_N[i : i + size], use_reentrant=False)
            for i in range(0, len(targets_N), size)
        ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def check_head(lm: LanguageModel) -> None:
    """Make sure that hidden states times the output layer are this architecture's logits.

    Raises:
        EngineError: If the model does something else to its logits, which the chunked head would miss silently.
    """
    lm = replace(lm, dtype="float32")  # no autocast: in the weights' own type, where rounding does not hide a fault
    ids_BT = torch.from_numpy(some_ids(lm, 1, 8)).to(lm.device)[None]
    head = _Head(lm, 1.0)
    with torch.no_grad():
        expected = lm.causal(input_ids=ids_BT, use_cache=False).logits
        found = head.logits(lm.causal.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state)
    # The same sums in the same order, so they are close: a soft cap changes small logits by little, too.
    if not distance(found, expected) <= (1e-4 if expected.dtype.itemsize >= 4 else 0.02):
        name = type(lm.causal).__name__
        raise EngineError(
            f"{name} changes its logits after the output layer in a way rsgrpo does not know",
            "choose a model of another architecture",
        )


def compile_body(lm: LanguageModel) -> None:
    """Run the model up to its output layer through torch.compile from now on, in the update; sampling does not.

    It is tried out, forward and backward, as an update runs it.

    Raises:
        EngineError: If it cannot be compiled here, for example without a C++ compiler.
    """
    update_mode(lm.causal)
    lm.compiled = torch.compile(lm.causal.base_model, dynamic=True)
    ids_BT = torch.arange(8, device=lm.device).reshape(2, 4) % lm.causal.config.vocab_size
    try:
        with lm.autocast():
            states = lm.compiled(input_ids=ids_BT, use_cache=False).last_hidden_state
        states.sum().backward()
    except Exception as error:  # in the backward pass it is the compiler's own, which may be anything
        if is_full(error):
            raise
        reason = first_line(error)
        hint = "look for a C++ compiler, empty its cache (TORCHINDUCTOR_CACHE_DIR), or leave model.compile off"
        raise EngineError(f"torch.compile failed: {reason}", hint) from error
    lm.causal.zero_grad(set_to_none=True)


_CAPS = "final_logit_softcapping", "logits_soft_cap"  # Gemma; RecurrentGemma


def _scale(config: PreTrainedConfig) -> float:
    """What a model multiplies its logits by: Cohere by logit_scale, Falcon-H1 by lm_head_multiplier.

    Granite divides by what HyperCLOVA X multiplies by; Inkling divides what it makes them from.
    """
    scaling = float(getattr(config, "logits_scaling", None) or 1.0)
    return (
        float(getattr(config, "logit_scale", None) or 1.0)
        * float(getattr(config, "lm_head_multiplier", None) or 1.0)
        * (scaling if config.model_type == "hyperclovax" else 1.0 / scaling)
        / float(getattr(config, "logits_mup_width_multiplier", None) or 1.0)
    )


class _Head:
    """Output layer, softcap, temperature, log-softmax: from hidden states to log-probabilities of given tokens."""

    def __init__(self, lm: LanguageModel, temperature: float, *, entropy_gradient: bool = False) -> None:
        config = lm.causal.config.get_text_config()
        self.lm, self.temperature, self.entropy_gradient = lm, temperature, entropy_gradient
        self.layer = lm.causal.get_output_embeddings()
        self.vocabulary = self.layer.weight.shape[0]
        self.softcap = next((value for name in _CAPS if (value := getattr(config, name, None))), None)
        self.scale = _scale(config)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        with self.lm.autocast():
            logits = self.layer(hidden.to(self.layer.weight.dtype))
        logits = at_least_float32(logits)
        if self.scale != 1.0:
            logits = logits * self.scale
        capped: torch.Tensor = torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits
        return capped

    def __call__(self, hidden_ND: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_NV = self.lm.only_tokens(self.logits(hidden_ND))
        if self.temperature != 1.0:
            logits_NV = logits_NV / self.temperature
        normaliser_N = logits_NV.logsumexp(dim=-1)
        logprobs_N = logits_NV.gather(-1, targets_N[:, None])[:, 0] - normaliser_N
        if self.entropy_gradient:
            return logprobs_N, normaliser_N - (torch.softmax(logits_NV, dim=-1) * logits_NV).sum(dim=-1)
        with torch.no_grad():
            # H = logZ - E[logit], from the same two numbers, without a second buffer of log-probabilities.
            expected_N = torch.softmax(logits_NV, dim=-1).mul_(logits_NV).sum(dim=-1)
        return logprobs_N, normaliser_N.detach() - expected_N
