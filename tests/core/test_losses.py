import math

import pytest
import torch

from rsgrpo_cli.core.losses import clipped_surrogate, kl_penalty, token_weights, truncated_importance_ratio


def surrogate(ratio: float, advantage: float) -> tuple[float, float, bool, bool]:
    """Loss, its gradient with respect to the log-probability, and which bound took effect."""
    logprob = torch.tensor([math.log(ratio)], requires_grad=True)
    loss, low, high = clipped_surrogate(
        logprob, torch.zeros(1), torch.tensor([advantage]), clip_low=0.2, clip_high=0.28
    )
    loss.sum().backward()
    assert logprob.grad is not None
    return loss.item(), logprob.grad.item(), bool(low), bool(high)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "low", "high"),
    [
        (1.0, 2.0, -2.0, -2.0, False, False),  # the policy gradient: -A
        (1.2, 1.0, -1.2, -1.2, False, False),  # within bounds: -ratio A
        (1.5, 1.0, -1.28, 0.0, False, True),  # a right answer is not pushed above 1.28
        (0.5, -1.0, 0.8, 0.0, True, False),  # a wrong one not below 0.8
        (0.5, 1.0, -0.5, -0.5, False, False),  # but what moved the wrong way is followed without bound
        (1.5, -1.0, 1.5, 1.5, False, False),
    ],
)
def test_clipped_surrogate(ratio: float, advantage: float, loss: float, gradient: float, low: bool, high: bool) -> None:
    *numbers, is_low, is_high = surrogate(ratio, advantage)
    assert numbers == pytest.approx([loss, gradient])
    assert (is_low, is_high) == (low, high)


def test_truncated_importance_ratio() -> None:
    ours, theirs = torch.log(torch.tensor([0.5, 0.5, 0.9])), torch.log(torch.tensor([0.5, 0.1, 1.0]))
    weights, raw = truncated_importance_ratio(ours.requires_grad_(), theirs, cap=2.0)
    assert weights.tolist() == pytest.approx([1.0, 2.0, 0.9])  # 5 is cut to 2, below 1 is left alone
    assert raw.tolist() == pytest.approx([1.0, 5.0, 0.9])
    assert not weights.requires_grad


def test_k3_is_zero_where_the_policies_agree_and_never_negative() -> None:
    ours = torch.log(torch.tensor([0.5, 0.5, 0.25]))
    reference = torch.log(torch.tensor([0.5, 0.25, 0.5]))
    # exp(d) - d - 1 with d = log(0.5) and log(2): 0.5 + 0.693 - 1, 2 - 0.693 - 1.
    assert kl_penalty(ours, reference, estimator="k3").tolist() == pytest.approx([0.0, 0.1931, 0.3069], abs=1e-4)


def test_kl_estimates_by_hand() -> None:
    # d = log(1/2): k1 = 0.6931, k2 = 0.6931^2 / 2 = 0.2402, k3 = 0.5 + 0.6931 - 1 = 0.1931.
    ours, reference = torch.log(torch.tensor([0.5])), torch.log(torch.tensor([0.25]))
    values = [kl_penalty(ours, reference, estimator=name).item() for name in ("k1", "k2", "k3")]
    assert values == pytest.approx([0.6931, 0.2402, 0.1931], abs=1e-4)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_what_a_kl_estimate_pulls_towards(estimator: str) -> None:
    # Three tokens; what the loss does on average over tokens drawn from the policy, against the gradient of a true KL.
    logits = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([1.0, 0.1, -0.7], dtype=torch.float64), dim=0)

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, logits)[0]

    policy = torch.log_softmax(logits, dim=0)
    drawn = policy.exp().detach()  # how often each token is sampled; sampling has no gradient
    found = gradient((drawn * kl_penalty(policy, reference, estimator=estimator)).sum())  # type: ignore[arg-type]
    policy = torch.log_softmax(logits, dim=0)
    expected = {
        "k1": torch.zeros(3, dtype=torch.float64),
        "k2": gradient((policy.exp() * (policy - reference)).sum()),  # KL(policy || reference)
        "k3": gradient((reference.exp() * (reference - torch.log_softmax(logits, dim=0))).sum()),  # the other way round
    }[estimator]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_token_weights() -> None:
    # Two completions of 1 and 3 tokens in a step of 8 tokens and 4 completions, up to 10 tokens each.
    lengths = torch.tensor([1, 3])

    def weights(aggregation: str) -> list[float]:
        return token_weights(
            lengths,
            aggregation=aggregation,  # type: ignore[arg-type]
            tokens=8,
            completions=4,
            max_tokens=10,
        ).tolist()

    assert weights("token") == pytest.approx([1 / 8] * 4)
    assert weights("sequence") == pytest.approx([1 / 4, 1 / 12, 1 / 12, 1 / 12])
    assert weights("constant") == pytest.approx([1 / 40] * 4)


@pytest.mark.parametrize("apart", [21.0, 200.0, math.inf])
def test_log_probabilities_far_apart_give_finite_losses(apart: float) -> None:
    # exp(200) is infinite in float32, and an infinite ratio times an advantage of 0 is not a number.
    ours, advantages = torch.zeros(3, requires_grad=True), torch.tensor([0.0, 1.0, -1.0])
    far = torch.full((3,), -apart)
    loss, _, _ = clipped_surrogate(ours, far, advantages, clip_low=0.2, clip_high=0.28)
    assert loss.tolist() == pytest.approx([0.0, -1.28, math.exp(20)])
    weights, raw = truncated_importance_ratio(ours.detach(), far, cap=2.0)
    assert weights.tolist() == [2.0] * 3
    assert raw.tolist() == pytest.approx([math.exp(20)] * 3)
    penalty = kl_penalty(ours, -far, estimator="k3")
    assert penalty.tolist() == pytest.approx([math.exp(20) - 21] * 3)
    (loss + penalty).sum().backward()
    assert ours.grad is not None
    assert ours.grad.tolist() == [0.0, 0.0, 0.0]  # nothing is followed that far
