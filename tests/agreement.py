"""Whether the policy that is trained is the policy that is sampled: all ways to compute one completion, compared.

`agreement` opens a model as a run does and compares, in float32: the hf engine with transformers alone and with its
`generate`; the update with the engine; shared prompts with unshared ones; an update that recomputes its layers; an
adapter; and a checkpoint and an export, read again by us and by transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from rsgrpo_cli.config import RunConfig, resolve
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.policy.batches import Batch, assemble
from rsgrpo_cli.policy.checkpoints import open_policy, save_checkpoint, save_complete_model
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import optimizer_step
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.policy.states import can_share, distance, read_joined, read_shared
from tests.logprobs import completion_logprobs

TOLERANCE = 1e-5
"""Nats per token, beside a share of 1e-5 of the number itself."""
PROMPTS = [[4, 6, 11, 12, 7, 13, 5], [4, 6, 11, 12, 7, 13, 14, 15, 16, 17, 18, 19, 12, 13, 5, 6, 7, 8, 9], [4, 6, 5]]
SEEDS = [[1, 2], [5, 6], [9, 10]]
TOKENS = 10
STEP = {"update.learning_rate": 1e-2}


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was found of one model.

    Args:
        together: Whether the hf engine samples prompts of several lengths together.
        shared: Whether the update reads a prompt once for several completions.
        recomputed: Whether layers can be recomputed in the backward pass.
        differences: What was compared -> the largest difference, as a share of what is allowed.
    """

    together: bool
    shared: bool
    recomputed: bool
    differences: dict[str, float]

    @property
    def wrong(self) -> dict[str, float]:
        """What differs by more than is allowed."""
        return {name: value for name, value in self.differences.items() if not value <= 1}


def agreement(directory: Path, scratch: Path) -> Agreement:
    """Compare all ways to compute a model's completions.

    Args:
        directory: The model's.
        scratch: A directory with room for checkpoints.

    Raises:
        RsgrpoError: If the model is refused.
    """
    config = resolve({"model.name": str(directory), "update.kl_coef": 0.1} | STEP)
    policy = open_policy(config, directory, None, version=0, train=True)
    engine = HfEngine(policy.lm)
    learned = sampled(engine)
    found = _compare(policy, learned, config)
    # Before the step: it moves the policy.
    recomputed = _recompute(directory, learned, found)
    _step(policy, learned, config, found)
    _reload(policy, directory, config, scratch / "full", found)
    _adapt(directory, scratch / "adapter", found)
    return Agreement(engine.pads, "shared = unshared" in found, recomputed, found)


