from dataclasses import replace

import numpy as np
import pytest
import torch

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.policy.optimize import Experience, Sums, old_logprobs, optimizer_step
from rsgrpo_cli.policy.policy import Policy
from tests.policy.conftest import OpenPolicy, logprobs, weights

CFG = UpdateConfig(learning_rate=1e-3, max_grad_norm=100.0)
ALL = list(range(10))


def step(policy: Policy, experience: Experience, rows: list[int], cfg: UpdateConfig) -> tuple[torch.Tensor, Sums]:
    """One optimizer step, and the gradient it took.

    Gradients are compared, not weights: AdamW divides a gradient by its own size, so where it is nearly zero the last
    bit of it decides the direction of the first step.
    """
    seen: list[torch.Tensor] = []

    def look(*_: object) -> None:
        seen.append(torch.cat([weight.grad.flatten() for weight in policy.trained().values()]))

    policy.optimizer.register_step_pre_hook(look)
    sums = optimizer_step(policy, experience, rows, cfg)
    return seen[0], sums


def test_the_size_of_a_micro_batch_changes_nothing(open_toy: OpenPolicy, experience: Experience) -> None:
    results = []
    for budget in (10_000, 64, 1):
        results.append(step(open_toy(), experience, ALL, CFG.model_copy(update={"micro_batch_tokens": budget})))
    whole, told = results[0]
    for gradient, sums in results[1:]:
        torch.testing.assert_close(gradient, whole, rtol=0, atol=1e-6)
        assert sums.loss == pytest.approx(told.loss, abs=1e-6)
        assert sums.grad_norm == pytest.approx(told.grad_norm, rel=1e-5)
        assert sums.entropy == pytest.approx(told.entropy, rel=1e-5)
    assert float(whole.abs().max()) > 1e-2  # against which 1e-6 is small
    assert (told.micro_batches, results[2][1].micro_batches) == (1, 10)
    assert 1 < results[1][1].micro_batches < 10


def test_completions_without_advantage_may_be_left_out(open_toy: OpenPolicy, experience: Experience) -> None:
    whole, _ = step(open_toy(), experience, ALL, CFG)
    short, _ = step(open_toy(), experience, [row for row in ALL if experience.advantages[row]], CFG)
    torch.testing.assert_close(short, whole, rtol=0, atol=1e-6)


def test_the_gradient_is_the_policy_gradient(open_toy: OpenPolicy, experience: Experience) -> None:
    # Written out: the gradient of -(1/tokens) sum_t A log pi(t), through the model's own logits.
    policy = open_toy()
    total = torch.zeros(())
    for prompt, completion, advantage in zip(
        experience.prompts, experience.completions, experience.advantages, strict=True
    ):
        ids = torch.tensor([[*prompt, *completion]])
        logits = policy.lm.causal(input_ids=ids).logits[0, len(prompt) - 1 : -1] / experience.temperature
        chosen = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(completion)[:, None])
        total = total - advantage * chosen.sum()
    total = total / sum(map(len, experience.completions))
    total.backward()
    norm = torch.cat([weight.grad.flatten() for weight in policy.trained().values()]).norm().item()
    assert optimizer_step(open_toy(), experience, ALL, CFG).grad_norm == pytest.approx(norm, rel=1e-4)


