"""What one rank of an update needs, where several share the weights (policy/sharding.py): a formula, not measured.

Units: bytes.
"""

from __future__ import annotations

from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.planning import footprint
from rsgrpo_cli.planning.footprint import FLOAT32, Decoder, Footprint, Precision

GATHERED_LAYERS = 2
"""Decoder layers that are whole at once: the one at work, and the next, which is fetched meanwhile."""
ASSUMPTIONS = (
    "not measured on a GPU: a formula. NCCL's buffers and the CUDA context (1 to 2 GB) come on top",
    f"weights, optimizer state and reference are in equal slices; {GATHERED_LAYERS} decoder layers are whole at once, "
    "embeddings and output layer are in float32",
    "each rank has a micro-batch of the largest size, and works on several",
    "a sampler's GPU holds the policy without its optimizer",
    "while loading, every rank has the whole model in RAM",
)


def rank_footprint(
    config: RunConfig, decoder: Decoder, precision: Precision, *, tokens: int, head_tokens: int
) -> Footprint:
    """The peak of an update on one rank's GPU: backward through the output layer, earlier gradients in place.

    Args:
        config: The run's; `update.ranks` of them share what is held.
        decoder: The model.
        precision: Of the computation.
        tokens: Padded tokens of a micro-batch.
        head_tokens: Tokens of one chunk of the output layer.
    """
    cfg, trained = config.update, footprint.trained_parameters(decoder, precision)
    outside = decoder.embedding * (1 if decoder.tied else 2)
    layer = (decoder.parameters - outside) // decoder.layers
    weights = decoder.parameters * precision.weight_bytes
    held = {
        "weights": weights,
        "adapter": footprint.adapter_parameters(decoder, precision.lora_rank) * FLOAT32,
        "reference copy": weights if cfg.kl_coef > 0 and not precision.lora_rank else 0,
        "optimizer state": trained * 2 * FLOAT32,
    }
    on_gpu = {name: 0 if cfg.cpu_offload else -(-size // cfg.ranks) for name, size in held.items()}
    sliced = -(-trained * FLOAT32 // cfg.ranks)
    passing = layer * FLOAT32 if not precision.lora_rank else 0
    gathered = GATHERED_LAYERS * layer * precision.compute_bytes + outside * FLOAT32
    kept = footprint.activation_bytes(decoder, precision, tokens, checkpointing=cfg.gradient_checkpointing)
    again = tokens * footprint.layer_token_bytes(decoder, precision) if cfg.gradient_checkpointing else 0
    return Footprint(
        on_gpu
        | {
            "gradients": trained * FLOAT32 if cfg.gradient_sync == "last" else sliced,
            "gradients in passing": 0 if cfg.gradient_sync == "last" else passing,
            "gathered weights": gathered,
            "activations": kept + again,
            "logits": footprint.HEAD_COPIES * footprint.logits_bytes(head_tokens, decoder.vocabulary),
        }
    )


def rank_facts(config: RunConfig, decoder: Decoder, precision: Precision, *, micro_batches: int) -> dict[str, int]:
    """What else several ranks need: RAM while they load, and what each receives over the network in a step.

    Args:
        config: The run's.
        decoder: The model.
        precision: Of the computation.
        micro_batches: Of a step, over all ranks.
    """
    ranks, own = config.update.ranks, -(-micro_batches // config.update.ranks)
    sums = own if config.update.gradient_sync == "each" else config.update.optimizer_steps
    gathered = 2 * own * decoder.parameters * precision.compute_bytes
    summed = sums * footprint.trained_parameters(decoder, precision) * FLOAT32
    return {
        "ranks": ranks,
        "micro_batches": own,
        "loading_bytes": decoder.parameters * precision.weight_bytes,
        "network_bytes": (gathered + summed) * (ranks - 1) // ranks,
    }
