"""The `hf` engine against `transformers.generate` on the same prompts, with the bundled model and a larger one.

Both sample 16 completions of each prompt at temperature 1 until the stop token or the limit.
"""

from __future__ import annotations

import argparse

import torch
from common import median, show, times
from transformers import LlamaConfig, LlamaForCausalLM

from rsgrpo_cli.config import ModelConfig
from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.models import LanguageModel, load_model, model_directory
from rsgrpo_cli.tasks.sources import load_source

PROMPTS, GROUP, MAX_TOKENS = 32, 16, 20


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


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    toy = load_model(model_directory("toy"), ModelConfig())
    rows = [compare("bundled, 0.34 M", toy), compare("random, 13 M", larger(toy))]
    title = f"{PROMPTS} prompts x {GROUP} completions of up to {MAX_TOKENS} tokens"
    show(title, ["model", "hf engine", "generate()", "faster by"], rows)


if __name__ == "__main__":
    main()
