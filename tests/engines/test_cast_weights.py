from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rsgrpo_cli.config import ModelConfig, resolve
from rsgrpo_cli.engines import hf
from rsgrpo_cli.engines.cast_weights import cast_once
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.models import load_model, model_directory
from rsgrpo_cli.policy.checkpoints import open_policy
from tests.tiny_models import VARIANTS, write_tiny

PROMPTS, SEEDS, SAMPLING = [[4, 6, 5], [4, 6, 11, 12, 7, 5]], [[1, 2, 3], [4, 5, 6]], Sampling(1.0, 1.0, 12)
KINDS = [
    "llama",
    "gpt2",
    "qwen3",
    "gemma2",
    "phi3",
    "mixtral",
    "zamba2",
    *(name for name in VARIANTS if "tied" in name),
]


class Casts(TorchDispatchMode):
    """Counts casts of matrices."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        casts = func in (torch.ops.aten.to.dtype, torch.ops.aten._to_copy.default)
        self.count += casts and args[0].ndim == 2 and args[0].shape[0] > len(SEEDS) * len(SEEDS[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_those_of_a_cast_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    name, settings = VARIANTS.get(kind, (kind, {}))
    directory = write_tiny(name, tmp_path / "model", **settings)
    engine = HfEngine(load_model(directory, ModelConfig(dtype="bfloat16")))
    made = engine.generate(PROMPTS, SEEDS, SAMPLING)
    monkeypatch.setattr(hf, "cast_once", lambda _: nullcontext())
    assert engine.generate(PROMPTS, SEEDS, SAMPLING) == made


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_so_are_those_under_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    directory = write_tiny(kind, tmp_path / "model")
    config = resolve({"model.name": str(directory), "model.dtype": "bfloat16", "model.lora_rank": 4})
    policy = open_policy(config, directory, None, version=0, train=True)
    engine = HfEngine(policy.lm)
    base = engine.generate(PROMPTS, SEEDS, SAMPLING)
    with torch.no_grad():
        for weight in policy.trained().values():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    with Casts() as seen:
        made = engine.generate(PROMPTS, SEEDS, SAMPLING)
    assert made != base
    assert seen.count <= len(policy.trained()) + len(made)
    monkeypatch.setattr(hf, "cast_once", lambda _: nullcontext())
    assert engine.generate(PROMPTS, SEEDS, SAMPLING) == made


def test_weights_are_cast_once_and_not_once_a_token() -> None:
    engine = HfEngine(load_model(model_directory("toy"), ModelConfig(dtype="bfloat16")))
    with Casts() as seen:
        engine.generate(PROMPTS, SEEDS, SAMPLING)
    linears = [module for module in engine.lm.causal.modules() if isinstance(module, torch.nn.Linear)]
    assert seen.count == len(linears)


@pytest.mark.parametrize("settings", [{}, {"model.lora_rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("fails", [False, True], ids=["ends well", "fails"])
def test_the_trainers_weights_are_as_before(settings: dict[str, Any], fails: bool) -> None:
    config = resolve({"model.dtype": "bfloat16", **settings})
    policy = open_policy(config, model_directory("toy"), None, version=0, train=True)
    before = {name: (id(weight), weight.dtype) for name, weight in policy.lm.causal.named_parameters()}
    with pytest.raises(RuntimeError) if fails else nullcontext(), cast_once(policy.lm):
        if fails:
            raise RuntimeError("out of memory")
    assert {name: (id(weight), weight.dtype) for name, weight in policy.lm.causal.named_parameters()} == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_types_are_left_alone(dtype: Any) -> None:
    lm = load_model(model_directory("toy"), ModelConfig(dtype=dtype))
    before = [id(weight) for weight in lm.causal.parameters()]
    with cast_once(lm):
        assert [id(weight) for weight in lm.causal.parameters()] == before
