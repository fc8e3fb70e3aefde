"""Our loss and gradient against those of a trainer that nobody here wrote: the same tokens, rewards and weights.

The completions are the bundled model's own. TRL gets them through its `rollout_func`, and old log-probabilities,
importance ratios and advantages are its own work. Then both policies move alike, so that ratios differ from 1 and
clipping acts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("trl")

from rsgrpo_cli.config import RunConfig, resolve
from rsgrpo_cli.core.advantages import rs_grpo
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.integrations.trl import RSGRPOConfig, RSGRPOTrainer
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import Sums, optimizer_step
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.tasks.sources import load_source
from tests.integrations.trl.conftest import GROUP, MakeTrainer, countdown
from tests.logprobs import completion_logprobs

pytestmark = pytest.mark.trl

PROMPTS, TEMPERATURE, MAX_TOKENS = 16, 0.9, 12
ROWS = PROMPTS * GROUP
FAR = 0.01
"""How far the policy moves, in units of a weight."""
KL = 0.003
"""With this coefficient the penalty's gradient is about as large as the policy's."""
ALL = list(range(ROWS))
AGGREGATIONS = {"dapo": "token", "grpo": "sequence", "dr_grpo": "constant"}
Gradient = dict[str, torch.Tensor]


@dataclass
class Rollouts:
    """What both sides learn from, one entry a completion, in groups."""

    examples: list[dict[str, Any]]
    prompts: list[list[int]]
    completions: list[list[int]]
    sampling_logprobs: list[list[float]]
    texts: list[str]

    def for_trl(self, *_: Any) -> dict[str, Any]:
        """As TRL's `rollout_func` returns them."""
        return {
            "prompt_ids": self.prompts,
            "completion_ids": self.completions,
            "logprobs": self.sampling_logprobs,
        }

    def experience(self) -> Experience:
        """As our update takes them."""
        chats = [[{"content": text}] for text in self.texts]
        rewards = countdown(chats, [example["ground_truth"] for example in self.examples])
        return Experience(
            prompts=[np.array(ids) for ids in self.prompts],
            completions=[np.array(ids) for ids in self.completions],
            sampling_logprobs=[np.array(values, np.float32) for values in self.sampling_logprobs],
            advantages=rs_grpo(np.array(rewards).reshape(-1, GROUP), beta=2.0).reshape(-1),
            group_N=np.arange(ROWS) // GROUP,
            counted_N=np.ones(ROWS, dtype=bool),
            temperature=TEMPERATURE,
            max_tokens=MAX_TOKENS,
            correct_sampler=True,
        )


