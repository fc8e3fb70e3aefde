"""A stand-in for the package `vllm` over transformers, slow and plain, so that all around it is tested without it.

It knows of weights what vLLM does: they change by a reload or by an adapter's name and number, and not otherwise.
What it was asked for is kept in `LLM.calls`, and `LLM.broken` makes it do nothing or fail.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


@dataclass
class SamplingParams:
    max_tokens: int
    temperature: float
    detokenize: bool
    top_p: float = 1.0
    seed: int | None = None
    stop_token_ids: list[int] = field(default_factory=list)
    logprobs: int | None = None
    flat_logprobs: bool = False
    prompt_logprobs: int | None = None
    logit_bias: dict[int, float] | None = None


@dataclass(frozen=True)
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


class LLM:
    calls: ClassVar[list[str]] = []
    broken: ClassVar[set[str]] = set()

    def __init__(self, model: str, **arguments: Any) -> None:
        if "start" in self.broken:
            raise RuntimeError("Engine core initialization failed. See root cause above.")
        self.calls.append("start")
        self.arguments = arguments
        self.base = model
        self.plain = AutoModelForCausalLM.from_pretrained(model)
        self.adapted: dict[int, Any] = {}
        core = SimpleNamespace(shutdown=lambda: self.calls.append("shutdown"))
        self.llm_engine = SimpleNamespace(engine_core=core, set_weight_version=self._name_weights)
        self.weights = "default"

    def _name_weights(self, version: str) -> None:
        if "naming" not in self.broken:
            self.weights = version

    def collective_rpc(self, name: str, args: tuple[str]) -> None:
        assert name == "load_policy"
        assert self.arguments["worker_extension_cls"].endswith("vllm_worker.PolicyLoader")
        self.calls.append("reload")
        if "reload" not in self.broken:
            self.plain = AutoModelForCausalLM.from_pretrained(args[0])

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset")
        return "reset" not in self.broken

    def generate(
        self, prompts: list[dict[str, Any]], params: list[SamplingParams], *, use_tqdm: bool, lora_request: Any
    ) -> list[Any]:
        if "generate" in self.broken:
            raise RuntimeError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
        model = self._model(lora_request)
        pairs = zip(prompts, params, strict=True)
        return [self._answer(model, prompt["prompt_token_ids"], asked) for prompt, asked in pairs]

    def _model(self, request: LoRARequest | None) -> Any:
        if request is None:
            return self.plain
        if request.lora_int_id not in self.adapted:  # one that is known is not read again
            self.calls.append(f"adapter {request.lora_name}")
            base = AutoModelForCausalLM.from_pretrained(self.base)
            self.adapted[request.lora_int_id] = PeftModel.from_pretrained(base, request.lora_path)
        return self.adapted[request.lora_int_id]

    def _answer(self, model: Any, prompt: list[int], asked: SamplingParams) -> Any:
        if asked.prompt_logprobs is not None:
            with torch.no_grad():
                told = torch.log_softmax(model(input_ids=torch.tensor([prompt])).logits[0], dim=-1)
            rows = [{token: SimpleNamespace(logprob=float(told[at, token]))} for at, token in enumerate(prompt[1:])]
            return SimpleNamespace(prompt_logprobs=[None, *rows])
        generator = torch.Generator().manual_seed(asked.seed or 0)
        ids: list[int] = []
        logprobs: list[float] = []
        while len(ids) < asked.max_tokens and not set(ids[-1:]) & set(asked.stop_token_ids):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, -1]
            for token, bias in (asked.logit_bias or {}).items():
                logits[token] += max(-100.0, min(100.0, bias))
            told = torch.log_softmax(logits / asked.temperature, dim=-1)
            ids.append(int(torch.multinomial(told.exp(), 1, generator=generator)))
            logprobs.append(float(told[ids[-1]]))
        span = SimpleNamespace(version=self.weights, start=0, end=len(ids))
        said = SimpleNamespace(logprobs=logprobs)
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, logprobs=said, weight_versions=[span])])


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    """Puts the stand-in where `import vllm` finds it."""
    package, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    package.LLM, package.SamplingParams, request.LoRARequest = LLM, SamplingParams, LoRARequest  # type: ignore[attr-defined]
    package.__spec__ = SimpleNamespace(name="vllm")  # type: ignore[assignment]
    for module in (package, lora, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(LLM, "calls", [])
    monkeypatch.setattr(LLM, "broken", set())
    return LLM
