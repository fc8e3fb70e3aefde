from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.policy import logprobs
from rsgrpo_cli.policy.batches import assemble
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.soundness import check_trainable
from tests.policy.conftest import OpenPolicy, gradient


def test_they_are_the_log_softmax_of_the_logits(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    batch = assemble(experience.prompts, experience.completions, range(10), policy.lm.device)
    found, entropy = token_logprobs(policy.lm, batch, temperature=0.9)
    expected, entropies = [], []
    for prompt, completion in zip(experience.prompts, experience.completions, strict=True):
        ids = torch.tensor([[*prompt, *completion]])
        distribution = torch.log_softmax(policy.lm.causal(input_ids=ids).logits[0] / 0.9, dim=-1)
        for position, token in enumerate(completion):
            row = distribution[len(prompt) + position - 1]
            expected.append(row[token].item())
            entropies.append(-(row.exp() * row).sum().item())
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert entropy.tolist() == pytest.approx(entropies, abs=1e-5)
    assert found.requires_grad
    assert not entropy.requires_grad


def test_an_entropy_with_a_gradient_has_that_of_its_definition(
    open_toy: OpenPolicy, experience: Experience, monkeypatch: pytest.MonkeyPatch
) -> None:
    # -sum p log p through the model's own logits, against the head's log Z - E[logit], whole and in chunks.
    policy = open_toy()
    weight = torch.linspace(-1, 1, experience.tokens)
    definition = []
    for prompt, completion in zip(experience.prompts, experience.completions, strict=True):
        ids = torch.tensor([[*prompt, *completion]])
        logits = policy.lm.causal(input_ids=ids).logits[0, len(prompt) - 1 : -1] / 0.9
        logs = torch.log_softmax(logits, dim=-1)
        definition.append(-(logs.exp() * logs).sum(dim=-1))
    (torch.cat(definition) * weight).sum().backward()
    expected = gradient(policy)
    batch = assemble(experience.prompts, experience.completions, range(10), policy.lm.device)
    for chunk in (logprobs.CHUNK_LOGITS, 27 * 7):
        monkeypatch.setattr(logprobs, "CHUNK_LOGITS", chunk)
        policy.lm.causal.zero_grad()
        _, entropy = token_logprobs(policy.lm, batch, temperature=0.9, entropy_gradient=True)
        torch.testing.assert_close(entropy, torch.cat(definition), rtol=1e-5, atol=1e-5)
        (entropy * weight).sum().backward()
        torch.testing.assert_close(gradient(policy), expected, rtol=1e-4, atol=1e-5)
    assert float(expected.abs().max()) > 1e-2  # against which 1e-5 is small


def test_chunks_change_neither_values_nor_gradients(
    open_toy: OpenPolicy, experience: Experience, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = open_toy()
    batch = assemble(experience.prompts, experience.completions, range(10), policy.lm.device)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        policy.lm.causal.zero_grad()
        values, _ = token_logprobs(policy.lm, batch, temperature=0.9)
        (values * torch.linspace(-1, 1, len(values))).sum().backward()
        return values.detach(), gradient(policy)

    whole = run()
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 27 * 7)  # seven tokens a chunk
    chunked = run()
    # Not bit for bit: how a matrix product is summed depends on its size and on the processor.
    torch.testing.assert_close(whole[0], chunked[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(whole[1], chunked[1], rtol=1e-5, atol=1e-5)


def test_an_architecture_that_changes_its_logits_is_refused(
    open_toy: OpenPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = open_toy()
    check_trainable(policy.lm)
    forward = policy.lm.causal.forward

    def shifted(*arguments: object, **named: object) -> object:
        output = forward(*arguments, **named)
        output.logits = output.logits * 1.5
        return output

    monkeypatch.setattr(policy.lm.causal, "forward", shifted)
    with pytest.raises(EngineError, match="changes its logits"):
        check_trainable(policy.lm)


class Backward(torch.autograd.Function):
    """Passes its input on; its backward pass cannot be compiled."""

    @staticmethod
    def forward(_: Any, states: torch.Tensor) -> torch.Tensor:
        return states.clone()

    @staticmethod
    def backward(_: Any, *__: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no kernel for this\nand where")


def test_a_backward_pass_that_cannot_be_compiled_is_a_clear_error(
    open_toy: OpenPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(body: Callable[..., Any], **_: bool) -> Callable[..., Any]:
        through: Any = Backward.apply
        return lambda **given: SimpleNamespace(last_hidden_state=through(body(**given).last_hidden_state))

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(EngineError) as failed:
        open_toy(model__compile=True)
    assert failed.value.message == "torch.compile failed: no kernel for this"


def test_trying_out_what_was_compiled_leaves_no_gradient(open_toy: OpenPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda body, **_: body)
    policy = open_toy(model__compile=True, update__gradient_checkpointing=True)
    assert all(weight.grad is None for weight in policy.trained().values())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_compiled_model_says_the_same(open_toy: OpenPolicy, experience: Experience) -> None:
    batch = assemble(experience.prompts, experience.completions, range(10), torch.device("cpu"))
    results = []
    for compiled in (False, True):
        policy = open_toy(model__compile=compiled)
        values, _ = token_logprobs(policy.lm, batch, temperature=0.9)
        (values * torch.linspace(-1, 1, len(values))).sum().backward()
        results.append((values.detach(), gradient(policy)))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-3, atol=1e-3)
