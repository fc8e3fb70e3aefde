"""A tiny random model of every architecture that transformers has a causal language model for, over the toy tokenizer.

The sizes are found by name in the architecture's own default configuration, so that a new architecture needs no entry
here unless its sizes depend on each other.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rsgrpo_cli.models import model_directory

_SIZES = {
    r"vocab_size$|^vocab_size_per_layer_input$": 27,
    r"^(max_position_embeddings|n_positions|max_seq_len|max_sequence_length|n_ctx|max_seq_length)$": 128,
    r"^(num_hidden_layers|n_layers?|num_layers|(num_)?(decoder|encoder)_layers)$": 2,
    r"^(hidden_size|d_model|n_embd|embedding_size|word_embed_proj_dim|emb_dim|attention_hidden_size|lru_width)$": 32,
    r"^(num_attention_heads|n_heads?|num_heads|(decoder|encoder)_attention_heads|attention_heads)$": 2,
    r"^(num_key_value_heads|swa_num_key_value_heads|num_kv_heads)$": 2,
    r"^(head_dim|v_head_dim|global_head_dim|swa_head_dim|swa_v_head_dim|d_head|dim_head|mamba_d_head)$": 16,
    r"^(mamba_head_dim|linear_(key|value)_head_dim|attention_head_size)$": 16,
    r"(intermediate_size|ffn_dim|n_inner|ffn_hidden_size|dff|d_inner|dim_ff)$": 64,
    r"^(num_experts|num_local_experts|n_routed_experts|moe_num_experts)$": 4,
    r"^(mamba_)?chunk_size(_per_head)?$": 16,
    r"^(num_experts_per_tok|num_experts_per_token|moe_topk|moe_top_k|moe_k)$": 2,
    r"^(sliding_window|attention_window_size)$": 8,
    r"^pad_token_id$": 0,
    r"^eos_token_id$": 1,
    r"^(bos_token_id|decoder_start_token_id)$": 2,
    r"^(q_lora_rank|kv_lora_rank|o_lora_rank|gated_norm_rank|hc_lowrank)$": 16,
    r"^(qk_nope_head_dim|qk_rope_head_dim)$": 8,
    r"^index_topk$": 64,
    r"^index_n_heads$": 2,
    r"^index_head_dim$": 16,
    r"^linear_num_(key|value)_heads$": 2,
    r"^(mamba_n_heads|mamba_num_heads|n_mamba_heads)$": 4,
    r"^(mamba_d_state|ssm_state_size|state_size)$": 8,
    r"^mamba_d_ssm$": 64,
    r"^(n_group|topk_group|n_groups|mamba_n_groups|o_groups|mamba_ngroups)$": 1,
    r"^(first_k_dense_replace|num_dense_layers|moe_layer_start_index|zero_expert_num)$": 1,
}
_UNSET = re.compile("key_value_heads|^head_dim$|intermediate|token_id")
"""What stands for a size even where its default is None."""
_LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
_WINDOW = {"layer_types": ["sliding_attention", "full_attention"]}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_ZAMBA = {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2, "attention_hidden_size": 64}
_LLAMA_3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_CONVOLUTION = {"layer_types": ["conv", "full_attention"]}
_FROM_32 = {"factor": 4.0, "original_max_position_embeddings": 32}
_LONG = {
    "rope_type": "longrope", "original_max_position_embeddings": 64, "factor": 2.0,
    "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
}  # fmt: skip
_DBRX_EXPERTS = {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2, "moe_jitter_eps": 0.1}

_OWN: dict[str, dict[str, Any]] = {
    "axk1": {"n_group": 2, "topk_group": 1, "head_dim": 8},
    "bamba": {"mamba_expand": 2, "attn_layer_indices": [1]},
    "codegen": {"n_head": 4, "rotary_dim": 8, "resid_pdrop": 0.1},
    "cohere2": _WINDOW | {"logit_scale": 0.25},
    "dbrx": {
        "ffn_config": _DBRX_EXPERTS, "attn_config": {"kv_n_heads": 1, "clip_qkv": 8, "rope_theta": 10000.0},
    },
    "deepseek_v2": {"topk_group": 1, "n_group": 2, "num_experts_per_tok": 2},
    "deepseek_v3": {"topk_group": 1, "n_group": 2, "head_dim": 8},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "gemma2": _WINDOW | {"final_logit_softcapping": 0.05},
    "gemma3_text": _WINDOW,
    "gemma3n_text": _WINDOW | {
        "num_kv_shared_layers": 0, "intermediate_size": 64, "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gpt_oss": _WINDOW,
    "gptj": {"rotary_dim": 8},
    "granite": {"logits_scaling": 8.0, "embedding_multiplier": 2.0},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "logits_scaling": 2.0},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "kimi_linear": _LINEAR | {"linear_head_dim": 16, "linear_num_heads": 2},
    "lfm2": _CONVOLUTION,
    "lfm2_moe": _CONVOLUTION,
    "longcat_flash": {"expert_ffn_hidden_size": 64, "head_dim": 8},
    "mamba2": {"head_dim": 16, "num_heads": 4},
    "nemotron_h": {"mamba_head_dim": 16},
    "qwen3_5_moe_text": _LINEAR,
    "qwen3_5_text": _LINEAR,
    "qwen3_next": _LINEAR,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "logits_soft_cap": 0.05},
    "xlnet": {"d_inner": 64},
    "zamba": _ZAMBA,
    "zamba2": _ZAMBA,
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
"""Sizes that depend on each other, layers of both kinds, and a scale or cap on the logits that can be seen."""
_SPREAD = {"mamba": 2.0, "minicpm3": 2.0}
"""What random matrices are multiplied by, elsewhere 3: at 1 every position looks alike. These amplify rounding."""


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon: ALiBi": ("falcon", {"alibi": True, "hidden_dropout": 0.1, "attention_dropout": 0.1}),
    "gpt2: dropout": ("gpt2", {"attn_pdrop": 0.3, "embd_pdrop": 0.3, "resid_pdrop": 0.3}),
    "llama: tied output layer": ("llama", {"tie_word_embeddings": True}),
    "llama: biases, dropout": ("llama", {"attention_bias": True, "mlp_bias": True, "attention_dropout": 0.1}),
    "llama: 40 rows for 27 tokens": ("llama", {"vocab_size": 40}),
    "llama: 40 rows for 27 tokens, tied": ("llama", {"vocab_size": 40, "tie_word_embeddings": True}),
    "llama: linear rope scaling": ("llama", {"rope_parameters": _ROPE | {"rope_type": "linear", "factor": 4.0}}),
    "llama: yarn": ("llama", {"rope_parameters": _ROPE | {"rope_type": "yarn", **_FROM_32}}),
    "llama: Llama 3's rope scaling": ("llama", {"rope_parameters": _ROPE | _LLAMA_3 | _FROM_32}),
    "llama: dynamic rope scaling, within its window": (
        "llama", {"rope_parameters": _ROPE | {"rope_type": "dynamic", "factor": 4.0}, "max_position_embeddings": 64}
    ),
    "phi3: longrope, within its window": (
        "phi3", {"rope_parameters": _ROPE | _LONG, "original_max_position_embeddings": 64}
    ),
    "phimoe: output layer with a bias": ("phimoe", {"lm_head_bias": True, "attention_bias": True}),
    "opt: whole layers dropped": ("opt", {"layerdrop": 0.5, "dropout": 0.1}),
    "qwen2: sliding window": ("qwen2", {"use_sliding_window": True, **_WINDOW}),
    "mixtral: router jitter": ("mixtral", {"router_jitter_noise": 0.1}),
}  # fmt: skip
"""What is odd about a model: its kind, and settings."""


def every_kind() -> list[str]:
    """All `model_type`s that transformers has a causal language model for."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_settings(kind: str) -> dict[str, Any]:
    """What makes a configuration of this kind tiny."""
    return _shrunk(AutoConfig.for_model(kind))


def _shrunk(config: PreTrainedConfig) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):  # of its text, its images, its sound
            made[name] = _shrunk(value)
        if isinstance(value, bool) or not (isinstance(value, int) or (value is None and _UNSET.search(name))):
            continue
        found = next((size for pattern, size in _SIZES.items() if re.search(pattern, name)), None)
        if found is not None:
            made[name] = found
    return made | _OWN.get(config.model_type, {})


def write_tiny(kind: str, directory: Path, **settings: Any) -> Path:
    """A tiny random model of a kind, in a directory that is made if it is not there.

    Args:
        kind: Its `model_type`.
        directory: Where to.
        settings: Of its configuration, over `tiny_settings`.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **tiny_settings(kind) | settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "A_log" not in name:  # the logarithm of how fast a state is forgotten
                weight *= _SPREAD.get(kind, 3.0)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 1, 0
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(model_directory("toy")).save_pretrained(directory)
    return directory
