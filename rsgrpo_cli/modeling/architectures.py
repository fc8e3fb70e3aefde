"""Which models are let in, by their config.json alone: before weights are read or fetched.

Each name here was tried on a tiny random model (`python scripts/models_page.py`); docs/models.md has the results. A
model of an architecture that is newer than this list is tried itself once it is loaded (`hf_check`, `soundness`).
"""

from __future__ import annotations

from typing import Any

from rsgrpo_cli.errors import EngineError

OTHER_MODEL = "choose another causal language model: docs/models.md lists those that were tried"

ENCODERS = frozenset([
    "bert", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert", "roberta",
    "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
])  # fmt: skip
"""Encoders that transformers can run as decoders, with further layers behind the one that gives logits."""
HALVES = frozenset([
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp", "pegasus", "plbart",
    "prophetnet", "trocr", "whisper",
])  # fmt: skip
"""Encoder-decoders whose decoder transformers can run by itself."""
_SENSES = "they read images or sound"
_STATE = "they keep a state of their own kind, which completions of one prompt cannot be handed"
_DRAFTS = "they draft for another model, and read its states"
UNUSABLE = {
    "bert-generation": "they are encoders",
    "blt": "they make patches of bytes, which was not tried",
    "cohere_compass_text": "they make embeddings",
    "cpmant": "padding changes what they compute",
    "deepseek_v4": _STATE,
    "emu3": _SENSES,
    "gemma3n": _SENSES,
    "gemma4_assistant": _DRAFTS,
    "gemma4_unified_assistant": _DRAFTS,
    "git": _SENSES,
    "got_ocr2": _SENSES,
    "llama4": "transformers does not tell their layers from the output layer",
    "llama4_text": "transformers does not tell their layers from the output layer",
    "mimo_v2_flash": "it was not tried: it cannot be made small",
    "minimax": _STATE,
    "mllama": _SENSES,
    "modernbert-decoder": "there are further layers behind the one whose output is taken for the last",
    "moshi": _SENSES,
    "musicgen": _SENSES,
    "musicgen_melody": _SENSES,
    "openai-gpt": "they cannot continue from a cache",
    "phi4_multimodal": _SENSES,
    "qwen4_exp": "it was not tried: it cannot be made small",
    "qwen4_exp_text": "it was not tried: it cannot be made small",
    "recurrent_gemma": _STATE,
    "reformer": "they hash the tokens that they attend to, at random",
    "rwkv": _STATE,
    "xlm": "they are encoders",
    "xlnet": "they read tokens in another order than they are written in",
    "xlstm": _STATE,
    "youtu": "transformers sets their padding token's row to 0 whenever it reads them, trained or not",
}
"""`model_type` -> why the hf engine or the update does not give the model's own probabilities, or who has not tried."""


def require_supported(config: Any) -> None:
    """Refuse a model that cannot be trained as it is sampled.

    Args:
        config: Its configuration, as transformers knows it.

    Raises:
        EngineError: With the reason.
    """
    kind = config.model_type
    if reason := _refusal(config):
        raise EngineError(f"{kind} models cannot be used: {reason}", OTHER_MODEL)
    if method := _quantised(config):
        raise EngineError(
            f"the model's weights are quantised ({method}), and an update needs them whole",
            "choose the model in bfloat16 or float32; transformers can write it: model.dequantize()",
        )


def _refusal(config: Any) -> str | None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.model_type
    if config.is_encoder_decoder or kind in HALVES:
        return "they have an encoder, and only decoders are trained here"
    if kind in ENCODERS:
        return "they are encoders"
    if kind in UNUSABLE:
        return UNUSABLE[kind]
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        seen = any(hasattr(config, name) for name in ("vision_config", "audio_config"))
        return _SENSES if seen else "transformers has no causal language model of this kind"
    return None


def _quantised(config: Any) -> str | None:
    given = getattr(config, "quantization_config", None)
    if not given:
        return None
    method = given.get("quant_method") if isinstance(given, dict) else getattr(given, "quant_method", None)
    return str(getattr(method, "value", method) or "by an unnamed method")
