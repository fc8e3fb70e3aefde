"""`update`: one policy update, in one or several optimizer steps, from a step's completions and their advantages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.policy.batches import Ragged, ragged
from rsgrpo_cli.policy.experience import Experience, minibatches
from rsgrpo_cli.policy.optimize import Sums, logprobs_and_entropies, optimizer_step
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.policy.said import Said
from rsgrpo_cli.policy.schedule import learning_rate
from rsgrpo_cli.schemas import KEYS, UPDATE_METRICS

ROLLOUT_COLUMNS = (*KEYS, "prompt_ids", "completion_ids", "sampling_logprobs", "finish_reason")
"""What an update reads of the rollouts: no text."""
ADVANTAGE_COLUMNS = (*KEYS, "advantage")


def update(
    rollouts: pa.Table,
    advantages: pa.Table,
    policy: Policy,
    cfg: UpdateConfig,
    *,
    temperature: float,
    max_tokens: int,
    correct_sampler: bool,
    seed: int = 0,
    policy_logprobs: pa.Table | None = None,
    keep: Callable[[pa.Table], object] | None = None,
) -> pa.Table:
    """Change the policy, in place, by one optimizer step on all completions, or by several on parts of them.

    Groups without a gradient (all advantages zero) are left out of the forward pass and counted; their tokens still
    count in the average, so leaving them out changes nothing. With a KL penalty or an entropy bonus they have a
    gradient and stay. Truncated completions, where they are masked, neither have a gradient nor count.

    Args:
        rollouts: Columns `ROLLOUT_COLUMNS` of `schemas.ROLLOUTS`.
        advantages: Columns `ADVANTAGE_COLUMNS` of `schemas.ADVANTAGES`, same keys in the same order.
        policy: Opened for training. Its version goes up by one; a failed update leaves it without a version.
        cfg: The loss and the optimizer.
        temperature: What the completions were sampled at.
        max_tokens: The longest they may be.
        correct_sampler: Whether the sampler was not the trainer.
        seed: The run's; it deals the groups out to minibatches.
        policy_logprobs: What `read_policy_logprobs` made of the same, if it was called before.
        keep: Called with columns of `schemas.POLICY_LOGPROBS`, which the forward pass of an update's only optimizer
            step finds anyway. Where there are several steps, `read_policy_logprobs` has made them before.

    Returns:
        Table of `schemas.UPDATE_METRICS`.

    Raises:
        DataError: If the tables do not belong together, or the rollouts are another model's.
        EngineError: If the update diverges or memory runs out.
    """
    if cfg.optimizer_steps > 1 and policy_logprobs is None:
        policy_logprobs = read_policy_logprobs(rollouts, advantages, policy, cfg, temperature=temperature)
    _check(policy, rollouts, advantages, *([] if policy_logprobs is None else [policy_logprobs]))
    experience = _experience(
        rollouts, advantages, cfg, temperature, max_tokens, correct_sampler, policy_logprobs=policy_logprobs
    )
    rows = []
    said = Said() if keep and cfg.optimizer_steps == 1 else None
    with policy.updating() as version:
        for number, part in enumerate(minibatches(experience, cfg, seed=seed, version=version)):
            lr = learning_rate(cfg, version * cfg.optimizer_steps + number)
            policy.set_learning_rate(lr)
            sums = optimizer_step(policy, part, cfg, said)
            rows.append({"optimizer_step": number, "learning_rate": lr, **_metrics(sums, cfg, part)})
    if keep and said:
        keep(_said_table(advantages, said.of(experience, policy.ranks)))
    return pa.Table.from_pylist(rows, schema=UPDATE_METRICS.schema)


def read_policy_logprobs(
    rollouts: pa.Table, advantages: pa.Table, policy: Policy, cfg: UpdateConfig, *, temperature: float
) -> pa.Table:
    """What the policy says of the completions that it is about to be updated on.

    The ratio of an update's later optimizer steps is taken against these; arguments and errors as of `update`.

    Returns:
        Columns of `schemas.POLICY_LOGPROBS`.
    """
    _check(policy, rollouts, advantages)
    experience = _experience(rollouts, advantages, cfg, temperature)
    return _said_table(advantages, logprobs_and_entropies(policy, experience, cfg))


def _said_table(advantages: pa.Table, values: Ragged) -> pa.Table:
    offsets = pa.array(np.cumsum([0, *map(len, values)], dtype=np.int32))
    end_to_end = np.concatenate([np.zeros((0, 2), np.float32), *values])  # none is left if all are dropped
    logprobs, entropies = (pa.ListArray.from_arrays(offsets, pa.array(column)) for column in end_to_end.T)
    keys = {key: advantages[key] for key in KEYS}
    return pa.table(keys | {"policy_logprobs": logprobs, "entropies": entropies})


def decides_logprobs(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `read_policy_logprobs` depends on: the model, and which completions it reads."""
    return {
        "model": settings["model"],
        "mask_truncated": settings["mask_truncated"],
        "zero_variance": settings.get("zero_variance", "keep"),
        "kl": settings["kl_coef"] > 0 or any(settings.get(name) for name in ("entropy_coef", "entropy_target")),
    }


