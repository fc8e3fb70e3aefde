"""The policy-gradient loss in torch: clipped surrogate, KL penalty, importance ratios, and how tokens are weighed.

Every function works on the completion tokens of a micro-batch, laid end to end. Shape suffixes: N tokens, B
completions.
"""

from __future__ import annotations

from typing import Literal

import torch

MAX_LOG_RATIO = 20.0
"""Log-probabilities further apart than this are read as this far apart before `exp`.

float32 overflows at exp(88.7), and an infinite ratio times a zero is not a number, which would end the run. exp(20) is
4.9e8: no clip range, cap or honest change of a policy comes near it, and times any advantage it is finite. Beyond it
the clamp has no gradient, so such a token moves nothing.
"""

Aggregation = Literal["token", "sequence", "constant"]
KlEstimator = Literal["k1", "k2", "k3"]


def clipped_surrogate(
    logprobs_N: torch.Tensor,
    policy_logprobs_N: torch.Tensor,
    advantages_N: torch.Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token-level clipped surrogate loss.

        L_t = -min(rho_t A_t, clip(rho_t, 1 - clip_low, 1 + clip_high) A_t),   rho_t = exp(logp_t - policy_logp_t)

    See "Proximal Policy Optimization Algorithms" by Schulman et al. (https://arxiv.org/abs/1707.06347), and for a
    higher upper bound "DAPO" by Yu et al. (https://arxiv.org/abs/2503.14476).

    Args:
        logprobs_N: Log-probabilities under the policy being updated, with gradient.
        policy_logprobs_N: Under the policy at the start of the update, without: PPO's old log-probabilities. Where the
            update has one optimizer step they are `logprobs_N.detach()`: the ratio is 1 and its gradient is the policy
            gradient.
        advantages_N: Advantage of the completion that each token belongs to.
        clip_low: The ratio is not followed below 1 - clip_low.
        clip_high: Nor above 1 + clip_high.

    Returns:
        The loss per token, and whether the lower and the upper bound took effect, as booleans.
    """
    ratio_N = _ratio(logprobs_N, policy_logprobs_N)
    bounded_N = ratio_N.clamp(1 - clip_low, 1 + clip_high)
    loss_N = -torch.minimum(ratio_N * advantages_N, bounded_N * advantages_N)
    low_N = (ratio_N < 1 - clip_low) & (advantages_N < 0)
    high_N = (ratio_N > 1 + clip_high) & (advantages_N > 0)
    return loss_N, low_N, high_N


def truncated_importance_ratio(
    policy_logprobs_N: torch.Tensor, sampling_logprobs_N: torch.Tensor, *, cap: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Correction for a sampler whose probabilities differ from the trainer's, one weight per token.

        w_t = min(pi_trainer(t) / pi_sampler(t), cap)

    See "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training" by Yao et al.
    (https://fengyao.notion.site/off-policy-rl).

    Args:
        policy_logprobs_N: What the trainer says at the start of the update.
        sampling_logprobs_N: What the sampler said, finite.
        cap: Upper bound, > 0.

    Returns:
        The weights without gradient, and the ratios before the cap.
    """
    ratio_N = _ratio(policy_logprobs_N, sampling_logprobs_N).detach()
    return ratio_N.clamp(max=cap), ratio_N


def kl_penalty(logprobs_N: torch.Tensor, ref_logprobs_N: torch.Tensor, *, estimator: KlEstimator) -> torch.Tensor:
    """An estimate of KL(policy || reference) from sampled tokens, one number per token, to be added to the loss.

        k1 = -d      k2 = d^2 / 2      k3 = exp(d) - d - 1,      d = ref_logp - logp

    See "Approximating KL Divergence" by Schulman (http://joschu.net/blog/kl-approx.html). A good estimate of the value
    is not a good loss: what trains is the gradient, and over tokens sampled from the policy it is on average

        k1:  E[grad logp] = 0, so as a loss it holds nothing near the reference and adds noise;
        k2:  E[-d grad logp], exactly the gradient of KL(policy || reference);
        k3:  E[(1 - exp(d)) grad logp], the gradient of KL(reference || policy). Near the reference the two agree, for
             1 - exp(d) is -d to first order; far from it k3 pulls harder where the policy has dropped what the
             reference does, up to d = MAX_LOG_RATIO, and at most by 1 where it does what the reference would not.

    As a value k1 is unbiased and may be negative, k2 is biased, k3 is unbiased and never negative. After the first
    optimizer step of an update the tokens are an older policy's, and none of this holds exactly any more.

    Args:
        logprobs_N: Log-probabilities under the policy being updated, with gradient.
        ref_logprobs_N: Under the reference, without.
        estimator: Which of the three.
    """
    difference_N = ref_logprobs_N - logprobs_N
    if estimator == "k1":
        return -difference_N
    if estimator == "k2":
        return difference_N.square() / 2
    # Clamped in both places: were only the exponential, -d alone would pull the wrong way.
    difference_N = difference_N.clamp(max=MAX_LOG_RATIO)
    return torch.exp(difference_N) - difference_N - 1


def _ratio(logprobs_N: torch.Tensor, others_N: torch.Tensor) -> torch.Tensor:
    """Probability over probability."""
    return torch.exp((logprobs_N - others_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO))


def token_weights(
    lengths_B: torch.Tensor, *, aggregation: Aggregation, tokens: int, completions: int, max_tokens: int
) -> torch.Tensor:
    """The weight of each token in the loss of an optimizer step; the loss is the weighted sum over its tokens.

    The totals are those of the whole optimizer step, completions without gradient included, so that neither the size of
    a micro-batch nor leaving such completions out changes the result.

        token:     1 / tokens                              all tokens equal (DAPO, TRL "dapo")
        sequence:  1 / (completions * own length)          all completions equal (GRPO, TRL "grpo")
        constant:  1 / (completions * max_tokens)          no length bias (Dr. GRPO, TRL "dr_grpo")

    Args:
        lengths_B: Tokens of each completion of the micro-batch, shape (B,).
        aggregation: Which of the three.
        tokens: Completion tokens of the optimizer step.
        completions: Completions of the optimizer step.
        max_tokens: The longest a completion may be.

    Returns:
        Shape (N,), N = sum of lengths_B.
    """
    if aggregation == "token":
        weights_B = torch.full_like(lengths_B, 1 / tokens, dtype=torch.float32)
    elif aggregation == "sequence":
        weights_B = 1 / (completions * lengths_B.float())
    else:
        weights_B = torch.full_like(lengths_B, 1 / (completions * max_tokens), dtype=torch.float32)
    return weights_B.repeat_interleave(lengths_B)