def test_a_step_raises_what_was_good_and_lowers_what_was_bad(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    before = logprobs(policy, experience)
    optimizer_step(policy, experience, ALL, CFG)
    moved = logprobs(policy, experience) - before
    token_advantages = np.repeat(experience.advantages, [len(c) for c in experience.completions])
    assert float((moved.numpy() * token_advantages).sum()) > 0


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_loss_of_each_aggregation(open_toy: OpenPolicy, experience: Experience, aggregation: str) -> None:
    # At ratio 1 the loss is -sum_i w_i |y_i| A_i: token 1/65, sequence 1/(10 |y_i|), constant 1/(10 * 16).
    lengths = np.array([len(c) for c in experience.completions])
    weight = {"token": 1 / 65, "sequence": 1 / (10 * lengths), "constant": 1 / 160}[aggregation]
    expected = -(weight * lengths * experience.advantages).sum()
    sums = optimizer_step(open_toy(), experience, ALL, CFG.model_copy(update={"loss_aggregation": aggregation}))
    assert sums.loss == pytest.approx(expected, abs=1e-6)


def test_an_importance_correction_weighs_tokens(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    ours = logprobs(policy, experience).numpy()
    # A sampler that says half the trainer's probability everywhere: ratio 2, below a cap of 3.
    ends = np.cumsum([len(c) for c in experience.completions])[:-1]
    said = [part.astype(np.float32) for part in np.split(ours - np.log(2), ends)]
    changed = replace(experience, sampling_logprobs=said, correct_sampler=True)
    plain = optimizer_step(open_toy(), experience, ALL, CFG).loss
    sums = optimizer_step(open_toy(), changed, ALL, CFG.model_copy(update={"tis_cap": 3.0}))
    assert sums.loss == pytest.approx(2 * plain, rel=1e-4)
    assert (sums.capped, sums.ratio_max) == (0, pytest.approx(2, rel=1e-3))
    assert sums.logprob_diff_max == pytest.approx(np.log(2), rel=1e-3)
    capped = optimizer_step(open_toy(), changed, ALL, CFG.model_copy(update={"tis_cap": 1.5}))
    assert capped.loss == pytest.approx(1.5 * plain, rel=1e-4)
    assert capped.capped == 65


@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
def test_a_kl_penalty_holds_the_policy_near_the_base(open_toy: OpenPolicy, experience: Experience, rank: int) -> None:
    moved = []
    for coefficient in (0.0, 10.0):
        policy = open_toy(update__kl_coef=coefficient, model__lora_rank=rank)
        before = logprobs(policy, experience)
        cfg = CFG.model_copy(update={"kl_coef": coefficient, "learning_rate": 1e-2})
        sums = [optimizer_step(policy, experience, ALL, cfg) for _ in range(8)]
        moved.append((logprobs(policy, experience) - before).abs().mean().item())
        # The first step starts at the base model: no distance yet.
        assert sums[0].kl == pytest.approx(0, abs=1e-4)
        assert (sums[-1].kl > 1e-4) == (coefficient > 0)
    assert moved[1] < 0.8 * moved[0]


def test_no_gradient_at_all_leaves_the_weights_alone(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    optimizer_step(policy, experience, ALL, CFG)  # so that there is momentum
    before = weights(policy)
    assert optimizer_step(policy, experience, [], CFG).grad_norm == 0
    assert torch.equal(weights(policy), before)


def test_a_step_that_diverges_is_refused_and_changes_nothing(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    before = weights(policy)
    broken = replace(experience, advantages=np.where(np.arange(10) == 3, np.inf, experience.advantages))
    with pytest.raises(EngineError, match="diverged"):
        optimizer_step(policy, broken, ALL, CFG)
    assert torch.equal(weights(policy), before)


def test_gradient_checkpointing_and_bfloat16(open_toy: OpenPolicy, experience: Experience) -> None:
    plain, saving, rough = open_toy(), open_toy(update__gradient_checkpointing=True), open_toy(model__dtype="bfloat16")
    gradients = [step(policy, experience, ALL, CFG)[0] for policy in (plain, saving, rough)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-6)
    assert float(gradients[2].norm()) == pytest.approx(float(gradients[0].norm()), rel=0.05)
    assert not torch.equal(gradients[2], gradients[0])
    # The weights stay in float32: an update of 1e-3 x 1e-3 would vanish in bfloat16.
    assert {weight.dtype for weight in rough.trained().values()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("budget", [10_000, 1], ids=["one micro-batch", "one each"])
def test_completions_without_a_token_have_no_gradient(
    open_toy: OpenPolicy, experience: Experience, budget: int, dtype: str
) -> None:
    cut = [completion[: 0 if row % 3 == 0 else None] for row, completion in enumerate(experience.completions)]
    told = [np.full(len(completion), -1.0, np.float32) for completion in cut]
    some = replace(experience, completions=cut, sampling_logprobs=told)
    cfg = CFG.model_copy(update={"micro_batch_tokens": budget, "loss_aggregation": "sequence"})
    gradient, sums = step(open_toy(model__dtype=dtype), some, ALL, cfg)
    without, _ = step(open_toy(model__dtype=dtype), some, [row for row in ALL if row % 3], cfg)
    assert sums.tokens == sum(map(len, cut))
    torch.testing.assert_close(gradient, without, rtol=1e-5, atol=1e-6)
    policy = open_toy(model__dtype=dtype)
    before = weights(policy)
    none = replace(experience, completions=[cut[0]] * 10, sampling_logprobs=[told[0]] * 10)
    assert optimizer_step(policy, none, ALL, cfg).loss == 0.0
    assert [len(made) for made in old_logprobs(policy, none, ALL, cfg)] == [0] * 10
    assert torch.equal(weights(policy), before)
