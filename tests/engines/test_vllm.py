"""The vllm engine with the real vLLM on the CPU: `make test-vllm`. One engine a model, for it takes half a minute."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rsgrpo_cli.config import ModelConfig, VllmConfig, resolve
from rsgrpo_cli.engines.types import Generation, Sampling, Weights
from rsgrpo_cli.engines.vllm import Setup, VllmEngine
from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.batches import assemble
from rsgrpo_cli.policy.checkpoints import open_policy, save_weights
from rsgrpo_cli.policy.fingerprint import take_probe
from rsgrpo_cli.policy.logprobs import token_logprobs
from rsgrpo_cli.policy.policy import Policy

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parents[2]
SAMPLING = Sampling(temperature=0.8, top_p=1.0, max_tokens=20)
PROBLEMS = ("Make 24 from 3 5 7 2.", "Make 6 from 1 2 3 4.", "Compute 3*(7-2)+4.")


class Bench:
    """An engine, and policies of its model to give it."""

    def __init__(self, folder: Path, model: str, dtype: str, rank: int) -> None:
        self.folder, self.rank = folder, rank
        self.overrides = {"model.name": model, "model.dtype": dtype, "model.lora_rank": rank}
        self.base = model_directory(model)
        self.policy = self.open()
        self.count = 0
        config = ModelConfig(name=model, dtype=dtype, lora_rank=rank)  # type: ignore[arg-type]
        probe = take_probe(self.policy)
        self.engine = VllmEngine(Setup(self.base, "base", probe, config, VllmConfig(), 20, True, folder / "vllm.log"))

    def open(self) -> Policy:
        return open_policy(resolve(self.overrides), self.base, None, version=0, train=True)

    def updated(self, learning_rate: float, steps: int = 1) -> Policy:
        """A policy some steps of AdamW away from the base model."""
        policy = self.open()
        assert policy.optimizer is not None
        policy.optimizer.param_groups[0]["lr"] = learning_rate
        ids = torch.tensor([policy.lm.tokenizer("Make 9 from 3 5 7 2. Compute 8*5-(3+2).").input_ids])
        for _ in range(steps):
            with policy.lm.autocast():
                loss = policy.lm.causal(input_ids=ids, labels=ids).loss
            loss.backward()
            policy.optimizer.step()
            policy.optimizer.zero_grad()
        return policy

    def load(self, policy: Policy) -> None:
        self.count += 1
        folder = self.folder / f"policy-{self.count}"
        folder.mkdir()
        save_weights(policy, folder)
        self.engine.load(Weights(str(self.count), folder, self.rank > 0, take_probe(policy)))

    def differences(self, policy: Policy, made: list[list[Generation]], prompts: list[list[int]]) -> torch.Tensor:
        """Trainer's minus sampler's log-probability of every sampled token."""
        rows = [(prompt, generation) for prompt, own in zip(prompts, made, strict=True) for generation in own]
        batch = assemble(
            [np.array(prompt) for prompt, _ in rows],
            [np.array(generation.token_ids) for _, generation in rows],
            range(len(rows)),
            torch.device("cpu"),
        )
        with torch.no_grad():
            logprobs_N, _ = token_logprobs(policy.lm, batch, temperature=SAMPLING.temperature)
        return logprobs_N - torch.tensor([value for _, generation in rows for value in generation.logprobs])

    def prompts(self) -> list[list[int]]:
        return [self.engine.encode([{"role": "user", "content": problem}]) for problem in PROBLEMS]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("toy"), "toy", "float32", 0)
    yield bench
    bench.engine.close()


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A real instruction-tuned model with a LoRA adapter; in float32, for few CPUs multiply in bfloat16."""
    model = tmp_path_factory.mktemp("model") / "smollm2"
    subprocess.run([sys.executable, ROOT / "scripts" / "smollm2.py", model], check=True, timeout=600)
    bench = Bench(tmp_path_factory.mktemp("smollm2"), str(model), "float32", 8)
    yield bench
    bench.engine.close()


SEEDS = [[row * 100 + sample for sample in range(8)] for row in range(len(PROBLEMS))]


def test_the_trainer_agrees_on_every_token(toy: Bench) -> None:
    made = toy.engine.generate(toy.prompts(), SEEDS, SAMPLING)
    assert [len(own) for own in made] == [8, 8, 8]
    for generation in (generation for own in made for generation in own):
        ended = generation.token_ids[-1] == 1  # <eos>
        assert ended == (generation.finish_reason == "stop")
        assert ended or len(generation.token_ids) == SAMPLING.max_tokens
    assert float(toy.differences(toy.policy, made, toy.prompts()).abs().max()) < 1e-4


