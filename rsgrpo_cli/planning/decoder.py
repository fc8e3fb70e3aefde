"""What decides the memory that a model needs, from its config.json alone; and the memory that there is."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.modeling.model_errors import explained
from rsgrpo_cli.models import choose_device
from rsgrpo_cli.planning.footprint import Decoder


@dataclass(frozen=True, slots=True)
class Device:
    """What a run is planned for.

    Args:
        name: What it is called.
        free: Bytes that it has free.
        gpu: Bytes that it has in all if it is a GPU, None for a CPU.
    """

    name: str
    free: int
    gpu: int | None = None


def decoder_of(directory: Path) -> Decoder:
    """Build the model without weights, on torch's "meta" device, and count.

    Args:
        directory: Has a config.json; weights are not needed.

    Raises:
        MissingError: If the config is not one of a causal language model that transformers knows.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # it may raise anything on files that are not ours
        reason, hint = explained(error)
        path = directory / "config.json"
        raise MissingError(f"{path} is not the config of a known language model: {reason}", hint) from error
    return _count(model, config.get_text_config())


def device_at_hand(device: str) -> Device:
    """The device that a run would compute on here.

    Args:
        device: "auto", "cpu" or "cuda".

    Raises:
        EngineError: If there is no such device.
    """
    if choose_device(device) == "cuda":
        free, total = torch.cuda.mem_get_info()
        return Device(torch.cuda.get_device_name(), free, gpu=total)
    return Device("CPU", min(_available_ram(), _container_limit()))


def _count(model: Any, config: Any) -> Decoder:
    head = model.get_output_embeddings()
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    adapted = [module for module in linears if module is not head]
    layers, width = config.num_hidden_layers, config.hidden_size
    heads = config.num_attention_heads
    return Decoder(
        parameters=sum(weight.numel() for weight in model.parameters()),
        linear=sum(module.weight.numel() for module in linears),
        adapter_edges=sum(module.in_features + module.out_features for module in adapted),
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or width // heads,
        intermediate=_active_intermediate(config),
        vocabulary=head.weight.shape[0],
        tied=head.weight is model.get_input_embeddings().weight,
    )


def _active_intermediate(config: Any) -> int:
    """Width of the MLP; of a mixture, of the experts that a token goes through."""
    dense = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    expert = getattr(config, "moe_intermediate_size", None)
    active = getattr(config, "num_experts_per_tok", None)
    if not active:
        return int(dense)
    shared = getattr(config, "shared_expert_intermediate_size", None) or 0
    return int(active * (expert or dense) + shared)


def _available_ram() -> int:
    path = Path("/proc/meminfo")
    if path.is_file():
        fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return int(fields["MemAvailable"].split()[0]) * 1024
    # macOS does not say what is available, only what there is.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _container_limit() -> int:
    """What a container may use beyond what it does."""
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    text = limit.read_text().strip() if limit.is_file() and used.is_file() else "max"
    return sys.maxsize if text == "max" else int(text) - int(used.read_text())
