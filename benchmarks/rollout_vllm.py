"""The `vllm` engine against bare `LLM.generate`, on the same requests and the same vLLM.

    python benchmarks/rollout_vllm.py [MODEL_DIR [PROMPTS [SAMPLES [MAX_TOKENS]]]]

Bare is what one would write: the prompts as token ids, the log-probability of each sampled token, and either a seed for
every completion, as the engine does, or none and `n` samples per prompt. Tokens per second, for lengths vary.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import median, show

from rsgrpo_cli.config import ModelConfig, VllmConfig, resolve
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.engines.vllm import Setup, VllmEngine
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.fingerprint import take_probe
from rsgrpo_cli.tasks.sources import load_source

RUNS = 5


def open_engine(model: str, max_tokens: int, log: Path) -> VllmEngine:
    """VLLM with a model, in bfloat16 on a GPU; few CPUs multiply in it."""
    dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    base = model_directory(model)
    policy = open_policy(resolve({"model.name": model, "model.dtype": dtype}), base, None, version=0, train=False)
    config = ModelConfig(name=model, dtype=dtype)  # type: ignore[arg-type]
    return VllmEngine(Setup(base, "base", take_probe(policy), config, VllmConfig(), max_tokens, False, log))


def rates(ways: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Tokens per second of each way, in turns, so that a busy moment hits all alike."""
    made: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(RUNS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            tokens = way()
            if run:  # the first is not counted
                made[name].append(tokens / (time.perf_counter() - started))
    return {name: median(values) for name, values in made.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="toy", help="a directory")
    for name, default in (("prompts", 32), ("samples", 16), ("max_tokens", 20)):
        parser.add_argument(name, nargs="?", type=int, default=default)
    asked = parser.parse_args()
    model, count, samples, max_tokens = asked.model, asked.prompts, asked.samples, asked.max_tokens
    from vllm import SamplingParams

    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(model, max_tokens, Path(folder) / "vllm.log")
        llm = engine._llm
        problems = load_source("toy", "train").problems[:count]
        prompts = [engine.encode([{"role": "user", "content": str(problem.text)}]) for problem in problems]
        seeds = [[row * samples + sample for sample in range(samples)] for row in range(count)]
        plain: dict[str, Any] = {"temperature": 1.0, "max_tokens": max_tokens, "logprobs": 0, "detokenize": False}
        plain["stop_token_ids"] = list(engine._stop_ids)

        def ours() -> int:
            made = engine.generate(prompts, seeds, Sampling(1.0, 1.0, max_tokens))
            return sum(len(generation.token_ids) for own in made for generation in own)

        def bare(requests: list[list[int]], params: list[SamplingParams]) -> int:
            answers = llm.generate([{"prompt_token_ids": ids} for ids in requests], params, use_tqdm=False)
            return sum(len(output.token_ids) for answer in answers for output in answer.outputs)

        def seeded() -> int:
            every = [prompt for prompt in prompts for _ in range(samples)]
            return bare(every, [SamplingParams(**plain, seed=seed) for own in seeds for seed in own])

        def unseeded() -> int:
            return bare(prompts, [SamplingParams(**plain, n=samples)] * count)

        found = rates({"ours": ours, "LLM.generate, seeded": seeded, "LLM.generate, no seeds": unseeded})
        engine.close()
    rows = [[name, f"{rate:,.0f}", f"{found['ours'] / rate:.2f} x"] for name, rate in found.items()]
    title = f"{Path(model).name}: {count} prompts x {samples} completions of up to {max_tokens} tokens"
    show(title, ["", "tokens/s", "ours against it"], rows)


if __name__ == "__main__":
    main()
