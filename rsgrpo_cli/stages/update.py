"""`update`: one policy update from the completions of a step and their advantages."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.policy.batches import ragged
from rsgrpo_cli.policy.optimize import Experience, Sums, optimizer_step
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.schemas import KEYS, UPDATE_METRICS


def update(
    rollouts: pa.Table,
    advantages: pa.Table,
    policy: Policy,
    cfg: UpdateConfig,
    *,
    temperature: float,
    max_tokens: int,
    correct_sampler: bool,
) -> pa.Table:
    """Change the policy, in place, by one optimizer step on all completions.

    Groups without a gradient (all advantages zero) are left out of the forward pass and counted; their tokens still
    count in the average, so leaving them out changes nothing. With a KL penalty they have a gradient and stay.

    Args:
        rollouts: Table of `schemas.ROLLOUTS`.
        advantages: Table of `schemas.ADVANTAGES`, same keys in the same order.
        policy: Opened for training.
        cfg: The loss and the optimizer.
        temperature: What the completions were sampled at.
        max_tokens: The longest they may be.
        correct_sampler: Whether the sampler was not the trainer.

    Returns:
        Table of `schemas.UPDATE_METRICS`.

    Raises:
        DataError: If the two tables do not belong together, or the rollouts are another model's.
        EngineError: If the update diverges or memory runs out.
    """
    for key in KEYS:
        if not rollouts[key].combine_chunks().equals(advantages[key].combine_chunks()):
            raise DataError("the rollouts and the advantages have different keys", "run `rsgrpo score` and on again")
    _check_vocabulary(rollouts, policy)
    advantage_N = advantages["advantage"].to_numpy()
    experience = Experience(
        prompts=ragged(rollouts["prompt_ids"]),
        completions=ragged(rollouts["completion_ids"]),
        sampling_logprobs=ragged(rollouts["sampling_logprobs"]),
        advantages=advantage_N,
        temperature=temperature,
        max_tokens=max_tokens,
        correct_sampler=correct_sampler,
    )
    groups_N = advantages["group_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    active_K = np.bincount(groups_N, weights=np.abs(advantage_N)) > 0
    if cfg.kl_coef > 0:
        active_K[:] = True
    rows = np.flatnonzero(active_K[groups_N]).tolist()
    sums = optimizer_step(policy, experience, rows, cfg)
    tokens = sum(map(len, experience.completions))
    metrics = _metrics(sums, cfg, tokens=tokens, groups=len(active_K), dropped=int((~active_K).sum()))
    return pa.Table.from_pylist([metrics], schema=UPDATE_METRICS.schema)


def _check_vocabulary(rollouts: pa.Table, policy: Policy) -> None:
    size = policy.lm.causal.get_input_embeddings().weight.shape[0]
    for column in ("prompt_ids", "completion_ids"):
        largest = pc.max(pc.list_flatten(rollouts[column])).as_py()
        if largest is not None and largest >= size:
            raise DataError(
                f"the rollouts have token {largest}, and the model has {size} tokens", "sample with --engine hf or vllm"
            )


def _metrics(sums: Sums, cfg: UpdateConfig, *, tokens: int, groups: int, dropped: int) -> dict[str, object]:
    """Means over the tokens of the forward pass."""
    seen = max(1, sums.tokens)
    return {
        "optimizer_step": 0,
        "loss": sums.loss,
        "grad_norm": sums.grad_norm,
        "learning_rate": cfg.learning_rate,
        "entropy": sums.entropy / seen if sums.tokens else None,
        "kl": sums.kl / seen if cfg.kl_coef > 0 and sums.tokens else None,
        "clip_fraction_low": sums.clipped_low / seen,
        "clip_fraction_high": sums.clipped_high / seen,
        "logprob_diff_mean": sums.logprob_diff / seen,
        "logprob_diff_max": sums.logprob_diff_max,
        "importance_ratio_max": sums.ratio_max,
        "ratio_capped_fraction": sums.capped / seen,
        "tokens": tokens,
        "tokens_forward": sums.tokens,
        "groups": groups,
        "groups_dropped": dropped,
        "micro_batches": sums.micro_batches,
    }
