from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsgrpo_cli.config import UpdateConfig, resolve
from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy import optimize
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.optimize import Sums, logprobs_and_entropies, optimizer_step
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.policy.said import Said
from rsgrpo_cli.policy.sharding import Ranks
from tests.logprobs import completion_logprobs
from tests.policy.conftest import OpenPolicy, gradient, logprobs, weights

CFG = UpdateConfig(learning_rate=1e-3, max_grad_norm=100.0)


def step(
    policy: Policy, experience: Experience, cfg: UpdateConfig, said: Said | None = None
) -> tuple[torch.Tensor, Sums]:
    """One optimizer step, and the gradient it took.

    Gradients are compared, not weights: AdamW divides a gradient by its own size, so where it is nearly zero the last
    bit of it decides the direction of the first step.
    """
    seen: list[torch.Tensor] = []

    def look(*_: object) -> None:
        seen.append(gradient(policy))

    assert policy.optimizer is not None
    policy.optimizer.register_step_pre_hook(look)
    sums = optimizer_step(policy, experience, cfg, said)
    return seen[0], sums


def test_the_size_of_a_micro_batch_changes_nothing(open_toy: OpenPolicy, experience: Experience) -> None:
    results = []
    for budget in (10_000, 64, 1):
        results.append(step(open_toy(), experience, CFG.model_copy(update={"micro_batch_tokens": budget})))
    whole, told = results[0]
    for found, sums in results[1:]:
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)
        assert sums.loss == pytest.approx(told.loss, abs=1e-6)
        assert sums.grad_norm == pytest.approx(told.grad_norm, rel=1e-5)
        assert sums.entropy == pytest.approx(told.entropy, rel=1e-5)
    assert float(whole.abs().max()) > 1e-2  # against which 1e-6 is small
    assert (told.micro_batches, results[2][1].micro_batches) == (1, 8)  # two have no gradient
    assert 1 < results[1][1].micro_batches < 8


def test_completions_without_advantage_may_be_left_out(open_toy: OpenPolicy, experience: Experience) -> None:
    short, told = step(open_toy(), experience, CFG)
    whole, of_all = step(open_toy(), replace(experience, has_penalty=True), CFG)  # which reads every group
    assert (told.tokens, of_all.tokens) == (65 - 4 - 2, 65)
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
    norm = gradient(policy).norm().item()
    assert optimizer_step(open_toy(), experience, CFG).grad_norm == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_the_entropy_bonus_is_the_mean_entropy(open_toy: OpenPolicy, experience: Experience, aggregation: str) -> None:
    # With the bonus alone, the gradient is -0.5 times that of the weighted mean entropy.
    policy = open_toy()
    total = torch.zeros(())
    for prompt, completion in zip(experience.prompts, experience.completions, strict=True):
        ids = torch.tensor([[*prompt, *completion]])
        logs = torch.log_softmax(policy.lm.causal(input_ids=ids).logits[0, len(prompt) - 1 : -1] / 0.9, dim=-1)
        weight = {"token": 1 / 65, "sequence": 1 / (10 * len(completion)), "constant": 1 / (10 * 16)}[aggregation]
        total = total - weight * (logs.exp() * logs).sum()
    (-0.5 * total).backward()
    silent = replace(experience, advantages=np.zeros(10), has_penalty=True)
    cfg = CFG.model_copy(update={"entropy_coef": 0.5, "loss_aggregation": aggregation})
    found, sums = step(open_toy(), silent, cfg)
    torch.testing.assert_close(found, gradient(policy), rtol=1e-4, atol=1e-6)
    assert sums.loss == pytest.approx(-0.5 * total.item(), rel=1e-5)


def test_an_entropy_bonus_adds_to_the_policy_gradient(open_toy: OpenPolicy, experience: Experience) -> None:
    plain, _ = step(open_toy(), experience, CFG)
    whole = replace(experience, has_penalty=True)
    alone, _ = step(open_toy(), replace(whole, advantages=np.zeros(10)), CFG.model_copy(update={"entropy_coef": 0.1}))
    both, _ = step(open_toy(), whole, CFG.model_copy(update={"entropy_coef": 0.1}))
    torch.testing.assert_close(both, plain + alone, rtol=1e-4, atol=1e-6)


