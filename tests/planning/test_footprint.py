from dataclasses import replace

import pytest

from rsgrpo_cli.planning.footprint import (
    Decoder,
    Precision,
    activation_bytes,
    adapter_parameters,
    kv_cache_bytes,
    layer_token_bytes,
    logits_bytes,
    optimizer_footprint,
    rollout_footprint,
    update_footprint,
    vllm_footprint,
)

# Two layers of width 4, two heads of 2 over one key head, an MLP of 8, ten words, tied: by hand
#   a layer: q 4x4, k 4x2, v 4x2, o 4x4, gate and up 4x8, down 8x4 = 144; norms 2x4
#   in all: 2 x (144 + 8) + 10x4 + 4 = 348 weights; linear: 2 x 144 + 40 = 328
#   edges per layer: 8 + 6 + 6 + 8 + 12 + 12 + 12 = 64
SMALL = Decoder(
    parameters=348,
    linear=328,
    adapter_edges=128,
    layers=2,
    width=4,
    heads=2,
    kv_heads=1,
    head_dim=2,
    intermediate=8,
    vocabulary=10,
    tied=True,
)
FULL, LORA, MIXED = Precision(), Precision(lora_rank=3), Precision(bfloat16=True)


def test_logits_of_the_design_document() -> None:
    assert logits_bytes(16 * 2048, 151_936) == pytest.approx(19.9e9, rel=1e-3)
    assert logits_bytes(1024, 151_936) == pytest.approx(0.62e9, rel=5e-3)


def test_a_cache_by_hand() -> None:
    # Qwen2.5-1.5B: 28 layers, 2 heads of 128 for keys and as many for values: 28,672 bytes per token in bfloat16.
    qwen = Decoder(0, 0, 0, 28, 1536, 12, 2, 128, 8960, 151_936, True)
    assert kv_cache_bytes(qwen, 1, 2) == 28_672
    assert kv_cache_bytes(SMALL, 5, 4) == 2 * 2 * 2 * 5 * 4


def test_an_adapter_by_hand() -> None:
    assert adapter_parameters(SMALL, 3) == 3 * 128
    assert adapter_parameters(SMALL, 0) == 0


def test_a_layer_by_hand() -> None:
    # 7 x 4, queries and keys 2 x (4 + 2), the MLP 4 x 8: 72 numbers
    assert layer_token_bytes(SMALL, FULL) == layer_token_bytes(SMALL, LORA) == 4 * 72
    assert layer_token_bytes(SMALL, MIXED) == 2.5 * 72


def test_what_is_kept_by_hand() -> None:
    # Beyond the layers: the final norm's input, its product and the hidden states, 3 x 4 numbers per token.
    assert activation_bytes(SMALL, FULL, 10, checkpointing=False) == 10 * (2 * layer_token_bytes(SMALL, FULL) + 48)
    assert activation_bytes(SMALL, FULL, 10, checkpointing=True) == 10 * (2 * 16 + 48)


def test_the_steps_of_an_update_by_hand() -> None:
    given = update_footprint(SMALL, FULL, tokens=10, head_tokens=1000, checkpointing=False, reference=True).items
    assert given["weights"] == given["reference copy"] == given["gradients"] == 348 * 4
    assert given["optimizer state"] == 2 * 348 * 4
    assert given["logits"] == 5 * 1000 * 10 * 4
    assert given["activations"] == activation_bytes(SMALL, FULL, 10, checkpointing=False)
    # With next to no tokens the peak is where the two gradients of tied embeddings are added up.
    many = replace(SMALL, vocabulary=1000)
    words = update_footprint(many, FULL, tokens=1, head_tokens=1, checkpointing=True, reference=False).items
    assert words["gradients in passing"] == 3 * 1000 * 4 * 4
    lora = update_footprint(SMALL, LORA, tokens=10, head_tokens=1, checkpointing=False, reference=True).items
    assert lora["reference copy"] == 0  # the base with its adapter off
    assert lora["gradients"] == lora["adapter"] == 384 * 4
    assert optimizer_footprint(SMALL, FULL, reference=False, fused=True).total == 16 * 348
    copied = optimizer_footprint(many, FULL, reference=False, fused=False).items["copies of a weight"]
    assert copied == 2 * 1000 * 4 * 4
    assert optimizer_footprint(many, LORA, reference=False, fused=False).items["copies of a weight"] == 0


def test_sampling_by_hand() -> None:
    items = rollout_footprint(SMALL, FULL, completions=6, length=10, reference=False).items
    assert items["KV cache"] == (2 * 2 * 2 * 60 + 2 * 2 * 60) * 4  # two layers, and a copy of one
    assert items["logits"] == 6 * 6 * 10 * 4
    assert items["bfloat16 weights"] == 0
    mixed = rollout_footprint(SMALL, MIXED, completions=6, length=10, reference=False).items
    assert mixed["bfloat16 weights"] == 328 * 2


def test_vllm_by_hand() -> None:
    items = vllm_footprint(SMALL, LORA, group_size=6, length=10, reference=False).items
    assert items["vLLM's weights"] == 348 * 4
    assert items["KV cache"] == 2 * 2 * 2 * 60 * 4
    assert items["optimizer state"] == 384 * 8


@pytest.mark.parametrize("precision", [FULL, LORA, MIXED, Precision(True, 3)])
def test_what_saves_memory_saves_memory(precision: Precision) -> None:
    def peak(tokens: int, checkpointing: bool) -> int:
        return update_footprint(
            SMALL, precision, tokens=tokens, head_tokens=8, checkpointing=checkpointing, reference=False
        ).total

    assert peak(1000, True) < peak(1000, False)
    assert peak(500, False) < peak(1000, False)