def test_equal_seeds_give_equal_completions(toy: Bench) -> None:
    prompts = toy.prompts()
    first, again = (toy.engine.generate(prompts, SEEDS, SAMPLING) for _ in range(2))
    alone = toy.engine.generate(prompts[1:2], SEEDS[1:2], SAMPLING)
    same = [
        a.token_ids == b.token_ids
        for own, other in zip(first, again, strict=True)
        for a, b in zip(own, other, strict=True)
    ]
    same += [a.token_ids == b.token_ids for a, b in zip(first[1], alone[0], strict=True)]
    assert sum(same) >= len(same) - 1  # a near tie may go either way
    assert len({tuple(generation.token_ids) for generation in first[0]}) > 4


def test_many_seeded_samples_of_long_prompts(toy: Bench) -> None:
    # 200 x 100 tokens do not fit a batch of 8,192. Where vLLM then reads a prompt in pieces, it dies on a CPU of the
    # seeds ("CPU Generator does not use offset").
    prompt = (toy.prompts()[0] * 10)[:100]
    made = toy.engine.generate([prompt], [list(range(200))], SAMPLING)
    assert len(made[0]) == 200
    toy.engine.generate(toy.prompts(), SEEDS, SAMPLING)


def test_every_load_reaches_the_samples(toy: Bench) -> None:
    seen = []
    for learning_rate in (1e-3, 3e-3):
        policy = toy.updated(learning_rate)
        toy.load(policy)
        made = toy.engine.generate(toy.prompts(), SEEDS, SAMPLING)
        # All of it: the output layer too, which is tied to the embeddings here and has a copy of its own on a CPU.
        assert float(toy.differences(policy, made, toy.prompts()).abs().max()) < 1e-4
        assert float(toy.differences(toy.policy, made, toy.prompts()).abs().max()) > 1e-2
        seen.append(made)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("learning_rate", [1e-2, 1e-6])
def test_stale_weights_are_caught(toy: Bench, monkeypatch: pytest.MonkeyPatch, learning_rate: float) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(toy.engine._llm, "collective_rpc", lambda *arguments, **named: None)
        with pytest.raises(EngineError, match="the sampler"):
            toy.load(toy.updated(learning_rate))
    assert toy.engine.policy is None
    toy.load(toy.updated(learning_rate))  # and it recovers


def test_reload_weights_alone_leaves_a_tied_output_layer_behind(toy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Why there is a PolicyLoader; when this fails, vLLM has mended it.
    rpc = toy.engine._llm.collective_rpc
    with monkeypatch.context() as plain:
        plain.setattr(
            toy.engine._llm,
            "collective_rpc",
            lambda name, args: rpc("reload_weights", kwargs={"weights_path": args[0]}),
        )
        with pytest.raises(EngineError, match="the sampler's weights are not the trainer's"):
            toy.load(toy.updated(1e-3))
    toy.load(toy.updated(1e-3))


def test_a_real_model_and_its_adapters(smollm2: Bench) -> None:
    made = smollm2.engine.generate(smollm2.prompts(), SEEDS, SAMPLING)
    assert float(smollm2.differences(smollm2.policy, made, smollm2.prompts()).abs().mean()) < 1e-4
    texts = []
    for learning_rate in (1e-3, 5e-3):
        policy = smollm2.updated(learning_rate, steps=2)
        smollm2.load(policy)
        made = smollm2.engine.generate(smollm2.prompts(), SEEDS, SAMPLING)
        assert float(smollm2.differences(policy, made, smollm2.prompts()).abs().mean()) < 1e-4
        texts.append([smollm2.engine.decode(generation.token_ids) for own in made for generation in own])
    assert texts[0] != texts[1]


def test_an_adapter_under_an_old_name_is_caught(smollm2: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # vLLM knows adapters by number: what it has under that number is not read again.
    smollm2.load(smollm2.updated(1e-3, steps=2))
    old = smollm2.engine._adapter
    with monkeypatch.context() as broken:
        broken.setattr(smollm2.engine, "_fresh_adapter", lambda directory: old)
        with pytest.raises(EngineError, match="the sampler"):
            smollm2.load(smollm2.updated(2e-3, steps=2))
