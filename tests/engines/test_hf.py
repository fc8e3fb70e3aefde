import json
from collections import Counter
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rsgrpo_cli.config import ModelConfig, resolve
from rsgrpo_cli.engines import hf
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Generation, Sampling
from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.models import load_model, model_directory
from rsgrpo_cli.policy.batches import assemble
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.logprobs import token_logprobs
from tests.architectures import write_model
from tests.tiny_models import write_tiny

SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=20)
PROBLEMS = ["Make 24 from 3 5 7 2.", "Make 6 from 1 2 3 4.", "Compute 3*(7-2)+4."]


@pytest.fixture(scope="module")
def engine() -> HfEngine:
    return HfEngine(load_model(model_directory("toy"), ModelConfig()))


def encode(engine: HfEngine, problems: list[str] = PROBLEMS) -> list[list[int]]:
    return [engine.encode([{"role": "user", "content": problem}]) for problem in problems]


def tokens(generations: list[list[Generation]]) -> list[list[list[int]]]:
    return [[generation.token_ids for generation in own] for own in generations]


aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.item.default, aten.is_nonzero.default, aten.nonzero.default}


class Waits(TorchDispatchMode):
    """Counts what makes a program wait for a GPU: a number read from it, or a result whose size is one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        indices = args[1] if "index" in str(func) and isinstance(args[1], list) else []
        self.count += func in READS or any(index is not None and index.dtype == torch.bool for index in indices)
        return func(*args, **(kwargs or {}))


def test_a_gpu_is_waited_for_once_a_token(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "COMPACT_SHARE", 2.0)  # each time takes one more
    (prompt,) = encode(engine, PROBLEMS[:1])
    with Waits() as seen:
        (made,) = engine.generate([prompt], [[*range(8)]], SAMPLING)
    longest = max(len(one.token_ids) for one in made)
    assert min(len(one.token_ids) for one in made) < longest  # some have ended before others
    assert seen.count <= longest + 5


def test_a_completion_depends_on_its_seed_alone(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, seeds = encode(engine), [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    together = engine.generate(prompts, seeds, SAMPLING)
    alone = engine.generate(prompts[1:2], [[7]], SAMPLING)
    assert alone[0][0].token_ids == together[1][2].token_ids
    assert alone[0][0].logprobs == pytest.approx(together[1][2].logprobs, abs=1e-5)
    monkeypatch.setattr(hf, "BATCH_TOKENS", 100)  # three completions a batch, prompts cut in two
    assert tokens(engine.generate(prompts, seeds, SAMPLING)) == tokens(together)
    assert together[0][0].token_ids != together[0][1].token_ids


def test_nothing_is_said_of_padding_where_the_last_token_is_the_pad_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model("gpt2", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 1, "bos_token_id": 1}))
    said: list[str] = []
    monkeypatch.setattr("transformers.modeling_utils.logger.warning_once", said.append)
    lm = load_model(folder, ModelConfig(device="cpu"))
    generations = HfEngine(lm).generate([[1, 2, 3], [1, 3, 2]], [[1, 2, 3], [4, 5, 6]], SAMPLING)
    made = [generation.token_ids for own in generations for generation in own]
    prompts = [prompt for prompt in ([1, 2, 3], [1, 3, 2]) for _ in range(3)]
    token_logprobs(
        lm, assemble(list(map(np.array, prompts)), list(map(np.array, made)), range(6), lm.device), temperature=1.0
    )
    assert said == []


def test_the_text_is_what_a_plain_decoding_loop_gives(engine: HfEngine) -> None:
    # One completion, no cache, no padding, one uniform number a position: the definition, written out.
    from rsgrpo_cli.seeding import uniforms

    prompt, seed = encode(engine)[0], 123
    ids, logprobs = list(prompt), []
    for draw in uniforms(seed, SAMPLING.max_tokens):
        with torch.no_grad():
            logits = engine.lm.causal(input_ids=torch.tensor([ids])).logits[0, -1].double()
        distribution = torch.log_softmax(logits, dim=-1)
        token = int((distribution.exp().cumsum(0) > draw).nonzero()[0])
        ids.append(token)
        logprobs.append(distribution[token].item())
        if token in engine.lm.stop_ids:
            break
    generation = engine.generate([prompt], [[seed]], SAMPLING)[0][0]
    assert generation.token_ids == ids[len(prompt) :]
    assert generation.logprobs == pytest.approx(logprobs, abs=1e-4)


def test_the_trainer_agrees_with_the_sampler(engine: HfEngine) -> None:
    prompts = encode(engine)
    sampling = Sampling(temperature=0.7, top_p=1.0, max_tokens=20)
    made = engine.generate(prompts, [[1, 2], [3, 4], [5, 6]], sampling)
    rows = [(np.array(prompt), generation) for prompt, own in zip(prompts, made, strict=True) for generation in own]
    batch = assemble(
        [prompt for prompt, _ in rows], [np.array(g.token_ids) for _, g in rows], range(len(rows)), torch.device("cpu")
    )
    with torch.no_grad():
        logprobs, _ = token_logprobs(engine.lm, batch, temperature=0.7)
    said = [value for _, generation in rows for value in generation.logprobs]
    assert logprobs.tolist() == pytest.approx(said, abs=1e-4)


def test_completions_end_with_the_stop_token_or_are_cut(engine: HfEngine) -> None:
    made = engine.generate(encode(engine), [list(range(30))] * 3, Sampling(1.0, 1.0, 8))
    reasons = Counter(generation.finish_reason for own in made for generation in own)
    assert set(reasons) == {"stop", "length"}
    for own in made:
        for generation in own:
            ended = generation.token_ids[-1] in engine.lm.stop_ids
            assert ended == (generation.finish_reason == "stop")
            assert not set(generation.token_ids[:-1]) & set(engine.lm.stop_ids)
            assert len(generation.logprobs) == len(generation.token_ids) <= 8
            assert ended or len(generation.token_ids) == 8


def test_text_leaves_special_tokens_out(engine: HfEngine) -> None:
    ids = [*engine.lm.tokenizer("\\boxed{3*5}").input_ids, engine.lm.tokenizer.eos_token_id]
    assert engine.decode(ids) == "\\boxed{3*5}"


def test_greedy_decoding_equals_transformers_generate(engine: HfEngine) -> None:
    # A temperature near zero is greedy; then the library's own loop must give the same tokens.
    prompt = encode(engine)[0]
    ours = engine.generate([prompt], [[1]], Sampling(1e-4, 1.0, 20))[0][0].token_ids
    theirs = engine.lm.causal.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20)[0, len(prompt) :]
    assert ours == theirs.tolist()


@pytest.mark.parametrize("room", [1, 2, 5], ids=str)
def test_a_full_gpu_samples_fewer_at_once(engine: HfEngine, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    prompts, seeds = encode(engine), [[1, 2, 3], [4], [5, 6, 7, 8]]
    expected, tried, run = engine.generate(prompts, seeds, SAMPLING), [], hf._Decoding.run

    def limited(decoding: hf._Decoding) -> list[Generation]:
        tried.append(len(decoding.batch.seeds))
        if tried[-1] > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return run(decoding)

    monkeypatch.setattr(hf._Decoding, "run", limited)
    found = engine.generate(prompts, seeds, SAMPLING)
    assert tokens(found) == tokens(expected)
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
    halves = {1: [8, 4, 2], 2: [8, 4], 5: [8]}[room]  # what did not fit, each size once
    assert tried == [*halves, *[halves[-1] // 2] * (8 // (halves[-1] // 2))]


def test_a_gpu_too_full_for_one_completion_is_an_error(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def full(decoding: hf._Decoding) -> None:
        tried.append(len(decoding.batch.seeds))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(hf._Decoding, "run", full)
    with pytest.raises(EngineError, match="not enough GPU memory to sample"):
        engine.generate(encode(engine), [[1, 2], [3], [4]], SAMPLING)
    assert tried == [4, 2, 1]
    with pytest.raises(EngineError, match="not enough GPU memory to sample"):
        HfEngine(engine.lm)  # which tries out what may be written together
    assert tried[3:] == [tried[3]]


@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
def test_the_size_of_a_batch_on_a_gpu_does_not_depend_on_training(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    card = SimpleNamespace(total_memory=10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    config, way = resolve({"model.lora_rank": rank}), hf._Way(True, cache_bytes=2304)
    trained = open_policy(config, model_directory("toy"), None, version=0, train=True)
    room = hf._room(trained.lm, way, 320)
    assert room > hf.BATCH_TOKENS
    trained.lm.causal.requires_grad_(False)  # as a policy is that is only sampled from
    assert hf._room(trained.lm, way, 320) == room


@pytest.mark.parametrize(("kind", "layers"), [("llama", 2), ("gemma2", 2), ("lfm2", 1), ("mamba2", 0)])
def test_the_cache_of_a_token_is_what_attention_keeps_of_it(tmp_path: Path, kind: str, layers: int) -> None:
    lm = load_model(write_tiny(kind, tmp_path / "model"), ModelConfig())
    config = lm.causal.config
    heads = getattr(config, "num_key_value_heads", 0) * (getattr(config, "head_dim", None) or 16)
    with torch.inference_mode():
        assert hf._cache_bytes(lm) == layers * 2 * heads * 4
