"""One step of RS-GRPO from prompts to `loss.backward()`, out of rsgrpo's own functions.

    python examples/one_step.py

It takes the bundled model and puzzles, so it needs no network and no GPU. `rsgrpo train` does the same with what a long
run needs around it: files between the stages, micro-batches, a sampler of its own, checkpoints.

Shape suffixes: P prompts, G completions per prompt, B = P * G completions, N completion tokens laid end to end.
"""

from collections.abc import Sequence

import numpy as np
import torch

from rsgrpo_cli.config import ModelConfig
from rsgrpo_cli.core.advantages import rs_grpo
from rsgrpo_cli.core.losses import clipped_surrogate, token_weights
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.models import LanguageModel, load_model, model_directory
from rsgrpo_cli.policy.batches import assemble
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.rewards.countdown import CountdownReward
from rsgrpo_cli.rewards.types import Sample
from rsgrpo_cli.seeding import stable_seed
from rsgrpo_cli.tasks.sources import Problem, load_source


def one_step(lm: LanguageModel, problems: Sequence[Problem], *, group_size: int, beta: float) -> dict[str, float]:
    """Sample, score, compare and differentiate; the gradient is left in the weights of `lm`."""
    # Prompts: a chat becomes token ids by the model's own template.
    engine = HfEngine(lm)
    prompts = [engine.encode([{"role": "user", "content": str(problem.text)}]) for problem in problems]

    # Rollouts: every completion has a seed of its own (run seed, step, prompt, sample), whatever batch it is drawn in.
    names = [f"toy-train-{problem.index:06d}" for problem in problems]
    seeds = [[stable_seed(0, 0, name, sample) for sample in range(group_size)] for name in names]
    groups = engine.generate(prompts, seeds, Sampling(temperature=1.0, top_p=1.0, max_tokens=32))

    # Rewards: 1 for an expression that uses every number once and makes the target, else 0.
    answers = [problem.answer for problem in problems for _ in range(group_size)]
    completions = [generation for group in groups for generation in group]
    texts = [engine.decode(generation.token_ids) for generation in completions]
    verdicts = CountdownReward()([Sample(text, answer) for text, answer in zip(texts, answers, strict=True)])
    rewards_PG = np.reshape([verdict.reward for verdict in verdicts], (len(problems), group_size)).astype(float)

    # Advantages: this line is the method. A group whose rewards are all equal gets zeros.
    advantages_PG = rs_grpo(rewards_PG, beta=beta)

    # Loss: the log-probability of every completion token, weighed by its completion's advantage.
    batch = assemble(
        [np.array(prompt) for prompt in prompts for _ in range(group_size)],
        [np.array(generation.token_ids) for generation in completions],
        range(len(completions)),
        lm.device,
    )
    logprobs_N, _ = token_logprobs(lm, batch, temperature=1.0)
    advantages_B = torch.as_tensor(advantages_PG.reshape(-1), dtype=torch.float32, device=lm.device)
    advantages_N = advantages_B.repeat_interleave(batch.lengths_B)
    # One optimizer step per rollout: the old policy is this one, so the ratio is 1 and nothing is clipped yet.
    loss_N, _, _ = clipped_surrogate(logprobs_N, logprobs_N.detach(), advantages_N, clip_low=0.2, clip_high=0.28)
    tokens, count = len(logprobs_N), len(completions)
    weights_N = token_weights(batch.lengths_B, aggregation="token", tokens=tokens, completions=count, max_tokens=32)
    loss = (loss_N * weights_N).sum()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(lm.causal.parameters(), 1.0)
    return {"reward_mean": float(rewards_PG.mean()), "loss": loss.item(), "grad_norm": float(norm)}


def main() -> None:
    """Take one step on eight puzzles and print what it was like."""
    lm = load_model(model_directory("toy"), ModelConfig(device="cpu"))
    optimizer = torch.optim.AdamW(lm.causal.parameters(), lr=1e-3)
    facts = one_step(lm, load_source("toy", "train").problems[:8], group_size=16, beta=2.0)
    optimizer.step()
    print("  ".join(f"{name} {value:.4f}" for name, value in facts.items()))


if __name__ == "__main__":
    main()