@pytest.fixture(scope="module")
def rollouts() -> Rollouts:
    """Sampled from the bundled model; the sampler's log-probabilities are disturbed, as those of another engine."""
    policy = toy_policy()
    engine = HfEngine(policy.lm)
    problems = load_source("toy", "train").problems[50 : 50 + PROMPTS]
    chats = [[{"role": "user", "content": str(problem.text)}] for problem in problems]
    prompts = [engine.encode(chat) for chat in chats]
    seeds = [[row * GROUP + sample for sample in range(GROUP)] for row in range(PROMPTS)]
    made = list(chain(*engine.generate(prompts, seeds, Sampling(TEMPERATURE, 1.0, MAX_TOKENS))))
    rng = np.random.default_rng(0)
    return Rollouts(
        [{"prompt": chats[row // GROUP], "ground_truth": problems[row // GROUP].answer} for row in ALL],
        [prompts[row // GROUP] for row in ALL],
        [one.token_ids for one in made],
        [(np.array(one.logprobs) + rng.normal(0, 0.5, len(one.logprobs))).tolist() for one in made],
        [engine.decode(one.token_ids) for one in made],
    )


def toy_policy(**overrides: Any) -> Policy:
    """The bundled model, opened for training; the gradient is not clipped, so that it can be compared."""
    config = config_of(**overrides)
    return open_policy(config, model_directory("toy"), None, version=0, train=True)


def config_of(**overrides: Any) -> RunConfig:
    settings = {"update.max_grad_norm": 1e9, "update.learning_rate": 1e-3, "update.micro_batch_tokens": 200}
    return resolve(settings | {f"update.{name}": value for name, value in overrides.items()})


def move(model: Any, size: float) -> None:
    """Change the weights as some steps of training might; the same change for every model of this architecture."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            weight.add_(torch.randn(weight.shape, generator=generator) * size)


@dataclass
class Theirs:
    """A TRL trainer with our rollouts, and what it made of them."""

    trainer: Any
    inputs: dict[str, Any]

    def gradient(self, parts: int = 1) -> tuple[float, Gradient]:
        """Loss and gradient, accumulated over micro-batches of equal size."""
        trainer = self.trainer
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = parts
        loss = 0.0
        for part in range(parts):
            part_loss = trainer._compute_loss(trainer.model, self._part(part, parts))
            part_loss.backward()
            loss += part_loss.item()
        return loss, {name: weight.grad for name, weight in trainer.model.named_parameters()}

    def _part(self, part: int, parts: int) -> dict[str, Any]:
        rows = slice(part * ROWS // parts, (part + 1) * ROWS // parts)
        return {name: value[rows] if value.dim() else value for name, value in self.inputs.items()}

    def metric(self, name: str) -> float:
        """The newest value of a metric that is a mean over tokens."""
        return float(self.trainer._metrics["train"][name][-1])


MakeTheirs = Callable[..., Theirs]


@pytest.fixture
def theirs(make_trainer: MakeTrainer, rollouts: Rollouts) -> MakeTheirs:
    """Makes TRL's side: `before` is how far the policy has moved from the base model when it meets the rollouts."""

    def make(before: float = 0.0, **settings: Any) -> Theirs:
        defaults = {
            "rs_beta": 2.0,
            "temperature": TEMPERATURE,
            "max_completion_length": MAX_TOKENS,
            "epsilon_high": 0.28,
            "vllm_importance_sampling_mode": "token_truncate",
            "vllm_importance_sampling_clip_max": 2.0,
            "use_bias_correction_kl": False,
        }
        trainer = make_trainer(RSGRPOTrainer, RSGRPOConfig, **defaults | settings)
        # From here on as with a real vLLM, whose weights are current.
        trainer.use_vllm, trainer._last_loaded_step, trainer.rollout_func = True, 0, rollouts.for_trl
        trainer.model.train()
        move(trainer.model, before)
        return Theirs(trainer, trainer._generate_and_score_completions(rollouts.examples))

    return make


def ours(policy: Policy, experience: Experience, **settings: Any) -> tuple[Sums, Gradient]:
    """Loss and gradient of one optimizer step."""
    gradient: Gradient = {}

    def look(*_: object) -> None:
        gradient.update({name: w.grad.clone() for name, w in policy.trained().items() if w.grad is not None})

    assert policy.optimizer is not None
    handle = policy.optimizer.register_step_pre_hook(look)
    sums = optimizer_step(policy, experience, config_of(**settings).update)
    handle.remove()
    return sums, gradient


def assert_same_gradient(found: Gradient, expected: Gradient) -> None:
    assert found.keys() == expected.keys()
    whole = torch.cat([value.flatten() for value in expected.values()])
    assert float(whole.norm()) > 1e-3
    for name, value in expected.items():
        # Where a gradient nearly vanishes only rounding is left of it: hence the share of the largest one.
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * float(whole.abs().max()), msg=name)


def test_the_rollouts_are_worth_a_test(rollouts: Rollouts) -> None:
    experience = rollouts.experience()
    lengths = [len(ids) for ids in rollouts.completions]
    assert len(set(lengths)) > 1
    assert len({len(ids) for ids in rollouts.prompts}) > 1
    assert (experience.advantages.reshape(-1, GROUP) == 0).all(axis=1).any()
    assert (experience.advantages.reshape(-1, GROUP) != 0).all(axis=1).any()


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("loss_type", AGGREGATIONS)
def test_first_step_of_a_rollout(theirs: MakeTheirs, rollouts: Rollouts, loss_type: str, parts: int) -> None:
    their = theirs(loss_type=loss_type, vllm_importance_sampling_correction=False)
    expected, gradient = their.gradient(parts)
    experience = replace(rollouts.experience(), correct_sampler=False)
    sums, found = ours(toy_policy(), experience, loss_aggregation=AGGREGATIONS[loss_type])
    assert sums.micro_batches > 1
    # Minus the mean advantage, weighted by length: 0 but for rounding where every completion counts alike.
    assert sums.loss == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert_same_gradient(found, gradient)


@pytest.mark.parametrize("loss_type", AGGREGATIONS)
def test_clipping_importance_ratios_and_kl(theirs: MakeTheirs, rollouts: Rollouts, loss_type: str) -> None:
    their = theirs(loss_type=loss_type, beta=KL)
    move(their.trainer.model, FAR)
    expected, gradient = their.gradient()
    settings = {"loss_aggregation": AGGREGATIONS[loss_type], "kl_coef": KL, "kl_estimator": "k3"}
    policy = toy_policy(**settings)
    experience = replace(rollouts.experience(), has_penalty=True)
    experience = replace(experience, policy_logprobs=completion_logprobs(policy, experience, config_of().update))
    move(policy.lm.causal, FAR)
    sums, found = ours(policy, experience, **settings)
    assert sums.loss == pytest.approx(expected, rel=1e-4)
    assert_same_gradient(found, gradient)
    # What makes this a test: clipping at both ends, capped ratios, a distance from the reference.
    assert sums.clipped_low / sums.tokens == pytest.approx(their.metric("clip_ratio/low_mean"), rel=1e-4)
    assert sums.clipped_high / sums.tokens == pytest.approx(their.metric("clip_ratio/high_mean"), rel=1e-4)
    assert sums.entropy / sums.tokens == pytest.approx(their.metric("entropy"), rel=1e-4)
    assert sums.kl / sums.tokens == pytest.approx(their.metric("kl"), rel=1e-4)
    assert sums.clipped_low > 5
    assert sums.clipped_high > 5
    assert sums.capped == int((their.inputs["importance_sampling_ratio"] == 2.0).sum()) > 5
    assert sums.logprob_diff_max == pytest.approx(their.metric("sampling/sampling_logp_difference/max"), rel=1e-4)


def test_their_corrected_kl_is_our_k2(theirs: MakeTheirs, rollouts: Rollouts) -> None:
    # k3 times the ratio has the gradient (k3 + 1 - exp(d)) grad logp = -d grad logp where the ratio is 1, and that is
    # the gradient of d^2 / 2.
    settings = {"vllm_importance_sampling_correction": False, "beta": 0.5}
    gradients = {}
    for corrected, kind in ((True, "k2"), (False, "k3")):
        their = theirs(before=FAR, use_bias_correction_kl=corrected, **settings)
        gradients[kind] = their.gradient()[1]
        policy = toy_policy(kl_coef=0.5)
        move(policy.lm.causal, FAR)
        experience = replace(rollouts.experience(), correct_sampler=False, has_penalty=True)
        _, found = ours(policy, experience, kl_coef=0.5, kl_estimator=kind)
        assert_same_gradient(found, gradients[kind])
    # Two different gradients: which one it is matters.
    difference = torch.cat([(gradients["k2"][name] - value).flatten() for name, value in gradients["k3"].items()])
    assert float(difference.norm()) > 0.01 * float(torch.cat([v.flatten() for v in gradients["k3"].values()]).norm())


@pytest.mark.parametrize("loss_type", AGGREGATIONS)
def test_masked_truncated_completions(theirs: MakeTheirs, rollouts: Rollouts, loss_type: str) -> None:
    their = theirs(loss_type=loss_type, mask_truncated_completions=True, vllm_importance_sampling_correction=False)
    expected, gradient = their.gradient()
    policy = toy_policy()
    stop = set(policy.lm.stop_ids)
    counted = [row for row in ALL if rollouts.completions[row][-1] in stop]
    experience = replace(rollouts.experience(), correct_sampler=False)
    assert np.delete(experience.advantages, counted).any()
    experience = experience.take(counted)
    sums, found = ours(policy, experience, loss_aggregation=AGGREGATIONS[loss_type])
    # Where completions are counted, TRL goes on counting those it masks; we do not. docs/trl.md says who is right.
    share = 1.0 if loss_type == "dapo" else len(counted) / ROWS
    assert sums.loss * share == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert_same_gradient({name: value * share for name, value in found.items()}, gradient)
