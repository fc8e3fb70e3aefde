"""How many bytes a run needs, from the shape of its model and its settings alone: what `rsgrpo plan` prints.

Exact: numbers of weights, gradients, moments, adapter weights, the KV cache and the logits of a chunk. Activations are
one formula, `layer_token_bytes`, that is about right; tests/planning/test_decoder.py compares it with measurements. Not
counted: the CUDA context (about 0.5 GB), what the allocator loses to fragmentation, Python and its libraries (about
1 GB of RAM).

Units: numbers are counts, `*_bytes` and everything in a `Footprint` are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FLOAT32, BFLOAT16 = 4, 2
HEAD_COPIES = 5
"""Buffers of the size of a chunk of logits that are alive at once in its backward pass (policy/logprobs.py)."""
SAMPLER_COPIES = 6
"""The same while a token is drawn, in units of float32: the distribution function is summed in float64."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """What of a decoder decides its memory.

    Args:
        parameters: Numbers in all weights, a tied one once.
        linear: Those in linear layers, the output layer included: what autocast keeps a bfloat16 copy of.
        adapter_edges: Sum of inputs and outputs of the linear layers with an adapter; times the rank, its weights.
        layers: Decoder layers.
        width: Of the residual stream.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        intermediate: Width of the gated MLP, of all experts that see a token together.
        vocabulary: Rows of the output layer.
        tied: Whether the output layer's weights are the embeddings'.
    """

    parameters: int
    linear: int
    adapter_edges: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def embedding(self) -> int:
        """Numbers in the embeddings, and as many in the output layer."""
        return self.vocabulary * self.width

    @property
    def query(self) -> int:
        """Numbers in the queries of a token, in a layer."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Numbers in the keys of a token, in a layer; as many as in its values."""
        return self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Precision:
    """What is trained and what it is computed in.

    Args:
        bfloat16: Whether the forward pass runs in bfloat16, over float32 weights that are trained.
        lora_rank: Rank of the adapter, under which the base is frozen and held in the computation's type; 0 for none.
    """

    bfloat16: bool = False
    lora_rank: int = 0

    @property
    def compute_bytes(self) -> int:
        """Of a number in the forward pass."""
        return BFLOAT16 if self.bfloat16 else FLOAT32

    @property
    def weight_bytes(self) -> int:
        """Of a number in the model's weights."""
        return self.compute_bytes if self.lora_rank else FLOAT32


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one phase, by what they are for.

    Args:
        items: Name -> bytes.
    """

    items: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.items.values())


def logits_bytes(tokens: int, vocabulary: int) -> int:
    """Logits of some tokens in float32: 16 x 2,048 tokens of 151,936 words are 19.9 GB."""
    return tokens * vocabulary * FLOAT32


def kv_cache_bytes(decoder: Decoder, tokens: int, number_bytes: int) -> int:
    """Keys and values of some tokens in all layers."""
    return 2 * decoder.layers * decoder.key * tokens * number_bytes


def adapter_parameters(decoder: Decoder, rank: int) -> int:
    """Numbers in a LoRA adapter: rank x (inputs + outputs) of each linear layer but the output layer."""
    return rank * decoder.adapter_edges


def trained_parameters(decoder: Decoder, precision: Precision) -> int:
    """Numbers that the optimizer changes."""
    return adapter_parameters(decoder, precision.lora_rank) if precision.lora_rank else decoder.parameters


def layer_token_bytes(decoder: Decoder, precision: Precision) -> int:
    """About what one decoder layer keeps of one token for the backward pass.

        (7 D + 2 (Q + K) + 4 I) numbers of 4 bytes, in bfloat16 of 2.5 on average

    with D the width, Q and K those of queries and keys, I that of the MLP: what goes into and comes out of the seven
    linear layers of a Llama, and the activation of its MLP. In bfloat16 the normalisations stay in float32.
    """
    numbers = 7 * decoder.width + 2 * (decoder.query + decoder.key) + 4 * decoder.intermediate
    return round(numbers * (2.5 if precision.bfloat16 else FLOAT32))


def activation_bytes(decoder: Decoder, precision: Precision, tokens: int, *, checkpointing: bool) -> int:
    """What a micro-batch keeps from its forward pass, the output layer's own buffers excluded.

    Args:
        decoder: The model.
        precision: Of the computation.
        tokens: Padded tokens of the micro-batch.
        checkpointing: Only each layer's input is kept, and one layer at a time is computed again.
    """
    residual = precision.weight_bytes  # the embeddings' type
    # The final normalisation, and the hidden states it makes.
    last = tokens * decoder.width * (residual + 2 * FLOAT32)
    if checkpointing:
        return decoder.layers * tokens * decoder.width * residual + last
    return decoder.layers * tokens * layer_token_bytes(decoder, precision) + last


def update_footprint(
    decoder: Decoder,
    precision: Precision,
    *,
    tokens: int,
    head_tokens: int,
    checkpointing: bool,
    reference: bool,
    moment_bytes: int = 2 * FLOAT32,
) -> Footprint:
    """The peak of an update: in a micro-batch that is not the first, with the gradients of earlier ones in place.

    Args:
        decoder: The model.
        precision: Of the computation.
        tokens: Padded tokens of a micro-batch.
        head_tokens: Tokens of one chunk of the output layer.
        checkpointing: Whether activations are computed again.
        reference: Whether there is a second, frozen copy of the model.
        moment_bytes: Optimizer state of one trained number.
    """
    kept = activation_bytes(decoder, precision, tokens, checkpointing=checkpointing)
    layer = tokens * layer_token_bytes(decoder, precision) if checkpointing else 0
    of_layer = tokens * (2 * decoder.intermediate + decoder.width) * FLOAT32
    of_words = 0 if precision.lora_rank else decoder.embedding * FLOAT32
    casts = _cast_bytes(decoder, precision)
    held = _held(decoder, precision, moment_bytes, reference)
    held |= {"gradients": trained_parameters(decoder, precision) * FLOAT32}

    def moment(activations: int, logits: int, casts: int, passing: int) -> Footprint:
        own = {"bfloat16 weights": casts, "activations": activations, "logits": logits, "gradients in passing": passing}
        return Footprint(held | own)

    return max(
        # The end of the forward pass, where autocast has a copy of every weight.
        moment(kept, 0, casts, 0),
        # Backward through the output layer; what was cast for the backward pass of every layer is still there.
        moment(kept, HEAD_COPIES * logits_bytes(head_tokens, decoder.vocabulary), 0 if checkpointing else casts, 0),
        # Backward through the last decoder layer. The gradient of tied embeddings waits for its second half.
        moment(
            kept + layer,
            0,
            casts // decoder.layers if checkpointing else casts,
            of_layer + (of_words if decoder.tied else 0),
        ),
        # Backward through the embeddings: both halves and their sum.
        moment(0, 0, 0, of_words * (3 if decoder.tied else 1)),
        key=lambda footprint: footprint.total,
    )


def optimizer_footprint(
    decoder: Decoder, precision: Precision, *, reference: bool, fused: bool, moment_bytes: int = 2 * FLOAT32
) -> Footprint:
    """AdamW's own step.

    Args:
        decoder: The model.
        precision: Of the computation.
        reference: Whether there is a second, frozen copy of the model.
        fused: Whether it is one kernel, as on a GPU. On a CPU it goes weight by weight, with two copies of each; the
            largest is in the embeddings or in an MLP, and those of an adapter are small.
        moment_bytes: Optimizer state of one trained number.
    """
    gradients = trained_parameters(decoder, precision) * FLOAT32
    largest = 0 if fused or precision.lora_rank else max(decoder.embedding, decoder.width * decoder.intermediate)
    held = _held(decoder, precision, moment_bytes, reference)
    return Footprint(held | {"gradients": gradients, "copies of a weight": 2 * largest * FLOAT32})


def rollout_footprint(
    decoder: Decoder,
    precision: Precision,
    *,
    completions: int,
    length: int,
    reference: bool,
    moment_bytes: int = 2 * FLOAT32,
) -> Footprint:
    """Sampling on the trainer's own weights, beside its optimizer state: the hf engine in `train`.

    Args:
        decoder: The model.
        precision: Of the computation.
        completions: That are written at once.
        length: Of a prompt and its completion, at most.
        reference: Whether there is a second, frozen copy of the model.
        moment_bytes: Optimizer state of one trained number.
    """
    cache = kv_cache_bytes(decoder, completions * length, precision.compute_bytes)
    return Footprint(
        _held(decoder, precision, moment_bytes, reference)
        | {
            "bfloat16 weights": _cast_bytes(decoder, precision),
            # A layer's cache is copied to grow by a token.
            "KV cache": cache + cache // decoder.layers,
            "logits": SAMPLER_COPIES * logits_bytes(completions, decoder.vocabulary),
        }
    )


def vllm_footprint(
    decoder: Decoder,
    precision: Precision,
    *,
    group_size: int,
    length: int,
    reference: bool,
    moment_bytes: int = 2 * FLOAT32,
) -> Footprint:
    """The least that sampling with vLLM takes beside the trainer: weights of its own, and the cache of one group.

    It takes more where it may, up to its share of the GPU, and samples more groups at once then.

    Args:
        decoder: The model.
        precision: Of the computation, and of vLLM's weights and cache.
        group_size: Completions of a prompt.
        length: Of a prompt and its completion, at most.
        reference: Whether there is a second, frozen copy of the model.
        moment_bytes: Optimizer state of one trained number.
    """
    own = {
        "vLLM's weights": decoder.parameters * precision.compute_bytes,
        "KV cache": kv_cache_bytes(decoder, group_size * length, precision.compute_bytes),
    }
    return Footprint(_held(decoder, precision, moment_bytes, reference) | own)


def _held(decoder: Decoder, precision: Precision, moment_bytes: int, reference: bool) -> dict[str, int]:
    """What is there in every phase."""
    weights = decoder.parameters * precision.weight_bytes
    return {
        "weights": weights,
        "adapter": adapter_parameters(decoder, precision.lora_rank) * FLOAT32,
        "reference copy": weights if reference and not precision.lora_rank else 0,
        "optimizer state": trained_parameters(decoder, precision) * moment_bytes,
    }


def _cast_bytes(decoder: Decoder, precision: Precision) -> int:
    """Copies of trained float32 weights that autocast makes and keeps through a forward pass."""
    return decoder.linear * BFLOAT16 if precision.bfloat16 and not precision.lora_rank else 0
