"""The `hf` engine against `transformers.generate` on the same prompts, with the bundled model and a larger one.

Both sample 16 completions of each prompt at temperature 1 until the stop token or the limit.

With --gpu: random weights of the shapes of Qwen2.5-1.5B in bfloat16 on an NVIDIA GPU, 32 prompts of 64 tokens x 16
completions of 512 tokens, none of which ends early. There `generate()` has a static cache, which it compiles in the
first call.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from common import median, show, times
from transformers import LlamaConfig, LlamaForCausalLM
from update_memory import SHAPES, random_model

from rsgrpo_cli.config import ModelConfig
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.models import LanguageModel, load_model, model_directory
from rsgrpo_cli.tasks.sources import load_source

PROMPTS, GROUP, MAX_TOKENS = 32, 16, 20
GPU_PROMPT, GPU_TOKENS = 64, 512


def larger(toy: LanguageModel) -> LanguageModel:
    """The same vocabulary in 13 M random parameters, where the matrix products weigh more than Python."""
    torch.manual_seed(0)
    config = LlamaConfig(**{**toy.causal.config.to_dict(), "hidden_size": 384, "intermediate_size": 1024})
    config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads = 8, 12, 12
    return LanguageModel(LlamaForCausalLM(config).eval(), toy.tokenizer, toy.stop_ids, toy.companions, "float32")


def compare(name: str, lm: LanguageModel) -> list[str]:
    """One row of the table."""
    engine = HfEngine(lm)
    problems = load_source("toy", "train").problems[:PROMPTS]
    prompts = [engine.encode([{"role": "user", "content": str(problem.text)}]) for problem in problems]
    seeds = [[row * GROUP + sample for sample in range(GROUP)] for row in range(PROMPTS)]
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = (ids != 0).long()

    def ours() -> None:
        engine.generate(prompts, seeds, Sampling(1.0, 1.0, MAX_TOKENS))

    def theirs() -> None:
        with torch.inference_mode():
            lm.causal.generate(
                ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=MAX_TOKENS, num_return_sequences=GROUP
            )

    pair = [median(times(function)) for function in (ours, theirs)]
    return [name, f"{pair[0]:.3f} s", f"{pair[1]:.3f} s", f"{pair[1] / pair[0]:.2f} x"]


def on_gpu(shape: str, device: str, tokens: int) -> list[list[str]]:
    """Rows of the table for a GPU."""
    wanted = argparse.Namespace(shape=shape, device=device, dtype="bfloat16", case="lora")  # weights in bfloat16, too
    model = random_model(wanted, SHAPES[shape][3]).eval()
    model.generation_config.eos_token_id = None
    lm = LanguageModel(model, None, (), {}, "bfloat16")
    ids = torch.randint(0, SHAPES[shape][0], (PROMPTS, GPU_PROMPT), device=device)
    seeds = [[row * GROUP + sample for sample in range(GROUP)] for row in range(PROMPTS)]
    engine, plain = HfEngine(lm), HfEngine(lm)
    plain._may_record = False
    ways: dict[str, Callable[[], object]] = {
        "generate(), static cache": lambda: generated(model, ids, tokens, cache_implementation="static"),
        "hf engine, the work of a token recorded": lambda: engine.generate(ids.tolist(), seeds, sampling),
        "hf engine, without": lambda: plain.generate(ids.tolist(), seeds, sampling),
        "generate()": lambda: generated(model, ids, tokens),
    }
    sampling, base = Sampling(1.0, 1.0, tokens), 0.0
    rows: list[tuple[str, float, float]] = []
    for name, way in ways.items():
        torch.backends.cuda.enable_cudnn_sdp("generate" in name)  # as each has it
        first, seconds = (timed(way, device) for _ in range(2))
        base = seconds if "static" in name else base
        rows.append((name, first, seconds))
        print(f"{name}: {first:.2f} s, {seconds:.2f} s", file=sys.stderr)
    made = PROMPTS * GROUP * tokens
    return [[n, f"{first:.1f} s", f"{s:.2f} s", f"{made / s:,.0f}", f"{base / s:.2f} x"] for n, first, s in rows]


def generated(model: LlamaForCausalLM, ids: torch.Tensor, tokens: int, **how: Any) -> None:
    """What `generate()` makes of the prompts, of each GROUP completions."""
    repeated = ids.repeat_interleave(GROUP, dim=0)
    with torch.inference_mode():
        mask = torch.ones_like(repeated)
        model.generate(repeated, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=tokens, **how)


def timed(way: Callable[[], object], device: str) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    way()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"], help="with --gpu, to try it out")
    parser.add_argument("--shape", default="qwen-1.5b", choices=SHAPES)
    parser.add_argument("--tokens", type=int, default=GPU_TOKENS)
    options = parser.parse_args()
    if options.gpu:
        title = f"{PROMPTS} prompts x {GROUP} completions of {options.tokens} tokens, {options.shape}, bfloat16"
        headers = ["", "first call", "second call", "tokens/s", "against a static cache"]
        show(title, headers, on_gpu(options.shape, options.device, options.tokens))
        return
    toy = load_model(model_directory("toy"), ModelConfig())
    rows = [compare("bundled, 0.34 M", toy), compare("random, 13 M", larger(toy))]
    title = f"{PROMPTS} prompts x {GROUP} completions of up to {MAX_TOKENS} tokens"
    show(title, ["model", "hf engine", "generate()", "faster by"], rows)


if __name__ == "__main__":
    main()
