"""One step of RS-GRPO from prompts to `loss.backward()`.

Run `python examples/one_step.py`; model and puzzles are bundled. `rsgrpo train` adds files between the stages,
micro-batches and checkpoints. Suffixes: P prompts, G completions of each, B = P * G, N completion tokens.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence

import numpy as np
import torch

from rsgrpo_cli.config import ModelConfig
from rsgrpo_cli.core.advantages import rs_grpo
from rsgrpo_cli.core.losses import clipped_surrogate
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.models import LanguageModel, load_model, model_directory
from rsgrpo_cli.policy.batches import assemble
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.rewards.countdown import CountdownReward
from rsgrpo_cli.rewards.types import Sample
from rsgrpo_cli.seeding import stable_seed
from rsgrpo_cli.tasks.problems import Problem
from rsgrpo_cli.tasks.sources import load_source


def one_step(lm: LanguageModel, problems: Sequence[Problem], *, group_size: int, beta: float) -> dict[str, float]:
    """Sample, score, compare and differentiate; the gradient is left in the weights of `lm`."""
    engine = HfEngine(lm)
    prompts = [engine.encode([{"role": "user", "content": str(problem.text)}]) for problem in problems]

    # Rollouts: the seed of a completion depends on run seed, step, prompt and sample, not on its batch.
    seeds = [[stable_seed(0, 0, f"toy-train-{one.index:06d}", at) for at in range(group_size)] for one in problems]
    groups = engine.generate(prompts, seeds, Sampling(temperature=1.0, top_p=1.0, max_tokens=32))

    # Rewards: 1 for an expression that uses every number once and makes the target, else 0.
    rows = [row for row, group in enumerate(groups) for _ in group]
    tokens = [generation.token_ids for group in groups for generation in group]
    samples = [Sample(engine.decode(ids), problems[row].answer) for row, ids in zip(rows, tokens, strict=True)]
    rewards_B = np.array([verdict.reward for verdict in CountdownReward()(samples)], dtype=float)

    # Advantages: this line is the method. A group whose rewards are all equal gets zeros.
    advantages_PG = rs_grpo(rewards_B.reshape(-1, group_size), beta=beta)

    # Loss: each token's log-probability, weighted by the advantage of its completion, averaged over all tokens.
    batch = assemble([np.array(prompts[row]) for row in rows], list(map(np.array, tokens)), range(len(rows)), lm.device)
    logprobs_N, _ = token_logprobs(lm, batch, temperature=1.0)
    advantages_N = torch.tensor(advantages_PG.ravel()).float().to(lm.device).repeat_interleave(batch.lengths_B)
    # The old policy is this one: the ratio is 1 and nothing is clipped yet.
    loss_N, _, _ = clipped_surrogate(logprobs_N, logprobs_N.detach(), advantages_N, clip_low=0.2, clip_high=0.28)
    loss_N.mean().backward()
    norm = torch.nn.utils.clip_grad_norm_(lm.causal.parameters(), 1.0)
    return {"reward_mean": float(rewards_B.mean()), "loss": loss_N.mean().item(), "grad_norm": float(norm)}


if __name__ == "__main__":
    ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter).parse_args()
    toy = load_model(model_directory("toy"), ModelConfig(device="cpu"))
    print(one_step(toy, load_source("toy", "train").problems[:8], group_size=16, beta=2.0))
