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
    assert surrogate(ratio, advantage) == (pytest.approx(loss), pytest.approx(gradient), low, high)


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
