"""One optimizer step: the loss over micro-batches, its gradient, AdamW, and its metrics.

The way from advantages to weights: `optimizer_step` -> `_loss` (log-probabilities, clipped surrogate, corrections) ->
`loss.backward()` -> `optimizer.step()`.

Shape suffixes: B completions of a micro-batch, N their completion tokens laid end to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from math import isfinite

import numpy as np
import torch

from rsgrpo_cli import activity
from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.core.losses import clipped_surrogate, kl_penalty, token_weights, truncated_importance_ratio
from rsgrpo_cli.errors import DivergedError, EngineError
from rsgrpo_cli.modeling import full_gpu
from rsgrpo_cli.modeling.cuda import has_no_order, in_one_order
from rsgrpo_cli.policy.batches import Batch, Ragged, assemble, micro_batches
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.policy.said import Said
from rsgrpo_cli.policy.training_mode import update_mode


@dataclass(frozen=True, slots=True)
class Sums:
    """What an optimizer step adds up over its tokens, and the largest of some numbers.

    Args:
        dropped: Tokens left out of the loss because the sampler's log-probability is not finite.
    """

    loss: float = 0.0
    entropy: float = 0.0
    kl: float = 0.0
    clipped_low: float = 0.0
    clipped_high: float = 0.0
    capped: float = 0.0
    dropped: float = 0.0
    logprob_diff: float = 0.0
    logprob_diff_max: float = 0.0
    ratio_max: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    micro_batches: int = 0


@dataclass(slots=True)
class _Running:
    """The same while they grow, on the device: reading one number there would wait for all work before it."""

    said: Said | None = None
    values: dict[str, torch.Tensor] = field(default_factory=dict)
    tokens: int = 0
    micro_batches: int = 0

    def add(self, **numbers: torch.Tensor) -> None:
        """Sums, in float64: of many micro-batches float32 would lose the last ones."""
        for name, number in numbers.items():
            total = number.detach().sum().double()
            self.values[name] = self.values[name] + total if name in self.values else total

    def add_largest(self, **numbers: torch.Tensor) -> None:
        """The largest so far."""
        for name, number in numbers.items():
            largest = number.detach().max().double()
            self.values[name] = torch.maximum(self.values[name], largest) if name in self.values else largest

    def fetch(self) -> Sums:
        """All of them, in one transfer from the device."""
        numbers = torch.stack(list(self.values.values())).tolist()
        counts = {"tokens": self.tokens, "micro_batches": self.micro_batches}
        return Sums(**dict(zip(self.values, numbers, strict=True)), **counts)


def optimizer_step(policy: Policy, experience: Experience, cfg: UpdateConfig, said: Said | None = None) -> Sums:
    """Update the policy once.

    Args:
        policy: Changed in place.
        experience: The completions; those without a gradient count in the averages only.
        cfg: The loss and the optimizer.
        said: Gets what the policy says of the completions before it changes.

    Returns:
        What to report.

    Raises:
        EngineError: If the loss or the gradient is not finite, or memory runs out; the weights are as before.
    """
    assert policy.optimizer is not None
    rows = np.flatnonzero(experience.gradient_N).tolist()
    if not rows:
        # No gradient at all: a step of AdamW would still move the weights by its momentum.
        return Sums()
    update_mode(policy.lm.causal)
    with _explained(cfg):
        sums = _in_order(policy, experience, rows, cfg, said)
        if not (isfinite(sums.grad_norm) and isfinite(sums.loss)):
            raise DivergedError(f"the update diverged: loss {sums.loss}, gradient norm {sums.grad_norm}")
        policy.optimizer.step()
    policy.optimizer.zero_grad(set_to_none=True)
    return sums


def _in_order(policy: Policy, experience: Experience, rows: list[int], cfg: UpdateConfig, said: Said | None) -> Sums:
    """`_gradient`, added up in one order; in any, from the first time on that something in the model has none."""
    lm = policy.lm
    try:
        with in_one_order(lm.device.type) if lm.has_order else nullcontext():
            return _gradient(policy, experience, rows, cfg, said)
    except RuntimeError as error:
        if not has_no_order(error):
            raise
        if policy.ranks is not None:  # in the middle of a backward pass, where they cannot begin again
            message = "on a GPU this model's gradient is added up in no fixed order, which ranks do not do"
            raise EngineError(message, "update in one process: --ranks 1") from error
    lm.has_order = False
    if said is not None:
        said.clear()
    return _gradient(policy, experience, rows, cfg, said)


def _gradient(policy: Policy, experience: Experience, rows: list[int], cfg: UpdateConfig, said: Said | None) -> Sums:
    """The gradient of an optimizer step, clipped; what was added up on the way."""
    assert policy.optimizer is not None
    policy.optimizer.zero_grad(set_to_none=True)
    running = _Running(said)
    with activity.doing("", len(rows), "completions") as bar:
        for micro_batch, loss in _losses(policy, experience, rows, cfg, running):
            loss.backward()
            bar.advance(len(micro_batch))
        return _clipped(policy, cfg, running)


def _losses(
    policy: Policy, experience: Experience, rows: list[int], cfg: UpdateConfig, running: _Running
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """The loss of each micro-batch, which is to be differentiated before the next is asked for."""
    ranks = policy.ranks
    if ranks is None:
        for micro_batch in micro_batches(experience.lengths, rows, cfg.micro_batch_tokens):
            yield micro_batch, _loss(policy, experience, micro_batch, cfg, running)
        return
    dealt = ranks.deal(experience.lengths, rows, cfg.micro_batch_tokens)
    for number, micro_batch in enumerate(dealt, start=1):
        ranks.before_backward(policy.lm, last=number == len(dealt))
        if micro_batch:
            loss = _loss(policy, experience, micro_batch, cfg, running)
        else:  # the others go through the model, which takes every rank
            loss = 0.0 * _loss(policy, experience, _shortest(experience, rows), cfg, _Running())
        yield micro_batch, ranks.world * loss  # FSDP averages over the ranks; the loss is their sum


def _shortest(experience: Experience, rows: Sequence[int]) -> list[int]:
    lengths = experience.lengths
    return [min(rows, key=lambda row: lengths[row])]


def _clipped(policy: Policy, cfg: UpdateConfig, running: _Running) -> Sums:
    """Clip the gradient; what all ranks have added up, with the norm that it had."""
    norm = torch.nn.utils.clip_grad_norm_(policy.trained().values(), cfg.max_grad_norm)
    if policy.ranks is None:
        running.add(grad_norm=norm)
        return running.fetch()
    running.add(grad_norm=policy.ranks.whole(norm).to(policy.lm.device))  # of gradients that wait in RAM it is there
    parts = [asdict(sums) for sums in policy.ranks.gather(running.fetch())]
    return Sums(**{name: (max if name in _LARGEST else sum)(part[name] for part in parts) for name in parts[0]})


_LARGEST = {"logprob_diff_max", "ratio_max", "grad_norm"}
"""What is not added up over ranks: the largest, and what is every rank's."""