def test_a_step_raises_what_was_good_and_lowers_what_was_bad(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    before = logprobs(policy, experience)
    optimizer_step(policy, experience, CFG)
    moved = logprobs(policy, experience) - before
    token_advantages = np.repeat(experience.advantages, [len(c) for c in experience.completions])
    assert float((moved.numpy() * token_advantages).sum()) > 0


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_loss_of_each_aggregation(open_toy: OpenPolicy, experience: Experience, aggregation: str) -> None:
    # At ratio 1 the loss is -sum_i w_i |y_i| A_i: token 1/65, sequence 1/(10 |y_i|), constant 1/(10 * 16).
    lengths = np.array([len(c) for c in experience.completions])
    weight = {"token": 1 / 65, "sequence": 1 / (10 * lengths), "constant": 1 / 160}[aggregation]
    expected = -(weight * lengths * experience.advantages).sum()
    sums = optimizer_step(open_toy(), experience, CFG.model_copy(update={"loss_aggregation": aggregation}))
    assert sums.loss == pytest.approx(expected, abs=1e-6)


def test_an_importance_correction_weighs_tokens(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    ours = logprobs(policy, experience).numpy()
    # A sampler that says half the trainer's probability everywhere: ratio 2, below a cap of 3.
    ends = np.cumsum([len(c) for c in experience.completions])[:-1]
    said = [part.astype(np.float32) for part in np.split(ours - np.log(2), ends)]
    changed = replace(experience, sampling_logprobs=said, correct_sampler=True)
    plain = optimizer_step(open_toy(), experience, CFG).loss
    sums = optimizer_step(open_toy(), changed, CFG.model_copy(update={"tis_cap": 3.0}))
    assert sums.loss == pytest.approx(2 * plain, rel=1e-4)
    assert sums.capped == 0
    assert sums.ratio_max == pytest.approx(2, rel=1e-3)
    assert sums.logprob_diff_max == pytest.approx(np.log(2), rel=1e-3)
    capped = optimizer_step(open_toy(), changed, CFG.model_copy(update={"tis_cap": 1.5}))
    assert capped.loss == pytest.approx(1.5 * plain, rel=1e-4)
    assert capped.capped == 59  # all but the 6 tokens of completions without an advantage


@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
def test_a_kl_penalty_holds_the_policy_near_the_base(open_toy: OpenPolicy, experience: Experience, rank: int) -> None:
    moved = []
    for coefficient in (0.0, 10.0):
        policy = open_toy(update__kl_coef=coefficient, model__lora_rank=rank)
        before = logprobs(policy, experience)
        cfg = CFG.model_copy(update={"kl_coef": coefficient, "learning_rate": 1e-2})
        sums = [optimizer_step(policy, experience, cfg) for _ in range(8)]
        moved.append((logprobs(policy, experience) - before).abs().mean().item())
        # The first step starts at the base model: no distance yet.
        assert sums[0].kl == pytest.approx(0, abs=1e-4)
        assert (sums[-1].kl > 1e-4) == (coefficient > 0)
    assert moved[1] < 0.8 * moved[0]


def test_no_gradient_at_all_leaves_the_weights_alone(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    optimizer_step(policy, experience, CFG)  # so that there is momentum
    before = weights(policy)
    assert optimizer_step(policy, replace(experience, advantages=np.zeros(10)), CFG).grad_norm == 0
    assert torch.equal(weights(policy), before)


def test_a_step_that_diverges_is_refused_and_changes_nothing(open_toy: OpenPolicy, experience: Experience) -> None:
    policy = open_toy()
    before = weights(policy)
    broken = replace(experience, advantages=np.where(np.arange(10) == 3, np.inf, experience.advantages))
    with pytest.raises(EngineError, match="diverged"):
        optimizer_step(policy, broken, CFG)
    assert torch.equal(weights(policy), before)


def test_gradient_checkpointing_and_bfloat16(open_toy: OpenPolicy, experience: Experience) -> None:
    plain, saving, rough = open_toy(), open_toy(update__gradient_checkpointing=True), open_toy(model__dtype="bfloat16")
    gradients = [step(policy, experience, CFG)[0] for policy in (plain, saving, rough)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-6)
    assert float(gradients[2].norm()) == pytest.approx(float(gradients[0].norm()), rel=0.05)
    assert not torch.equal(gradients[2], gradients[0])
    # The weights stay in float32: an update of 1e-3 x 1e-3 would vanish in bfloat16.
    assert {weight.dtype for weight in rough.trained().values()} == {torch.float32}


def test_in_float64_nothing_is_rounded_to_float32(open_toy: OpenPolicy, experience: Experience) -> None:
    """Another order of summation moves the gradient by float64's last bits, though Llama's norm asks for float32."""
    plain, saving = (open_toy(model__dtype="float64", update__gradient_checkpointing=on) for on in (False, True))
    one, other = CFG, CFG.model_copy(update={"micro_batch_tokens": 1})
    gradients = [step(policy, experience, cfg)[0] for policy, cfg in ((plain, one), (saving, other))]
    assert gradients[0].dtype == torch.float64
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-14)
    in_float32, _ = step(open_toy(), experience, CFG)
    torch.testing.assert_close(gradients[0].float(), in_float32, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("budget", [10_000, 1], ids=["one micro-batch", "one each"])
def test_completions_without_a_token_have_no_gradient(
    open_toy: OpenPolicy, experience: Experience, budget: int, dtype: str
) -> None:
    cut = [completion[: 0 if row % 3 == 0 else None] for row, completion in enumerate(experience.completions)]
    told = [np.full(len(completion), -1.0, np.float32) for completion in cut]
    some = replace(experience, completions=cut, sampling_logprobs=told)
    cfg = CFG.model_copy(update={"micro_batch_tokens": budget, "loss_aggregation": "sequence"})
    found, sums = step(open_toy(model__dtype=dtype), some, cfg)
    some = replace(some, advantages=np.where([len(ids) > 0 for ids in cut], some.advantages, 0.0))
    without, _ = step(open_toy(model__dtype=dtype), some, cfg)
    assert sums.tokens == sum(map(len, cut)) - 4 - 2  # two of them have no advantage
    torch.testing.assert_close(found, without, rtol=1e-5, atol=1e-6)
    policy = open_toy(model__dtype=dtype)
    before = weights(policy)
    none = replace(experience, completions=[cut[0]] * 10, sampling_logprobs=[told[0]] * 10)
    assert optimizer_step(policy, none, cfg).loss == 0.0
    assert [len(made) for made in completion_logprobs(policy, none, cfg)] == [0] * 10
    assert torch.equal(weights(policy), before)


def test_a_policy_that_knows_nothing_has_the_entropy_of_a_fair_die(
    open_toy: OpenPolicy, experience: Experience
) -> None:
    # Without embeddings every logit is 0: each of the V tokens has probability 1/V, so both -log p and the entropy,
    # -V x 1/V log 1/V, are log V; 3.47 nats for 32 tokens.
    policy = open_toy()
    embeddings = policy.lm.causal.get_input_embeddings().weight
    torch.nn.init.zeros_(embeddings)
    said = logprobs_and_entropies(policy, experience, CFG)
    assert [row.shape for row in said] == [
        (len(completion) if advantage else 0, 2)
        for completion, advantage in zip(experience.completions, experience.advantages, strict=True)
    ]
    together, size = np.concatenate(said), len(embeddings)
    np.testing.assert_allclose(together, np.tile([-np.log(size), np.log(size)], (len(together), 1)), rtol=1e-6)


def test_two_tokens_by_hand(open_toy: OpenPolicy) -> None:
    # Completions of one token each, advantages 1 and -2. The policy has since doubled the first token's probability
    # (ratio 2, cut to 1.28: loss -1.28, no gradient) and kept the second (ratio 1: loss 2). The sampler said half of
    # the second: weight 2, cut to 1.5. So (1 x -1.28 + 1.5 x 2) / 2 tokens = 0.86.
    ids = [np.array([9]), np.array([14])]
    prompts = [np.array([7, 8]), np.array([7, 8, 9])]
    policy = open_toy()
    empty = np.zeros(0, np.float32)
    made = Experience(prompts, ids, [empty] * 2, np.array([1.0, -2.0]), np.arange(2), np.ones(2, bool), 1.0, 1, True)
    now = [float(values[0]) for values in completion_logprobs(policy, made, CFG)]
    at_start = [now[0] - np.log(2), now[1]]
    said = [at_start[0], at_start[1] - np.log(2)]
    before, told = ([np.array([value], np.float32) for value in values] for values in (at_start, said))
    made = replace(made, policy_logprobs=before, sampling_logprobs=told)
    _, sums = step(policy, made, CFG.model_copy(update={"tis_cap": 1.5, "clip_high": 0.28}))
    assert sums.loss == pytest.approx(0.86, abs=1e-5)
    assert (sums.tokens, sums.clipped_low, sums.clipped_high, sums.capped, sums.dropped) == (2, 0, 1, 1, 0)
    assert sums.ratio_max == pytest.approx(2, rel=1e-5)
    assert sums.logprob_diff == sums.logprob_diff_max == pytest.approx(np.log(2), rel=1e-5)


@given(st.integers(1, 120), st.sampled_from(["token", "sequence", "constant"]), st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_no_micro_batch_size_changes_the_gradient(budget: int, aggregation: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, size=6)
    ids = [rng.integers(6, 27, size=length) for length in lengths]
    said = [np.where(rng.random(length) < 0.2, np.nan, -1.0).astype(np.float32) for length in lengths]
    advantages, groups = rng.normal(size=6) * (rng.random(6) < 0.7), np.arange(6) // 2
    prompts = [np.array([6, 7, 8 + row // 2]) for row in range(6)]
    made = Experience(prompts, ids, said, advantages, groups, rng.random(6) < 0.8, 1.0, 9, True)
    if not made.gradient_N.any():
        return
    policies = [
        open_policy(resolve({"update.learning_rate": 1e-3}), model_directory("toy"), None, version=0, train=True)
        for _ in range(2)
    ]
    cfg = CFG.model_copy(update={"loss_aggregation": aggregation})
    whole, told = step(policies[0], made, cfg)
    parts, of_parts = step(policies[1], made, cfg.model_copy(update={"micro_batch_tokens": budget}))
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=2e-6)
    assert of_parts.loss == pytest.approx(told.loss, abs=1e-6)
    assert (of_parts.tokens, of_parts.dropped) == (told.tokens, told.dropped)


def test_what_is_reported_comes_back_from_the_device_once(
    open_toy: OpenPolicy, experience: Experience, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, reads = open_toy(), []
    for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
        read = getattr(torch.Tensor, name)

        def counted(tensor: torch.Tensor, read: Any = read, name: str = name) -> Any:
            reads.append(name)
            return read(tensor)

        monkeypatch.setattr(torch.Tensor, name, counted)
    monkeypatch.setattr(policy.optimizer, "step", lambda: None)  # AdamW reads its own step counter, on the CPU
    cfg = CFG.model_copy(update={"micro_batch_tokens": 40})
    assert optimizer_step(policy, experience, cfg).micro_batches > 2
    assert reads.count("tolist") == 1
    assert not {"item", "__float__"} & set(reads)


def test_ranks_say_that_one_process_can_add_up_in_any_order(
    open_toy: OpenPolicy, experience: Experience, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but you set")

    monkeypatch.setattr(optimize, "_gradient", refused)
    policy, ranks = open_toy(), SimpleNamespace(world=2)
    policy.ranks = cast(Ranks, ranks)
    with pytest.raises(EngineError, match="no fixed order") as failed:
        optimizer_step(policy, experience, CFG)
    assert failed.value.hint == "update in one process: --ranks 1"


def test_a_model_that_cannot_be_added_up_in_order_is_in_any(
    open_toy: OpenPolicy, experience: Experience, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = CFG.model_copy(update={"micro_batch_tokens": 64})
    said, told = Said(), Said()
    expected, sums = step(open_toy(), experience, cfg, said)
    tried = []

    @contextmanager
    def in_one_order(_: str) -> Iterator[None]:
        tried.append(True)
        with monkeypatch.context() as patched:
            calls = count()

            def made(*given: Any, **more: Any) -> Any:
                if next(calls) == 1:
                    raise RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but you set")
                return token_logprobs(*given, **more)

            patched.setattr(optimize, "token_logprobs", made)
            yield

    monkeypatch.setattr(optimize, "in_one_order", in_one_order)
    policy = open_toy()
    found, again = step(policy, experience, cfg, told)
    assert torch.equal(found, expected)
    assert again == sums
    for one, other in zip(told.of(experience, None), said.of(experience, None), strict=True):
        np.testing.assert_array_equal(one, other)
    step(policy, experience, cfg)
    assert len(tried) == 1  # from then on it is known