def _check(policy: Policy, rollouts: pa.Table, *others: pa.Table) -> None:
    for key in KEYS:
        expected = rollouts[key].combine_chunks()
        if not all(expected.equals(other[key].combine_chunks()) for other in others):
            raise DataError(
                "the rollouts and the advantages have different keys",
                "run `rsgrpo score` and the stages after it again",
            )
    tokens, said = (pc.list_value_length(rollouts[name]) for name in ("completion_ids", "sampling_logprobs"))
    if not pc.all(pc.equal(tokens, said), min_count=0).as_py() or said.null_count:
        raise DataError(
            "a completion in the rollouts has more or fewer sampling_logprobs than tokens",
            "give one per token (a token with NaN is left out of the loss), or sample again: rsgrpo rollout --force",
        )
    size = policy.lm.causal.get_input_embeddings().weight.shape[0]
    for column in ("prompt_ids", "completion_ids"):
        largest = pc.max(pc.list_flatten(rollouts[column])).as_py()
        if largest is not None and largest >= size:
            raise DataError(
                f"the rollouts have token {largest}, and the model has {size} tokens", "sample with --engine hf or vllm"
            )


def _experience(
    rollouts: pa.Table,
    advantages: pa.Table,
    cfg: UpdateConfig,
    temperature: float,
    max_tokens: int = 0,
    correct_sampler: bool = False,
    policy_logprobs: pa.Table | None = None,
) -> Experience:
    counted_N = np.ones(len(rollouts), dtype=bool)
    if cfg.mask_truncated:
        counted_N = pc.not_equal(rollouts["finish_reason"], "length").to_numpy()
    return Experience(
        prompts=ragged(rollouts["prompt_ids"]),
        completions=ragged(rollouts["completion_ids"]),
        sampling_logprobs=ragged(rollouts["sampling_logprobs"]),
        advantages=advantages["advantage"].to_numpy(),
        group_N=advantages["group_id"].combine_chunks().dictionary_encode().indices.to_numpy(),
        counted_N=counted_N,
        temperature=temperature,
        max_tokens=max_tokens,
        correct_sampler=correct_sampler,
        has_penalty=cfg.has_penalty,
        policy_logprobs=None if policy_logprobs is None else ragged(policy_logprobs["policy_logprobs"]),
    )


def _metrics(sums: Sums, cfg: UpdateConfig, experience: Experience) -> dict[str, object]:
    """Means over the tokens of the forward pass."""
    seen = max(1, sums.tokens)
    return {
        "loss": sums.loss,
        "grad_norm": sums.grad_norm,
        "entropy": sums.entropy / seen if sums.tokens else None,
        "kl": sums.kl / seen if cfg.kl_coef > 0 and sums.tokens else None,
        "clip_fraction_low": sums.clipped_low / seen,
        "clip_fraction_high": sums.clipped_high / seen,
        "logprob_diff_mean": sums.logprob_diff / seen,
        "logprob_diff_max": sums.logprob_diff_max,
        "importance_ratio_max": sums.ratio_max,
        "ratio_capped_fraction": sums.capped / seen,
        "tokens": experience.tokens,
        "tokens_forward": sums.tokens,
        "groups": experience.groups,
        "groups_dropped": experience.groups_dropped,
        "micro_batches": sums.micro_batches,
        "sampler_logprobs_dropped": int(sums.dropped),
    }