def logprobs_and_entropies(policy: Policy, experience: Experience, cfg: UpdateConfig) -> Ragged:
    """What the policy as it is says of completion tokens, in nats.

    Args:
        policy: Unchanged.
        experience: The completions.
        cfg: The size of a micro-batch.

    Returns:
        One float32 array of shape (tokens, 2) per completion: log-probabilities, and entropies of the distributions
        that the tokens were chosen from. No rows for those without a gradient.

    Raises:
        EngineError: If memory runs out.
    """
    said = Said()
    rows = np.flatnonzero(experience.gradient_N).tolist()
    update_mode(policy.lm.causal)
    with _explained(cfg), torch.no_grad(), activity.doing("", len(rows), "completions read first") as bar:
        for micro_batch in _to_read(policy, experience, rows, cfg):
            batch = assemble(experience.prompts, experience.completions, micro_batch, policy.lm.device)
            said.add(micro_batch, *token_logprobs(policy.lm, batch, temperature=experience.temperature))
            bar.advance(len(micro_batch))
    return said.of(experience, policy.ranks)


def _to_read(policy: Policy, experience: Experience, rows: list[int], cfg: UpdateConfig) -> Iterable[list[int]]:
    """Micro-batches to read without a gradient; one that only makes up a rank's number reads a row once more."""
    if policy.ranks is None or not rows:
        return micro_batches(experience.lengths, rows, cfg.micro_batch_tokens)
    dealt = policy.ranks.deal(experience.lengths, rows, cfg.micro_batch_tokens)
    return [micro_batch or _shortest(experience, rows) for micro_batch in dealt]


