"""The buffers, the mask and the attention of graphs.py, replayed step by step on a CPU, which records nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rsgrpo_cli.config import ModelConfig, resolve
from rsgrpo_cli.engines import graphs, hf
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Generation, Sampling
from rsgrpo_cli.models import load_model, model_directory
from rsgrpo_cli.policy.checkpoints import open_policy
from tests.architectures import write_model

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13]]
SEEDS = [list(range(8)), list(range(8, 16))]


class NotRecorded(graphs.Replayed):
    """Computes again where a GPU would replay."""

    recordings = 0

    def _recorded(self, cache: DynamicCache) -> torch.cuda.CUDAGraph:
        type(self).recordings += 1

        class Again:
            def replay(graph) -> None:
                with graphs._grouped_attention(self.lm):
                    self.logits = self._step(cache)

        return Again()  # type: ignore[return-value]


def drawn(engine: HfEngine, tokens: int) -> list[Generation]:
    made = engine.generate(PROMPTS, SEEDS, Sampling(1.0, 1.0, tokens))
    return [generation for own in made for generation in own]


@pytest.fixture
def replaying(monkeypatch: pytest.MonkeyPatch) -> Callable[[HfEngine], None]:
    """Has an engine replay from then on, in windows of 8, so that several are recorded."""

    def start(engine: HfEngine) -> None:
        monkeypatch.setattr(graphs, "WINDOW", 8)
        monkeypatch.setattr(graphs, "SHORTEST", 1)
        monkeypatch.setattr(graphs, "Replayed", NotRecorded)
        monkeypatch.setattr(hf, "COMPACT_RECORDED", 0.25)
        NotRecorded.recordings = 0
        engine._may_record = True

    return start


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_what_is_replayed_samples_the_same(kind: str, tmp_path: Path, replaying: Callable[[HfEngine], None]) -> None:
    # Completions of 30 tokens that end in between and leave the batch.
    engine = HfEngine(load_model(write_model(kind, tmp_path), ModelConfig(device="cpu")))
    engine.lm.stop_ids = tuple(range(0, 40, 13))
    expected = drawn(engine, 30)
    replaying(engine)
    found = drawn(engine, 30)
    assert NotRecorded.recordings > 4
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    assert len({len(one.token_ids) for one in found}) > 4
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
def test_so_it_does_in_bfloat16(rank: int, replaying: Callable[[HfEngine], None]) -> None:
    """Under autocast keys and values are not all of one type."""
    config = resolve({"model.dtype": "bfloat16", "model.device": "cpu", "model.lora_rank": rank})
    engine = HfEngine(open_policy(config, model_directory("toy"), None, version=0, train=True).lm)
    expected = drawn(engine, 30)
    replaying(engine)
    found = drawn(engine, 30)
    assert NotRecorded.recordings > 2
    same = [(one, other) for one, other in zip(found, expected, strict=True) if one.token_ids == other.token_ids]
    assert len(same) >= 0.75 * len(found)
    for one, other in same:
        assert one.logprobs == pytest.approx(other.logprobs, abs=0.1)


def test_heads_that_share_keys_and_values_attend_as_transformers_has_them() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 6, 1, 8), torch.randn(3, 2, 5, 8), torch.randn(3, 2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 0, 0, 1]]).bool()[:, None, None]
    module = torch.nn.Module()
    module.num_key_value_groups = 3  # type: ignore[assignment]
    module.is_causal = True  # type: ignore[assignment]
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    found, _ = graphs._grouped(module, query, key, value, mask, scaling=0.3)
    assert torch.allclose(found, expected, atol=1e-6)


def test_nothing_is_recorded_on_a_cpu(tmp_path: Path) -> None:
    lm = load_model(write_model("llama", tmp_path), ModelConfig(device="cpu"))
    assert not graphs.can_record(lm)
    assert HfEngine(lm)._may_record is False
