"""One optimizer step: the loss over micro-batches, the gradient, AdamW, and what there is to report about it.

Shape suffixes: B completions of a micro-batch, N their completion tokens laid end to end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.core.losses import clipped_surrogate, kl_penalty, token_weights, truncated_importance_ratio
from rsgrpo_cli.errors import DivergedError, EngineError
from rsgrpo_cli.policy.batches import Ragged, assemble, micro_batches
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.policy.training_mode import update_mode


@dataclass(frozen=True, slots=True)
class Experience:
    """The completions of one optimizer step, one entry a row.

    Args:
        prompts: Token ids.
        completions: Token ids.
        sampling_logprobs: What the sampler said of each completion token.
        advantages: One number a completion.
        temperature: What they were sampled at.
        max_tokens: The longest a completion may be.
        correct_sampler: Whether the sampler was not the trainer, so that its probabilities may differ.
        old_logprobs: Of each completion token under the policy at the start of the update, empty for completions
            without a gradient. None where this is the update's only step: then they are what the step itself finds.
    """

    prompts: Ragged
    completions: Ragged
    sampling_logprobs: Ragged
    advantages: NDArray[np.float64]
    temperature: float
    max_tokens: int
    correct_sampler: bool
    old_logprobs: Ragged | None = None

    def take(self, rows: Sequence[int]) -> Experience:
        """Some of the completions, in this order: those of one optimizer step out of an update's."""

        def some(column: Ragged) -> Ragged:
            return [column[row] for row in rows]

        return replace(
            self,
            prompts=some(self.prompts),
            completions=some(self.completions),
            sampling_logprobs=some(self.sampling_logprobs),
            advantages=self.advantages[list(rows)],
            old_logprobs=None if self.old_logprobs is None else some(self.old_logprobs),
        )

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt and completion together."""
        return [len(p) + len(c) for p, c in zip(self.prompts, self.completions, strict=True)]


@dataclass(slots=True)
class Sums:
    """What an optimizer step adds up over its tokens."""

    loss: float = 0.0
    entropy: float = 0.0
    kl: float = 0.0
    clipped_low: float = 0.0
    clipped_high: float = 0.0
    capped: float = 0.0
    logprob_diff: float = 0.0
    logprob_diff_max: float = 0.0
    ratio_max: float = 0.0
    tokens: int = 0
    micro_batches: int = 0
    grad_norm: float = 0.0


def optimizer_step(policy: Policy, experience: Experience, rows: Sequence[int], cfg: UpdateConfig) -> Sums:
    """Update the policy once.

    Args:
        policy: Changed in place.
        experience: The completions.
        rows: Those that have a gradient; the others count in the averages only.
        cfg: The loss and the optimizer.

    Returns:
        What to report.

    Raises:
        EngineError: If the loss or the gradient is not finite, or memory runs out; the weights are as before.
    """
    assert policy.optimizer is not None
    sums = Sums()
    policy.optimizer.zero_grad(set_to_none=True)
    rows = _with_tokens(experience, rows)
    if not rows:
        # No gradient at all: a step of AdamW would still move the weights by its momentum.
        return sums
    update_mode(policy.lm.causal)
    with _explained(cfg):
        for batch in micro_batches(experience.lengths, rows, cfg.micro_batch_tokens):
            _accumulate(policy, experience, batch, cfg, sums)
        norm = torch.nn.utils.clip_grad_norm_(policy.trained().values(), cfg.max_grad_norm)
        sums.grad_norm = float(norm)
        if not (np.isfinite(sums.grad_norm) and np.isfinite(sums.loss)):
            raise DivergedError(f"the update diverged: loss {sums.loss}, gradient norm {sums.grad_norm}")
        policy.optimizer.step()
    policy.optimizer.zero_grad(set_to_none=True)
    return sums


def old_logprobs(policy: Policy, experience: Experience, rows: Sequence[int], cfg: UpdateConfig) -> Ragged:
    """Log-probabilities of completion tokens under the policy as it is: the old ones of the steps that follow.

    Args:
        policy: Unchanged.
        experience: The completions.
        rows: Those that have a gradient.
        cfg: The size of a micro-batch.

    Returns:
        One float32 array a completion, empty for those not in `rows`.

    Raises:
        EngineError: If memory runs out.
    """
    made: Ragged = [np.zeros(0, np.float32)] * len(experience.completions)
    update_mode(policy.lm.causal)
    with _explained(cfg), torch.no_grad():
        for batch in micro_batches(experience.lengths, _with_tokens(experience, rows), cfg.micro_batch_tokens):
            tensors = assemble(experience.prompts, experience.completions, batch, policy.lm.device)
            logprobs_N = token_logprobs(policy.lm, tensors, temperature=experience.temperature)[0].cpu().numpy()
            ends = np.cumsum([len(experience.completions[row]) for row in batch])
            for row, own in zip(batch, np.split(logprobs_N, ends[:-1]), strict=True):
                made[row] = own
    return made


@contextmanager
def _explained(cfg: UpdateConfig) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        hint = f"lower --micro-batch-tokens (now {cfg.micro_batch_tokens}) or use --gradient-checkpointing"
        raise EngineError("not enough GPU memory for the update", hint) from error
    except RuntimeError as error:
        if "without overflow" not in str(error):
            raise
        raise DivergedError("the update diverged: one of its settings is beyond float32's range") from error


def _with_tokens(experience: Experience, rows: Sequence[int]) -> list[int]:
    """Of some rows, those whose completion has a token: an empty one has no gradient and nothing to sum."""
    return [row for row in rows if len(experience.completions[row])]


def _accumulate(policy: Policy, experience: Experience, rows: list[int], cfg: UpdateConfig, sums: Sums) -> None:
    """Add one micro-batch's gradient to the weights' and its numbers to the sums."""
    device = policy.lm.device
    batch = assemble(experience.prompts, experience.completions, rows, device)
    logprobs_N, entropy_N = token_logprobs(policy.lm, batch, temperature=experience.temperature)
    advantages_B = torch.as_tensor(experience.advantages[rows], dtype=torch.float32, device=device)
    sampling_N = _end_to_end(experience.sampling_logprobs, rows, device)
    old = experience.old_logprobs
    old_N = logprobs_N.detach() if old is None else _end_to_end(old, rows, device)
    loss_N, low_N, high_N = clipped_surrogate(
        logprobs_N,
        old_N,
        advantages_B.repeat_interleave(batch.lengths_B),
        clip_low=cfg.clip_low,
        clip_high=cfg.clip_high,
    )
    weight_N, ratio_N = truncated_importance_ratio(old_N, sampling_N, cap=cfg.tis_cap)
    if experience.correct_sampler:
        loss_N = loss_N * weight_N
    if cfg.kl_coef > 0:
        with torch.no_grad(), policy.as_reference() as reference:
            ref_N, _ = token_logprobs(reference, batch, temperature=experience.temperature)
        kl_N = kl_penalty(logprobs_N, ref_N, estimator=cfg.kl_estimator)
        loss_N = loss_N + cfg.kl_coef * kl_N
        sums.kl += float(kl_N.detach().sum())
    loss = (loss_N * _weights(experience, batch.lengths_B, cfg)).sum()
    torch.autograd.backward(loss)
    difference_N = (old_N - sampling_N).abs()
    sums.loss += loss.item()
    sums.entropy += float(entropy_N.sum())
    sums.clipped_low += float(low_N.sum())
    sums.clipped_high += float(high_N.sum())
    sums.capped += float((ratio_N > cfg.tis_cap).sum())
    sums.logprob_diff += float(difference_N.sum())
    sums.logprob_diff_max = max(sums.logprob_diff_max, float(difference_N.max()))
    sums.ratio_max = max(sums.ratio_max, float(ratio_N.max()))
    sums.tokens += len(old_N)
    sums.micro_batches += 1


def _end_to_end(column: Ragged, rows: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([column[row] for row in rows])).to(device)


def _weights(experience: Experience, lengths_B: torch.Tensor, cfg: UpdateConfig) -> torch.Tensor:
    return token_weights(
        lengths_B,
        aggregation=cfg.loss_aggregation,
        tokens=sum(map(len, experience.completions)),
        completions=len(experience.completions),
        max_tokens=experience.max_tokens,
    )
