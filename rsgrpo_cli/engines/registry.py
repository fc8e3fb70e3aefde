"""Which engines there are, imported on use."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.errors import UsageError

if TYPE_CHECKING:
    from rsgrpo_cli.engines.types import Engine

ENGINES = {
    "hf": "rsgrpo_cli.engines.hf:HfEngine",
    "vllm": "rsgrpo_cli.engines.vllm:VllmEngine",
    "dummy": "rsgrpo_cli.engines.dummy:DummyEngine",
}

WITH_OWN_WEIGHTS = frozenset({"vllm"})
"""Engines that do not sample with the trainer's own weights: the update corrects for what they compute otherwise."""


def choose_engine(name: str, device: str = "auto") -> str:
    """What "auto" means here: vllm where that is installed and there is a GPU, hf elsewhere.

    Args:
        name: An engine, or "auto".
        device: The device of the run's configuration; vllm is not chosen for "cpu".
    """
    if name != "auto":
        return name
    return "vllm" if device != "cpu" and find_spec("vllm") is not None and _has_gpu() else "hf"


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def open_engine(name: str, *arguments: Any) -> Engine:
    """Import and make an engine.

    Raises:
        UsageError: If no engine has that name.
    """
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}", f"choose one of: {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(module), attribute)(*arguments)
    return engine
