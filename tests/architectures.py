"""Tiny random models of many architectures, over the bundled model's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rsgrpo_cli.models import model_directory

_IDS = {"vocab_size": 27, "eos_token_id": 1, "bos_token_id": None, "pad_token_id": 0}
_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 128, **_IDS,
}  # fmt: skip
_GROUPED = _SMALL | {"num_key_value_heads": 1, "head_dim": 16}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, **_IDS}
_EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
_WINDOW = ["sliding_attention", "full_attention"]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _GROUPED),
    "llama-tied": ("llama", _GROUPED | {"tie_word_embeddings": True}),
    "llama-bias": ("llama", _GROUPED | {"attention_bias": True, "mlp_bias": True, "attention_dropout": 0.1}),
    "gpt2": ("gpt2", _GPT),
    "gpt_neo": (
        "gpt_neo",
        {
            "hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
            "window_size": 8, "max_position_embeddings": 128, "resid_dropout": 0.1, "embed_dropout": 0.1, **_IDS,
        },
    ),
    "gpt_neox": ("gpt_neox", _SMALL | {"hidden_dropout": 0.1, "attention_dropout": 0.1}),
    "gptj": ("gptj", _GPT | {"rotary_dim": 8, "resid_pdrop": 0.1}),
    "codegen": ("codegen", _GPT | {"rotary_dim": 8, "n_head": 4, "resid_pdrop": 0.1}),
    "gpt_bigcode": ("gpt_bigcode", _GPT),
    "phi": ("phi", _SMALL | {"resid_pdrop": 0.1, "num_key_value_heads": 2}),
    "phi3": ("phi3", _GROUPED | {"resid_pdrop": 0.1, "attention_dropout": 0.1}),
    "phimoe": ("phimoe", _GROUPED | {"num_local_experts": 4, "attention_bias": True, "lm_head_bias": True}),
    "mpt": ("mpt", {"d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 128, "resid_pdrop": 0.1, **_IDS}),
    "falcon-alibi": (
        "falcon",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "alibi": True, "hidden_dropout": 0.1,
         "attention_dropout": 0.1, **_IDS},
    ),
    "falcon-rotary": (
        "falcon",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "alibi": False, "hidden_dropout": 0.1,
         **_IDS},
    ),
    "bloom": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2, "hidden_dropout": 0.1, **_IDS}),
    "opt": (
        "opt",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64, "word_embed_proj_dim": 32,
         "max_position_embeddings": 128, "dropout": 0.1, "layerdrop": 0.5, **_IDS},
    ),
    "mistral-window": ("mistral", _GROUPED | {"sliding_window": 8}),
    "mixtral": ("mixtral", _GROUPED | _EXPERTS | {"router_jitter_noise": 0.1}),
    "gemma": ("gemma", _GROUPED),
    "gemma2": ("gemma2", _GROUPED | {"sliding_window": 8, "layer_types": _WINDOW, "final_logit_softcapping": 0.05}),
    "gemma3": ("gemma3_text", _GROUPED | {"sliding_window": 8, "layer_types": _WINDOW}),
    "qwen2": ("qwen2", _GROUPED),
    "qwen2-window": (
        "qwen2", _GROUPED | {"use_sliding_window": True, "sliding_window": 8, "layer_types": _WINDOW}
    ),
    "qwen3": ("qwen3", _GROUPED),
    "qwen2_moe": ("qwen2_moe", _GROUPED | _EXPERTS | {"shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("qwen3_moe", _GROUPED | _EXPERTS),
    "cohere": ("cohere", _GROUPED | {"logit_scale": 0.0625}),
    "cohere2": ("cohere2", _GROUPED | {"logit_scale": 0.25, "sliding_window": 8, "layer_types": _WINDOW}),
    "stablelm": ("stablelm", _SMALL | {"num_key_value_heads": 2, "hidden_dropout": 0.1}),
    "starcoder2": ("starcoder2", _GROUPED | {"residual_dropout": 0.1, "embedding_dropout": 0.1}),
    "olmo2": ("olmo2", _GROUPED),
    "granite": ("granite", _GROUPED | {"logits_scaling": 8.0, "embedding_multiplier": 2.0}),
    "glm4": ("glm4", _GROUPED | {"attention_dropout": 0.1}),
    "smollm3": ("smollm3", _GROUPED),
    "nemotron": ("nemotron", _GROUPED),
    "deepseek_v3": (
        "deepseek_v3",
        _SMALL | {"num_key_value_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
                  "qk_nope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
                  "moe_intermediate_size": 32, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1},
    ),
    "gpt_oss": ("gpt_oss", _GROUPED | _EXPERTS | {"sliding_window": 8, "layer_types": _WINDOW}),
    "persimmon": ("persimmon", _SMALL | {"hidden_dropout": 0.1}),
    "biogpt": ("biogpt", _SMALL | {"layerdrop": 0.5}),
    "xglm": (
        "xglm", {"d_model": 32, "num_layers": 2, "attention_heads": 2, "ffn_dim": 64, "max_position_embeddings": 128,
                 "layerdrop": 0.5, **_IDS}
    ),
    "openai-gpt": ("openai-gpt", _GPT),
    "ctrl": ("ctrl", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "dff": 64, **_IDS}),
    "dbrx": (
        "dbrx", {"d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 128, "resid_pdrop": 0.1,
                 "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2, "moe_jitter_eps": 0.1},
                 "attn_config": {"kv_n_heads": 1, "clip_qkv": 8, "rope_theta": 10000.0}, **_IDS}
    ),
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, **_IDS}),
    "mamba2": (
        "mamba2", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 8, "head_dim": 8,
                   "n_groups": 1, **_IDS}
    ),
    "recurrent_gemma": (
        "recurrent_gemma", _GROUPED | {"lru_width": 32, "attention_window_size": 8,
                                       "block_types": ["recurrent", "attention"]}
    ),
    "qwen3_next": (
        "qwen3_next", _GROUPED | _EXPERTS | {"linear_num_value_heads": 2, "linear_num_key_heads": 2,
                                            "linear_key_head_dim": 16, "linear_value_head_dim": 16,
                                            "shared_expert_intermediate_size": 32,
                                            "layer_types": ["linear_attention", "full_attention"]}
    ),
    "lfm2": ("lfm2", _GROUPED | {"layer_types": ["conv", "full_attention"]}),
    "rwkv": ("rwkv", {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, **_IDS}),
}  # fmt: skip


def write_model(kind: str, directory: Path, *, spread: float = 6.0) -> Path:
    """A random model of a kind in KINDS, whose weights are large enough for its attention to matter.

    Args:
        kind: Which.
        directory: Where to; made if it is not there.
        spread: What its random matrices are multiplied by: at 1 every position looks alike.
    """
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    name, settings = KINDS[kind]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **settings))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight *= spread
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 1, 0
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(model_directory("toy")).save_pretrained(directory)
    return directory