@contextmanager
def _explained(cfg: UpdateConfig) -> Iterator[None]:
    hint = f"lower --micro-batch-tokens (now {cfg.micro_batch_tokens}) or use --gradient-checkpointing"
    try:
        with full_gpu.explained("not enough GPU memory for the update", hint):
            yield
    except RuntimeError as error:
        if "without overflow" not in str(error):
            raise
        raise DivergedError("the update diverged: one of its settings is beyond float32's range") from error


def _loss(
    policy: Policy, experience: Experience, rows: list[int], cfg: UpdateConfig, running: _Running
) -> torch.Tensor:
    """A micro-batch's share of the loss, with gradient; its metrics are added to `running`."""
    device = policy.lm.device
    batch = assemble(experience.prompts, experience.completions, rows, device)
    bonus = cfg.entropy_coef > 0
    temperature = experience.temperature
    logprobs_N, entropy_N = token_logprobs(policy.lm, batch, temperature=temperature, entropy_gradient=bonus)
    if running.said is not None:
        running.said.add(rows, logprobs_N, entropy_N)
    at_start = experience.policy_logprobs
    policy_logprobs_N = logprobs_N.detach() if at_start is None else _end_to_end(at_start, rows, device)
    sampling_logprobs_N = _end_to_end(experience.sampling_logprobs, rows, device)
    kept_N = sampling_logprobs_N.isfinite()
    # What is dropped is given a ratio of 1 first: a NaN times 0 would still be a NaN in the gradient.
    sampling_logprobs_N = torch.where(kept_N, sampling_logprobs_N, policy_logprobs_N)

    advantages_B = torch.as_tensor(experience.advantages[rows], dtype=torch.float32, device=device)
    advantages_N = advantages_B.repeat_interleave(batch.lengths_B)
    bounds = {"clip_low": cfg.clip_low, "clip_high": cfg.clip_high}
    loss_N, low_N, high_N = clipped_surrogate(logprobs_N, policy_logprobs_N, advantages_N, **bounds)
    weight_N, ratio_N = truncated_importance_ratio(policy_logprobs_N, sampling_logprobs_N, cap=cfg.tis_cap)
    if experience.correct_sampler:
        loss_N = loss_N * weight_N
    if cfg.kl_coef > 0:
        ref_logprobs_N = _ref_logprobs(policy, batch, temperature)
        kl_N = kl_penalty(logprobs_N, ref_logprobs_N, estimator=cfg.kl_estimator)
        loss_N = loss_N + cfg.kl_coef * kl_N
        running.add(kl=kl_N)
    if bonus:
        loss_N = loss_N - cfg.entropy_coef * entropy_N
    loss = (torch.where(kept_N, loss_N, 0.0) * _weights(experience, batch.lengths_B, cfg)).sum()

    difference_N = (policy_logprobs_N - sampling_logprobs_N).abs()
    running.add(loss=loss, entropy=entropy_N, clipped_low=low_N, clipped_high=high_N, logprob_diff=difference_N)
    running.add(capped=ratio_N > cfg.tis_cap, dropped=~kept_N)
    running.add_largest(logprob_diff_max=difference_N, ratio_max=ratio_N)
    running.tokens += len(logprobs_N)
    running.micro_batches += 1
    return loss


def _end_to_end(column: Ragged, rows: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([column[row] for row in rows])).to(device)


def _ref_logprobs(policy: Policy, batch: Batch, temperature: float) -> torch.Tensor:
    with torch.no_grad(), policy.as_reference() as reference:
        return token_logprobs(reference, batch, temperature=temperature)[0]


def _weights(experience: Experience, lengths_B: torch.Tensor, cfg: UpdateConfig) -> torch.Tensor:
    """Of the tokens in the loss. A token that is dropped still counts here, as one without an advantage does."""
    return token_weights(
        lengths_B,
        aggregation=cfg.loss_aggregation,
        tokens=experience.tokens,
        completions=int(experience.counted_N.sum()),
        max_tokens=experience.max_tokens,
    )