def sampled(engine: HfEngine, prompts: list[list[int]] = PROMPTS) -> Experience:
    """Completions of prompts of unequal length, half of them to be learned from."""
    drawn = engine.generate(prompts, SEEDS[: len(prompts)], Sampling(1.0, 1.0, TOKENS))
    flat = [made for own in drawn for made in own]
    rows = len(flat)
    return Experience(
        [np.array(prompt) for prompt, own in zip(prompts, drawn, strict=True) for _ in own],
        [np.array(made.token_ids) for made in flat],
        [np.array(made.logprobs, dtype=np.float32) for made in flat],
        np.tile([1.0, -1.0], rows // 2),
        np.arange(rows) // 2,
        np.ones(rows, dtype=bool),
        1.0,
        TOKENS,
        False,
    )


def alone(causal: Any, experience: Experience, spare_ids: torch.Tensor | None = None) -> torch.Tensor:
    """The definition: each completion by itself, without a cache, padding or shortcuts, as transformers' users do."""
    told = []
    with torch.no_grad():
        for prompt, completion in zip(experience.prompts, experience.completions, strict=True):
            ids = torch.from_numpy(np.concatenate([prompt, completion]))
            logits = causal(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1]
            told.append(_chosen(logits, completion, spare_ids))
    return torch.cat(told)


def generated(causal: Any, prompt: np.ndarray, completion: np.ndarray) -> torch.Tensor:
    """What transformers' own `generate` says of a completion, when it is made to write that one."""
    whole = [*prompt.tolist(), *completion.tolist()]
    output = causal.generate(
        torch.from_numpy(prompt)[None],
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=len(completion),
        do_sample=False,
        eos_token_id=None,
        output_logits=True,
        return_dict_in_generate=True,
        prefix_allowed_tokens_fn=lambda _, ids: [whole[len(ids)]],
    )
    assert output.sequences[0].tolist() == whole
    return torch.stack([logits[0] for logits in output.logits])


def _chosen(logits: torch.Tensor, completion: np.ndarray, spare_ids: torch.Tensor | None) -> torch.Tensor:
    if spare_ids is not None:
        logits = logits.index_fill(-1, spare_ids, -torch.inf)
    return logits.log_softmax(dim=-1).gather(-1, torch.from_numpy(completion)[:, None])[:, 0]


def _apart(found: Any, expected: Any) -> float:
    """The largest difference, as a share of what is allowed; infinite where they are not of one shape or a NaN."""
    one, other = torch.as_tensor(found), torch.as_tensor(expected)
    if one.shape != other.shape:
        return float("inf")
    shares = (one - other).abs() / (TOLERANCE * (1 + other.abs()))
    return float(shares.max()) if bool(shares.isfinite().all()) else float("inf")


def _all_rows(policy: Policy, experience: Experience) -> Batch:
    return assemble(experience.prompts, experience.completions, range(len(experience.prompts)), policy.lm.device)


def _compare(policy: Policy, experience: Experience, config: RunConfig) -> dict[str, float]:
    causal, spare = policy.lm.causal.eval(), policy.lm.spare_ids
    drawn = np.concatenate(experience.sampling_logprobs)
    found = {"engine = model": _apart(drawn, alone(causal, experience, spare))}
    last = len(experience.prompts) - 1
    pairs = [(experience.prompts[row], experience.completions[row]) for row in (0, last)]
    written = [_chosen(generated(causal, *pair), pair[1], spare) for pair in pairs]
    expected = np.concatenate([experience.sampling_logprobs[row] for row in (0, last)])
    found["engine = generate"] = _apart(torch.cat(written), expected)
    found["update = engine"] = _apart(np.concatenate(completion_logprobs(policy, experience, config.update)), drawn)
    causal.eval()
    if can_share(policy.lm):
        batch = _all_rows(policy, experience)
        with torch.no_grad():
            found["shared = unshared"] = distance(read_shared(policy.lm, batch), read_joined(policy.lm, batch)) / 1e-5
    return found


def _step(policy: Policy, experience: Experience, config: RunConfig, found: dict[str, float], of: str = "") -> None:
    policy.set_learning_rate(1e-2)
    sums = optimizer_step(policy, experience, config.update)
    assert sums.grad_norm > 0
    found[f"ratio 1{of}"] = sums.logprob_diff_max / TOLERANCE
    found[f"KL 0{of}"] = abs(sums.kl) / TOLERANCE


def _recompute(directory: Path, experience: Experience, found: dict[str, float]) -> bool:
    """Layers that are recomputed in the backward pass; False where transformers cannot."""
    config = resolve({"model.name": str(directory), "update.gradient_checkpointing": True} | STEP)
    try:
        policy = open_policy(config, directory, None, version=0, train=True)
    except UsageError:
        return False
    _step(policy, experience, config, found, ", recomputed")
    return True


def _reload(policy: Policy, directory: Path, config: RunConfig, scratch: Path, found: dict[str, float]) -> None:
    """A checkpoint read by us and an export read by transformers, against the policy in memory."""
    checkpoint, export, kind = scratch / "checkpoint", scratch / "export", scratch.name
    for folder in (checkpoint, export):
        folder.mkdir(parents=True)
    policy.version = 1
    engine = HfEngine(policy.lm)
    experience = sampled(engine)
    now = np.concatenate(experience.sampling_logprobs)
    found[f"update = engine, {kind}, moved"] = _apart(
        np.concatenate(completion_logprobs(policy, experience, config.update)), now
    )
    save_checkpoint(policy, checkpoint)
    again = open_policy(config, directory, checkpoint, version=1, train=False)
    found[f"checkpoint, {kind}"] = _apart(np.concatenate(sampled(HfEngine(again.lm)).sampling_logprobs), now)
    save_complete_model(config.model, checkpoint, export)
    plain = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval()
    found[f"export, {kind}"] = _apart(alone(plain, experience, policy.lm.spare_ids), now)


def _adapt(directory: Path, scratch: Path, found: dict[str, float]) -> None:
    settings = {"model.name": str(directory), "model.lora_rank": 2, "update.kl_coef": 0.1} | STEP
    config = resolve(settings)
    policy = open_policy(config, directory, None, version=0, train=True)
    before = sampled(HfEngine(policy.lm))
    _step(policy, before, config, found, ", adapter")
    with torch.no_grad():
        for weight in policy.trained().values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    moved = np.concatenate(completion_logprobs(policy, before, config.update))
    assert np.abs(moved - np.concatenate(before.sampling_logprobs)).max() > 1e-4, "the adapter does nothing"
    _reload(policy, directory, config, scratch, found)
