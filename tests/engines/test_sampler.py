import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.engines.sampler import sample_tokens
from rsgrpo_cli.engines.types import Sampling

PLAIN = Sampling(temperature=1.0, top_p=1.0, max_tokens=1)


def draw(
    probabilities: list[float], uniforms: list[float], sampling: Sampling = PLAIN
) -> tuple[list[int], list[float]]:
    logits = torch.tensor([probabilities]).log().expand(len(uniforms), -1)
    tokens, logprobs = sample_tokens(logits, torch.tensor(uniforms, dtype=torch.float64), sampling)
    return tokens.tolist(), logprobs.exp().tolist()


def test_the_distribution_function_is_inverted() -> None:
    # Cumulative: 0.5, 0.75, 1.
    tokens, probabilities = draw([0.5, 0.25, 0.25], [0.0, 0.49, 0.51, 0.74, 0.76, 0.999999])
    assert tokens == [0, 0, 1, 1, 2, 2]
    assert probabilities == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_temperature_sharpens() -> None:
    # Squares of 0.8 and 0.2: 0.64 / 0.68 = 0.941.
    _, probabilities = draw([0.8, 0.2], [0.1], Sampling(0.5, 1.0, 1))
    assert probabilities == pytest.approx([0.64 / 0.68])


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    # 0.5 + 0.3 reach 0.7, the third token is out; probabilities are of what is left: 0.5 / 0.8.
    tokens, probabilities = draw([0.2, 0.5, 0.3], [0.0, 0.6, 0.7, 0.999], Sampling(1.0, 0.7, 1))
    assert tokens == [1, 1, 2, 2]
    assert probabilities == pytest.approx([0.625, 0.625, 0.375, 0.375])


def test_a_tiny_top_p_is_greedy() -> None:
    assert draw([0.2, 0.5, 0.3], [0.0, 0.5, 0.99], Sampling(1.0, 1e-6, 1))[0] == [1, 1, 1]


def test_frequencies_follow_the_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    uniforms = torch.rand(20_000, generator=generator, dtype=torch.float64).tolist()
    tokens, _ = draw([0.6, 0.3, 0.1], uniforms)
    shares = [tokens.count(token) / len(tokens) for token in range(3)]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.01)  # three standard errors


@given(
    logits=st.lists(st.floats(-60, 60), min_size=1, max_size=20),
    uniform=st.floats(0, 1, exclude_max=True) | st.just(1 - 2**-53),
    top_p=st.floats(0.01, 1),
)
def test_never_a_token_without_probability(logits: list[float], uniform: float, top_p: float) -> None:
    logits_BV = torch.tensor([[*logits, -torch.inf, -torch.inf]])
    tokens, logprobs = sample_tokens(logits_BV, torch.tensor([uniform], dtype=torch.float64), Sampling(1.0, top_p, 1))
    assert 0 <= tokens.item() < len(logits)
    assert -torch.inf < logprobs.item() <= 1e-6
