"""Memory of a GPU, given back to whoever else needs it."""

from __future__ import annotations

import gc
import sys


def free_memory() -> None:
    """Give the GPU memory that torch keeps for later back to whoever else needs it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
