"""Memory of a GPU, given back to whoever else needs it."""

from __future__ import annotations

import gc
import sys


def free_memory() -> None:
    """Free what nothing uses any more, also the GPU memory that torch keeps for later: others may need it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
